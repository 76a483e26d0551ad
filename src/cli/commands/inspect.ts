/** `trajport inspect`: what is in a bundle or a file of weights. */
import { foreignFormatNames } from '../../bundle/foreign/formats.ts';
import type { TrajectoryBundle } from '../../bundle/reader.ts';
import { heldGroups } from '../../matching/held-groups.ts';
import { inferShapes, parameterLayout } from '../../model/graph.ts';
import type { GraphNode, ModelGraph } from '../../model/graph.ts';
import { derivePermutationSpec } from '../../model/permutation-spec.ts';
import { formatBytes, formatCount, formatInteger, printable } from '../../report/text.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { readCheckpointFile, rulesOption, weightFiles } from '../checkpoints.node.ts';
import { defineCommand } from '../command.ts';
import type { Context } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { remarkNotFinite } from '../finite.ts';
import { inspectFit } from '../inspect-fit.ts';
import { graphOfShape, modelOptions, refuseNetwork, remarkAssumed, shapeOptions } from '../networks.ts';
import type { Output } from '../output.ts';
import { graphSummary, trainingSummary } from '../summaries.ts';
import { isBundle, openBundleFile } from '../weights.node.ts';

export const inspect = defineCommand({
  name: 'inspect',
  computes: false,
  summary: 'what is in a bundle or a file of weights, and whether weights fit a network',
  positionals: [{ name: 'FILE', reads: weightFiles }],
  options: {
    ...modelOptions,
    ...shapeOptions,
    verbose: { kind: 'flag', help: 'with --model or --graph: list every tensor, also those that fit as they are' },
    rules: {
      ...rulesOption,
      help: "with --model or --graph: names in the file to the network's, as in pack",
    },
  },
  examples: [
    { say: 'a bundle', run: 'trajport inspect fine-tune.zip' },
    { say: 'weights', run: 'trajport inspect v2-ported.safetensors' },
    {
      say: 'whether weights fit a network, tensor by tensor',
      run: 'trajport inspect resnet18.pth --model resnet18 --input 3,224,224 --classes 1000',
    },
    { say: 'the same for a program', run: 'trajport inspect fine-tune.zip --json' },
  ],
  notes: [
    'Only the manifest of a bundle is read, not its checkpoints; trajport verify reads and checks them all.',
    'Of tensors that fit under their own names only the number is told, and what is left out is counted by the beginnings of its ' +
    'names; --verbose lists all, and so does --json.',
    'With --model or --graph, exit status 1 says that the weights do not fit: missing, unexpected, or of another shape.',
  ],
  async run(context, values, [path]) {
    const file = path as string;
    if (isBundle(file)) refuseNetwork(values);
    const graph = await graphOfShape(values);
    if (graph !== undefined) {
      remarkAssumed(context.output, values, graph);
      if (values.verbose && context.output.json) throw new UsageError('--verbose is for text: --json lists every tensor anyway');
      return inspectFit(context, file, graph, values);
    }
    if (values.rules !== undefined) throw new UsageError('--rules goes with --model or --graph');
    if (values.verbose) throw new UsageError('--verbose goes with --model or --graph; without them every tensor is listed');
    if (!isBundle(file)) {
      await inspectWeights(context, file);
      return exitCodes.ok;
    }
    using opened = await openBundleFile(file, context.signal);
    inspectBundle(context, file, opened.bundle);
    return exitCodes.ok;
  },
});

/** A group of a residual network has dozens of members; with the columns before them, they fit into a terminal of 100. */
const MEMBERS_WIDTH = 72;

/** Training checkpoints keep every number of their optimiser's settings. */
const METADATA_SHOWN = 12;

const inspected = { event: 'result', command: 'inspect' } as const;

