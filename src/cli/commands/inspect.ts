/** `trajport inspect`: what is in a bundle or a file of weights. */
import { foreignFormatNames } from '../../bundle/foreign/formats.ts';
import { inferShapes, parameterLayout } from '../../model/graph.ts';
import { derivePermutationSpec } from '../../model/permutation-spec.ts';
import type { TrajectoryBundle } from '../../bundle/reader.ts';
import type { ModelGraph } from '../../model/graph.ts';
import { formatTable } from '../../report/table.ts';
import { formatBytes, formatInteger, printable } from '../../report/text.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { readCheckpointFile } from '../checkpoints.node.ts';
import { defineCommand } from '../command.ts';
import type { Context } from '../command.ts';
import { exitCodes } from '../exit.ts';
import { graphSummary, isBundle, openBundleFile } from '../shared.ts';

export const inspect = defineCommand({
  name: 'inspect',
  summary: 'what is in a bundle (network, groups, checkpoints, step norms, hashes) or a file of weights',
  positionals: ['FILE'],
  options: {},
  examples: [
    { say: 'a bundle', run: 'trajport inspect fine-tune.zip' },
    { say: 'weights', run: 'trajport inspect v2-ported.safetensors' },
    { say: 'the same for a program', run: 'trajport inspect fine-tune.zip --json' },
  ],
  notes: ['Only the manifest of a bundle is read, not its checkpoints; trajport verify reads and checks them all.'],
  async run(context, _values, [path]) {
    const file = path as string;
    if (!isBundle(file)) {
      await inspectWeights(context, file);
      return exitCodes.ok;
    }
    using opened = await openBundleFile(file, context.signal);
    inspectBundle(context, file, opened.bundle);
    return exitCodes.ok;
  },
});

function inspectBundle({ output }: Context, path: string, bundle: TrajectoryBundle): void {
  const { graph } = bundle;
  const groups = derivePermutationSpec(graph).groups.map(({ id, size, members }) => ({ id, size, members }));
  output.record({ event: 'bundle', path, graph, groups, checkpoints: bundle.checkpoints, manifest: bundle.manifest });
  output.text(`${output.style('bold', path)}\n${graphSummary(graph)}\n`);
  output.text(layersTable(graph));
  output.text(
    formatTable(
      [{ title: 'permutation group' }, { title: 'units', align: 'right' }, { title: 'carried by' }],
      groups.map(({ id, size, members }) => [printable(id), String(size), members.map(({ tensor, axis }) => `${printable(tensor)}[${axis}]`).join(' ')]),
    ),
  );
  output.text(
    formatTable(
      [
        { title: 'checkpoint' }, { title: 'stored', align: 'right' }, { title: 'of', align: 'right' }, { title: 'coding' },
        { title: 'step norm', align: 'right' }, { title: 'error', align: 'right' }, { title: 'sha256' },
      ],
      bundle.checkpoints.map(({ label, storedBytes, bytes, coding, stepNorm, stepError, sha256 }) => [
        printable(label), formatBytes(storedBytes), formatBytes(bytes), coding, stepNorm.toPrecision(4), stepError === 0 ? 'none' : stepError.toExponential(1), sha256.slice(0, 16),
      ]),
    ),
  );
}

function layersTable(graph: ModelGraph): string {
  const shapes = inferShapes(graph);
  const { parameters } = parameterLayout(graph);
  return formatTable(
    [{ title: 'layer' }, { title: 'operation' }, { title: 'output', align: 'right' }, { title: 'parameters', align: 'right' }],
    graph.nodes.map((node) => {
      const count = parameters.filter((info) => info.node === node.name).reduce((sum, { shape }) => sum + elementCount(shape), 0);
      return [printable(node.name), node.op, (shapes.get(node.name) ?? []).join('×'), count === 0 ? '' : formatInteger(count)];
    }),
  );
}

async function inspectWeights({ output, signal }: Context, path: string): Promise<void> {
  const file = await readCheckpointFile(path, signal);
  const tensors = [...file.tensors].map(([name, { dtype, shape, bytes }]) => ({ name, dtype, shape, bytes: bytes.byteLength }));
  const elements = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  output.record({ event: 'weights', path, format: file.format, metadata: Object.fromEntries(file.metadata), tensors });
  output.text(`${output.style('bold', path)}\n${foreignFormatNames[file.format]}: ${tensors.length} tensors, ${formatInteger(elements)} numbers\n`);
  for (const [key, value] of file.metadata) output.text(`  ${printable(key)}: ${printable(value)}`);
  output.text(
    formatTable(
      [{ title: 'tensor' }, { title: 'dtype' }, { title: 'shape', align: 'right' }, { title: 'size', align: 'right' }],
      tensors.map(({ name, dtype, shape, bytes }) => [printable(name), dtype, shape.join('×') || 'scalar', formatBytes(bytes)]),
    ),
  );
}
