/** `trajport evaluate`: loss and accuracy of weights on images or text, of several of one network also together. */
import { onlyDefined } from '../../core/only-defined.ts';
import type { DataSet } from '../../data/data-set.ts';
import { evaluate, evaluateEnsemble } from '../../index.ts';
import type { Evaluation, GradientWorkers, JsonObject, Loss, TrajectoryBundle } from '../../index.ts';
import { DEFAULT_LOSS, lossOfRecord } from '../../gradient/loss.ts';
import type { ModelGraph } from '../../model/graph.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { formatPercent } from '../../report/text.ts';
import { checkpointPath, weightFiles } from '../checkpoints.node.ts';
import { defineCommand } from '../command.ts';
import type { Context, GlobalValues } from '../command.ts';
import type { ValuesOf } from '../arguments.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { requireFile } from '../read-files.node.ts';
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
  'batch-size': {
    kind: 'integer', field: 'batchSize', metavar: 'N', minimum: 1, default: 256, help: 'images, windows or sequences a forward pass',
  },
  ensemble: {
    kind: 'flag',
    help:
      'also what all the weights, or checkpoints of a bundle, answer together: the mean of their softmax probabilities; in one thread',
  },
  ...workerOptions,
} as const;

type Values = ValuesOf<typeof options> & GlobalValues;