function inspectBundle({ output }: Context, path: string, bundle: TrajectoryBundle): void {
  const { graph } = bundle;
  const spec = derivePermutationSpec(graph);
  const held = new Map(heldGroups(spec, []).map(({ id, reason }) => [id, reason]));
  const groups = spec.groups.map(({ id, size, members }) => ({ id, size, members, ...(held.has(id) ? { held: held.get(id) } : {}) }));
  output.record({ ...inspected, kind: 'bundle', path, graph, groups, checkpoints: bundle.checkpoints, manifest: bundle.manifest });
  output.text([output.style('bold', printable(path)), graphSummary(graph), ...trainingSummary(bundle.training)].join('\n'));
  output.text(layersTable(output, graph));
  output.text(
    output.table(
      [{ title: 'permutation group' }, { title: 'units', align: 'right' }, { title: 'carried by', wrapAt: MEMBERS_WIDTH }],
      groups.map(({ id, size, members }) => [
        printable(id), String(size), members.map(({ tensor, axis }) => `${printable(tensor)}[${axis}]`).join(' '),
      ]),
    ),
  );
  for (const [id, reason] of held) output.text(output.style('faint', `  Matching holds ${printable(id)} where it is: ${reason}.`));
  output.text(
    output.table(
      [
        { title: 'checkpoint' }, { title: 'stored', align: 'right' }, { title: 'of', align: 'right' }, { title: 'coding' },
        { title: 'step norm', align: 'right' }, { title: 'error', align: 'right' }, { title: 'sha256' },
      ],
      bundle.checkpoints.map(({ label, storedBytes, bytes, coding, stepNorm, stepError, sha256 }) => [
        printable(label), formatBytes(storedBytes), formatBytes(bytes), coding, stepNorm.toPrecision(4),
        stepError === 0 ? 'none' : stepError.toExponential(1), sha256.slice(0, 16),
      ]),
    ),
  );
}

function layersTable(output: Output, graph: ModelGraph): string {
  const shapes = inferShapes(graph);
  const { parameters } = parameterLayout(graph);
  return output.table(
    [{ title: 'layer' }, { title: 'operation' }, { title: 'output', align: 'right' }, { title: 'parameters', align: 'right' }],
    graph.nodes.map((node) => {
      const count = parameters.filter((info) => info.node === node.name).reduce((sum, { shape }) => sum + elementCount(shape), 0);
      return [printable(node.name), operationOf(node), (shapes.get(node.name) ?? []).join('×'), count === 0 ? '' : formatInteger(count)];
    }),
  );
}

/** With what no shape tells. */
function operationOf(node: GraphNode): string {
  if (node.op !== 'attention') return node.op;
  const keyHeads = node.key_heads === node.heads ? '' : `, ${formatCount(node.key_heads, 'key head')}`;
  return `attention, ${formatCount(node.heads, 'head')}${keyHeads}`;
}

async function inspectWeights({ output, signal }: Context, path: string): Promise<void> {
  const file = await readCheckpointFile(path, signal);
  remarkNotFinite(output, path, file.tensors);
  const tensors = [...file.tensors].map(([name, { dtype, shape, bytes }]) => ({ name, dtype, shape, bytes: bytes.byteLength }));
  const elements = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  output.record({ ...inspected, kind: 'weights', path, format: file.format, metadata: Object.fromEntries(file.metadata), tensors });
  output.text(
    `${output.style('bold', printable(path))}\n${foreignFormatNames[file.format]}: ${tensors.length} tensors, ` +
    `${formatInteger(elements)} numbers\n`,
  );
  const metadata = [...file.metadata];
  for (const [key, value] of metadata.slice(0, METADATA_SHOWN)) output.text(`  ${printable(key)}: ${printable(value)}`);
  if (metadata.length > METADATA_SHOWN)
    output.text(`  … and ${formatInteger(metadata.length - METADATA_SHOWN)} more of what is no tensor (--json has all)`);
  output.text(
    output.table(
      [{ title: 'tensor' }, { title: 'dtype' }, { title: 'shape', align: 'right' }, { title: 'size', align: 'right' }],
      tensors.map(({ name, dtype, shape, bytes }) => [printable(name), dtype, shape.join('×') || 'scalar', formatBytes(bytes)]),
    ),
  );
}
