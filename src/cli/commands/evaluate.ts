/** `trajport evaluate`: loss and accuracy of weights on images or text. */
import { onlyDefined } from '../../core/only-defined.ts';
import type { DataSet } from '../../data/data-set.ts';
import { evaluate } from '../../index.ts';
import type { TrajectoryBundle } from '../../index.ts';
import { lossOfRecord } from '../../gradient/loss.ts';
import type { ModelGraph } from '../../model/graph.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { formatPercent } from '../../report/text.ts';
import { weightFiles } from '../checkpoints.node.ts';
import { defineCommand } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { requireFile } from '../files.node.ts';
import { hasPerplexity, perplexity, scoreFields } from '../scores.ts';
import { dataOptions, loadData } from '../data-options.ts';
import { lossOf, lossOptions } from '../loss-options.ts';
import { givenTask, graphOf, modelOptions, refuseNetwork } from '../networks.ts';
import type { ModelValues } from '../networks.ts';
import { dataSummary, lossSummary } from '../summaries.ts';
import { openWorkers, workerOptions } from '../parallel.node.ts';
import { checkpointIndex, isBundle, openBundleFile, readWeights, refuseWithoutNetwork } from '../weights.node.ts';
import { withTaskData } from '../task.ts';

const options = {
  ...dataOptions,
  ...modelOptions,
  ...lossOptions,
  loss: {
    ...lossOptions.loss,
    help: 'what is measured (default: what the bundle was trained for, else the first); the last two against one-hot targets',
  },
  part: { kind: 'choice', choices: ['test', 'train'], default: 'test', help: 'which part of the data' },
  checkpoint: { kind: 'string', metavar: 'LABEL', help: 'bundles: one checkpoint only (default: all)' },
  'batch-size': { kind: 'integer', field: 'batchSize', metavar: 'N', minimum: 1, default: 256, help: 'images or windows a forward pass' },
  ...workerOptions,
} as const;

export const evaluateCommand = defineCommand({
  name: 'evaluate',
  draws: false,
  summary: 'loss and accuracy of weights on images, and perplexity on text',
  positionals: [{ name: 'WEIGHTS', reads: weightFiles }],
  nextFile: 'graph',
  options,
  examples: [
    {
      say: 'transferred weights, with the network of the bundle they came from',
      run: 'trajport evaluate v2-ported.safetensors --graph fine-tune.zip --data generated:after',
    },
    { say: 'every checkpoint of a bundle', run: 'trajport evaluate fine-tune.zip --data generated:after' },
    { say: 'a PyTorch MLP saved as safetensors', run: 'trajport evaluate mlp.safetensors --model mlp --widths 512,512 --data images/mnist' },
  ],
  async run(context, values, [path]) {
    const { output, signal, compute } = context;
    const weights = path as string;
    const bundled = isBundle(weights);
    if (values.checkpoint !== undefined && !bundled) throw new UsageError('--checkpoint needs a bundle');
    if (bundled) refuseNetwork(values);
    else requireFile(weights);
    using opened = bundled ? await openBundleFile(weights, signal) : undefined;
    const task =
      opened === undefined ? await givenTask(values) : { path: weights, graph: opened.bundle.graph, training: opened.bundle.training };
    // Without --data it says which built-in task the bundle was trained on.
    if (values['train-count'] !== undefined && values.part === 'test' && (values.data !== undefined || task?.training === undefined))
      throw new UsageError('--train-count is for --part train, not for test');
    const data = await loadData(await withTaskData(context, values, task), values.part, compute, task?.graph);
    const loss = lossOf(values) ?? lossOfRecord(task?.training);
    const perplexed = hasPerplexity(data, loss);
    const { core } = await compute();
    using workers = await openWorkers(values);
    output.text(`${dataSummary(data)}, ${values.part} part\nloss: ${lossSummary(loss)}\n`);
    const rows: string[][] = [];
    for await (const { label, graph, state } of opened === undefined
      ? fromFile(weights, values, data, task?.training)
      : fromBundle(opened.bundle, values.checkpoint, signal)) {
      const result = await evaluate({
        graph,
        state,
        data,
        loss,
        batchSize: Math.min(values['batch-size'], data.count),
        compute: await compute(),
        ...onlyDefined({ workers }),
        signal,
        onProgress: ({ done, total }) => output.progress(`evaluating ${label}`, done, total, {}),
      });
      if (!Number.isFinite(result.loss))
        output.warn(`${label}: the loss is ${result.loss}: the network overflows on some of these inputs, and its accuracy says nothing`);
      output.record({
        event: 'result',
        command: 'evaluate',
        weights,
        checkpoint: bundled ? label : null,
        data: data.name,
        part: values.part,
        measured: loss,
        ...scoreFields(core, result, perplexed),
      });
      rows.push([
        label,
        formatPercent(result.accuracy, 2),
        result.loss.toFixed(4),
        ...(perplexed ? [perplexity(core, result.loss).toFixed(2)] : []),
        `${result.correct} of ${result.count}`,
      ]);
    }
    output.text(
      output.table(
        [
          { title: 'weights' },
          { title: 'accuracy, %', align: 'right' },
          { title: 'loss', align: 'right' },
          ...(perplexed ? [{ title: 'perplexity', align: 'right' } as const] : []),
          { title: 'right', align: 'right' },
        ],
        rows,
      ),
    );
    return exitCodes.ok;
  },
});

/** What is evaluated, and what it is called. */
interface Weights {
  readonly label: string;
  readonly graph: ModelGraph;
  readonly state: NetworkState;
}

/** One checkpoint after the other, read as it is wanted: the one asked for, or all. */
async function* fromBundle(bundle: TrajectoryBundle, wanted: string | undefined, signal: AbortSignal): AsyncGenerator<Weights> {
  const chosen = wanted === undefined ? bundle.checkpoints.keys() : [checkpointIndex(bundle, wanted)];
  for (const index of chosen)
    yield { label: bundle.checkpoints[index]?.label ?? '', graph: bundle.graph, state: await bundle.readCheckpoint(index, signal) };
}

async function* fromFile(path: string, values: ModelValues, data: DataSet, training: unknown): AsyncGenerator<Weights> {
  const graph = (await graphOf(values, data)) ?? (await refuseWithoutNetwork(path));
  yield { label: path, graph, state: await readWeights(path, graph, training) };
}
