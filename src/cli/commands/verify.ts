/** `trajport verify`: a bundle holds what it says, and permuting its network leaves the function as it was. */
import { initialise } from '../../model/initialise.ts';
import { verify } from '../../index.ts';
import type { BundleVerdict } from '../../index.ts';
import type { ModelGraph } from '../../model/graph.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { formatBytes, formatCount, formatPercent, printable } from '../../report/text.ts';
import { weightFiles } from '../checkpoints.node.ts';
import { defineCommand } from '../command.ts';
import type { Context } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { inputShapeOptions, refuseData } from '../data-options.ts';
import { graphOfShapeOrData, modelOptions, refuseNetwork, shapeOptions } from '../networks.ts';
import { graphSummary } from '../summaries.ts';
import { checkpointIndex, isBundle, openBundleFile, readWeights, refuseWithoutNetwork } from '../weights.node.ts';

const options = {
  ...inputShapeOptions,
  ...modelOptions,
  input: shapeOptions.input,
  checkpoint: { kind: 'string', metavar: 'LABEL', help: 'bundles: the checkpoint to permute (default: the last)' },
} as const;

export const verifyCommand = defineCommand({
  name: 'verify',
  summary: 'check the hashes of a bundle, and that a permuted network computes the same',
  positionals: [{ name: 'WEIGHTS?', reads: weightFiles }],
  options,
  examples: [
    { say: 'everything in a bundle', run: 'trajport verify fine-tune.zip' },
    { say: 'weights of your own', run: 'trajport verify mlp.safetensors --model mlp --widths 512 --data images/mnist' },
    { say: 'a network by name, with random weights', run: 'trajport verify --model resnet18 --input 3,64,64 --classes 10' },
  ],
  notes: ['Exit code 1 where a hash disagrees or the function changes: then the weights must not be transferred.'],
  async run(context, values, [path]) {
    const { output, signal, compute } = context;
    if (path !== undefined && isBundle(path)) {
      refuseNetwork(values);
      refuseData(values);
      using opened = await openBundleFile(path, signal);
      const { bundle } = opened;
      const report = await bundle.verify(signal);
      const bytes = bundle.checkpoints.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
      output.record({ event: 'bundle', path, ...report });
      output.text(`${mark(context, report.passed)} hashes of ${bundle.checkpoints.length} checkpoints, ${formatBytes(bytes)}`);
      for (const { labels, error } of faults(report))
        output.text(`  ${labels.map(printable).join(', ')}: ${error.field}: expected ${error.expected}, got ${error.got}`);
      if (!report.passed) {
        output.record({ event: 'result', command: 'verify', passed: false });
        return exitCodes.fellShort;
      }
      const state = await bundle.readCheckpoint(checkpointIndex(bundle, values.checkpoint), signal);
      const same = await checkFunction(context, bundle.graph, state, values.seed);
      return same ? exitCodes.ok : exitCodes.fellShort;
    }
    if (values.checkpoint !== undefined) throw new UsageError('--checkpoint needs a bundle');
    const graph = await graphOfShapeOrData(values, compute);
    if (graph === undefined) {
      if (path !== undefined) await refuseWithoutNetwork(path);
      throw new UsageError('give a bundle, or --model NAME or --graph FILE');
    }
    const state = path === undefined ? initialise((await compute()).core, graph, { seed: values.seed }) : await readWeights(path, graph);
    return (await checkFunction(context, graph, state, values.seed)) ? exitCodes.ok : exitCodes.fellShort;
  },
});

type Fault = NonNullable<BundleVerdict['checkpoints'][number]['error']>;

/** What is wrong, each with all checkpoints that it spoils: one bad checkpoint spoils those that build on it. */
function faults({ checkpoints }: BundleVerdict): readonly { readonly labels: string[]; readonly error: Fault }[] {
  const found = new Map<string, { labels: string[]; error: Fault }>();
  for (const { label, error } of checkpoints) {
    if (error === undefined) continue;
    const key = JSON.stringify(error);
    const known = found.get(key);
    if (known === undefined) found.set(key, { labels: [label], error });
    else known.labels.push(label);
  }
  return [...found.values()];
}

async function checkFunction(context: Context, graph: ModelGraph, state: NetworkState, seed: number): Promise<boolean> {
  const { output, compute } = context;
  const result = await verify({ graph, state, seed, compute: await compute() });
  output.record({ event: 'result', command: 'verify', ...result });
  output.text(
    `${mark(context, result.passed)} ${graphSummary(graph)}\n` +
      `  ${formatCount(result.groups.length, 'permutation group')} (${result.groups.map(({ id, size }) => `${id} ${size}`).join(', ')})\n` +
      `  a random permutation moved ${formatPercent(result.movedFraction)} % of the weights and the outputs by ` +
      `${result.largestOutputDifference.toExponential(1)} of ${result.largestOutput.toPrecision(3)} (at most ` +
      `${result.tolerance.toExponential(1)} passes)`,
  );
  for (const problem of result.problems) output.text(`  ${JSON.stringify(problem)}`);
  return result.passed;
}

function mark({ output }: Context, passed: boolean): string {
  return passed ? output.style('green', '✓') : output.style('red', '✗');
}