export const evaluateCommand = defineCommand({
  name: 'evaluate',
  draws: false,
  summary: 'loss and accuracy of weights on images or labelled texts, and perplexity on text',
  positionals: [{ name: 'WEIGHTS…', reads: weightFiles }],
  options,
  examples: [
    {
      say: 'transferred weights, with the network of the bundle they came from',
      run: 'trajport evaluate v2-ported.safetensors --graph fine-tune.zip --data generated:after',
    },
    { say: 'every checkpoint of a bundle', run: 'trajport evaluate fine-tune.zip --data generated:after' },
    {
      say: 'ports of one fine-tune to several networks, each alone and all as an ensemble',
      run: 'trajport evaluate port-*.safetensors --ensemble --graph fine-tune.zip --data generated:after',
    },
    {
      say: 'a classifier of texts',
      run: 'trajport evaluate v2-fine-tuned.safetensors --graph fine-tune.zip --data sequences:reviews.jsonl',
    },
    {
      say: 'a PyTorch MLP saved as safetensors',
      run: 'trajport evaluate mlp.safetensors --model mlp --widths 512,512 --data images/mnist',
    },
  ],
  async run(context, values, paths) {
    const { output, signal, compute } = context;
    const [weights] = paths as readonly [string];
    const bundled = isBundle(weights);
    refuseTogether(values, paths);
    if (bundled) refuseNetwork(values);
    else for (const path of paths) requireFile(checkpointPath(path));
    using opened = bundled ? await openBundleFile(weights, signal) : undefined;
    const task =
      opened === undefined ? await givenTask(values) : { path: weights, graph: opened.bundle.graph, training: opened.bundle.training };
    // Without --data it says which built-in task the bundle was trained on.
    if (values['train-count'] !== undefined && values.part === 'test' && (values.data !== undefined || task?.training === undefined))
      throw new UsageError('--train-count is for --part train, not for test');
    const data = await loadData(await withTaskData(context, values, task), values.part, compute, task?.graph);
    const loss = values.ensemble ? DEFAULT_LOSS : (lossOf(values) ?? lossOfRecord(task?.training));
    output.text(`${dataSummary(data)}, ${values.part} part\nloss: ${lossSummary(loss)}\n`);
    const found = opened === undefined
      ? fromFiles(paths, values, data, task?.training)
      : fromBundle(weights, opened.bundle, values.checkpoint, signal);
    using workers = await openWorkers(values);
    const job: Job = { context, values, data, loss, ...onlyDefined({ workers }) };
    const { core } = await compute();
    const perplexed = hasPerplexity(data, loss);
    const rows: string[][] = [];
    for await (const { label, of, ...result } of values.ensemble ? evaluateTogether(job, found) : evaluateEach(job, found)) {
      if (!Number.isFinite(result.loss))
        output.warn(`${label}: the loss is ${result.loss}: the network overflows on some of these inputs, and its accuracy says nothing`);
      output.record({
        event: 'result',
        command: 'evaluate',
        ...of,
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

/** @throws UsageError for weights and options that do not go together. */
function refuseTogether(values: Values, paths: readonly string[]): void {
  const bundle = paths.find(isBundle);
  if (bundle !== undefined && paths.length > 1) {
    throw new UsageError(
      `${bundle} is a bundle, and evaluated by itself`,
      paths.length === 2 && values.graph === undefined ? `--graph ${bundle}` : undefined,
    );
  }
  if (values.checkpoint !== undefined && bundle === undefined) throw new UsageError('--checkpoint needs a bundle');
  if (!values.ensemble) return;
  if (values.workers !== undefined) throw new UsageError('--workers is not for --ensemble, which computes in one thread');
  if ((values.loss ?? DEFAULT_LOSS.kind) !== DEFAULT_LOSS.kind || values['label-smoothing'] !== undefined)
    throw new UsageError(`--ensemble measures ${DEFAULT_LOSS.kind}, of mean probabilities, and no other loss`);
  if (bundle === undefined ? paths.length < 2 : values.checkpoint !== undefined)
    throw new UsageError('--ensemble needs two weights at least: files of one network, or the checkpoints of a bundle');
}

interface Job {
  readonly context: Context;
  readonly values: Values;
  readonly data: DataSet;
  readonly loss: Loss;
  readonly workers?: GradientWorkers;
}

/** What is evaluated, what it is called, and where it stands. */
interface Weights {
  readonly label: string;
  readonly graph: ModelGraph;
  readonly state: NetworkState;
  readonly of: { readonly weights: string; readonly checkpoint: string | null };
}

type Scored = Evaluation & Pick<Weights, 'label'> & { readonly of: JsonObject };

async function* evaluateEach({ context, values, data, loss, workers }: Job, found: AsyncIterable<Weights>): AsyncGenerator<Scored> {
  const { output, signal, compute } = context;
  for await (const { label, graph, state, of } of found) {
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
    yield { label, of, ...result };
  }
}

/** Each and, last, all of them as one. */
async function* evaluateTogether({ context, values, data }: Job, found: AsyncIterable<Weights>): AsyncGenerator<Scored> {
  const { output, signal, compute } = context;
  const weights: Weights[] = [];
  for await (const each of found) weights.push(each);
  const { members, disagreement, ...whole } = await evaluateEnsemble({
    graph: (weights[0] as Weights).graph,
    states: weights.map(({ state }) => state),
    data,
    batchSize: Math.min(values['batch-size'], data.count),
    compute: await compute(),
    signal,
    onProgress: ({ done, total }) => output.progress('evaluating the ensemble', done, total, {}),
  });
  output.text(`Two of them answer differently on ${formatPercent(disagreement, 1)} %, in the mean.\n`);
  for (const [i, { label, of }] of weights.entries()) yield { label, of, ...(members[i] as Evaluation) };
  yield {
    label: `ensemble of ${weights.length}`,
    of: { weights: null, checkpoint: null, ensemble: weights.map(({ label }) => label), disagreement },
    ...whole,
  };
}

/** One checkpoint after the other, read as it is wanted: the one asked for, or all. */
async function* fromBundle(
  path: string, bundle: TrajectoryBundle, wanted: string | undefined, signal: AbortSignal,
): AsyncGenerator<Weights> {
  const chosen = wanted === undefined ? bundle.checkpoints.keys() : [checkpointIndex(bundle, wanted)];
  for (const index of chosen) {
    const label = bundle.checkpoints[index]?.label ?? '';
    yield { label, graph: bundle.graph, state: await bundle.readCheckpoint(index, signal), of: { weights: path, checkpoint: label } };
  }
}

async function* fromFiles(paths: readonly string[], values: ModelValues, data: DataSet, training: unknown): AsyncGenerator<Weights> {
  const graph = (await graphOf(values, data)) ?? (await refuseWithoutNetwork(paths[0] as string));
  for (const path of paths) {
    yield { label: path, graph, state: await readWeights(path, graph, training), of: { weights: path, checkpoint: null } };
  }
}
