/** `trajport train`: makes the trajectory that a transfer carries over. */
import { stateToSafetensors } from '../../bundle/network-state.ts';
import { writeBundleTo } from '../../bundle/writer.ts';
import type { BundleContent, CheckpointContent } from '../../bundle/writer.ts';
import type { Core } from '../../core/core.ts';
import { listed } from '../../core/describe.ts';
import { TrajportError } from '../../core/errors.ts';
import { onlyDefined } from '../../core/only-defined.ts';
import { limits } from '../../core/limits.ts';
import { splitRows } from '../../data/split.ts';
import { normalisationRecord } from '../../data/normalisation.ts';
import { DEFAULT_LOSS } from '../../gradient/loss.ts';
import type { OptimiserKind, OptimiserSettings } from '../../gradient/optimiser.ts';
import { planMicroBatch } from '../../gradient/memory.ts';
import { train } from '../../index.ts';
import type { Compute, TrainOptions, TrainResult } from '../../index.ts';
import { parameterLayout } from '../../model/graph.ts';
import type { ModelGraph } from '../../model/graph.ts';
import { headsOf } from '../../model/head.ts';
import { formatBytes, formatPercent, printable } from '../../report/text.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { DEFAULT_BATCH_SIZE } from '../../transfer/inputs.ts';
import type { ValuesOf } from '../arguments.ts';
import { checkpointPath, readCheckpointFile, weightFiles } from '../checkpoints.node.ts';
import { defineCommand, globalOptionsOf } from '../command.ts';
import type { Context, GlobalValues } from '../command.ts';
import { dataOptions, loadData, normalisationOf, remarkLargeBatch } from '../data-options.ts';
import { FileError, UsageError, exitCodes } from '../exit.ts';
import { requireFile } from '../read-files.node.ts';
import { streamAtomically, writeAtomically } from '../write-files.node.ts';
import { lossOf, lossOptions } from '../loss-options.ts';
import { givenTask, graphOf, modelOptions } from '../networks.ts';
import type { Output } from '../output.ts';
import { microBatchOf, microBatchOptions, openWorkers, workerOptions } from '../parallel.node.ts';
import { beginLongJob, resumeOptions } from '../resume.node.ts';
import { hasPerplexity, perplexity, scoreFields } from '../scores.ts';
import { dataSummary, graphSummary } from '../summaries.ts';
import { withTaskData } from '../task.ts';
import { headOptionOf, headOptions, isBundle, readStart } from '../weights.node.ts';

const DEFAULT_EPOCHS = 10;

const options = {
  ...dataOptions,
  ...modelOptions,
  epochs: {
    kind: 'integer',
    field: 'epochs',
    metavar: 'N',
    minimum: 1,
    maximum: limits.checkpoints - 1,
    help: `passes over the training part (default ${DEFAULT_EPOCHS})`,
  },
  iterations: { kind: 'integer', field: 'iterations', metavar: 'N', minimum: 1, help: 'optimiser steps instead of epochs' },
  'batch-size': {
    kind: 'integer',
    field: 'batchSize',
    metavar: 'N',
    minimum: 1,
    help: `images (windows or sequences of tokens) a step (default ${DEFAULT_BATCH_SIZE})`,
  },
  optimiser: { kind: 'choice', choices: ['sgd', 'adamw'], default: 'sgd', help: 'sgd (with momentum) or adamw' },
  ...microBatchOptions,
  ...workerOptions,
  ...lossOptions,
  momentum: { kind: 'number', metavar: 'X', minimum: 0, maximum: 1, help: 'sgd: momentum (default 0.9)' },
  'weight-decay': { kind: 'number', field: 'optimiser.weightDecay', metavar: 'X', minimum: 0, default: 0, help: 'weight decay' },
  'learning-rate': { kind: 'number', field: 'learningRate', metavar: 'X', minimum: 0, help: 'default 0.01 for sgd, 0.001 for adamw' },
  'learning-rate-schedule': {
    kind: 'choice',
    choices: ['constant', 'cosine'],
    default: 'constant',
    help: 'constant, or cosine down to zero by epoch',
  },
  initial: {
    kind: 'string',
    reads: weightFiles,
    metavar: 'FILE',
    help: 'weights to start from (a file of weights of any kind, or the last checkpoint of a bundle): this is fine-tuning',
  },
  ...headOptions,
  checkpoints: {
    kind: 'integers',
    field: 'checkpointEpochs',
    metavar: 'N,N…',
    minimum: 1,
    help: 'epochs to keep besides start and end (default: all)',
  },
  'checkpoint-iterations': { kind: 'integers', field: 'checkpointIterations', metavar: 'N,N…', minimum: 1, help: 'iterations to keep too' },
  'held-out': {
    kind: 'number',
    field: 'heldOutFraction',
    metavar: 'X',
    minimum: 0,
    maximum: 0.9,
    default: 0.1,
    help: 'share of the data kept out of training, for the evaluations shown',
  },
  out: { kind: 'string', writes: 'bundle', metavar: 'FILE', help: 'the bundle to write, e.g. source.trajectory.zip' },
  'store-seed': { kind: 'flag', help: 'with --out: initial weights as their seed, without bytes (not for Python)' },
  final: { kind: 'string', writes: 'weights', metavar: 'FILE', help: 'the last weights as safetensors' },
  ...resumeOptions,
} as const;

export const trainCommand = defineCommand({
  name: 'train',
  summary: 'train a network and keep its trajectory as a bundle',
  positionals: [],
  options,
  examples: [
    { say: 'a base network on generated data', run: 'trajport train --widths 512 --epochs 5 --out base.zip --final v1.safetensors' },
    {
      say: 'its fine-tune on the second task: the trajectory worth porting',
      run: 'trajport train --data generated:after --widths 512 --initial v1.safetensors --out fine-tune.zip',
    },
    {
      say: 'on MNIST, as the paper does',
      run: 'trajport train --data images/mnist --model mlp --widths 4096 --epochs 10 --out source.trajectory.zip',
    },
    {
      say: 'a small language model on a text, byte by byte',
      run:
        'trajport train --data text:corpus.txt --context 64 --model gpt2 --width 64 --depth 2 --heads 4 --optimiser adamw --epochs 1 ' +
        '--out lm.zip',
    },
    {
      say: 'a classifier of texts from a base as it is published',
      run:
        'trajport train --data sequences:reviews.jsonl --context 128 --model distilbert --classes 2 --initial v1/model.safetensors ' +
        '--fresh-head --optimiser adamw --learning-rate 0.00005 --batch-size 16 --epochs 1 --out fine-tune.zip',
    },
    {
      say: 'a convolutional net with AdamW',
      run: 'trajport train --data images/cifar10 --model conv8 --width 0.5 --optimiser adamw --out conv.zip',
    },
  ],
  notes: [
    'The same options and seed give the same bytes in Node, Deno, Bun and browsers.',
    'Interrupted, killed or cut off from power, the same command goes on from the newest resume point and ends with the same bytes.',
  ],
  async run(context, values) {
    const { output, signal, compute } = context;
    requireUsage(values);
    const job = beginLongJob(context, values, 'iterations', { ...options, ...globalOptionsOf({}) });
    if (values.initial !== undefined) requireFile(checkpointPath(values.initial));
    const task = await givenTask(values);
    const chosen = await withTaskData(context, values, task);
    const data = await loadData(chosen, 'train', compute, task?.graph);
    const graph = await graphOf(values, data, 'mlp');
    if (graph === undefined) throw new UsageError('give --model NAME or --graph FILE');
    const batchSize = values['batch-size'] ?? DEFAULT_BATCH_SIZE;
    remarkLargeBatch(output, values['batch-size'], data, values['held-out']);
    remarkOneRate(output, values, splitRows(data.count, values['held-out'], 0).training.length / batchSize);
    const initial = values.initial === undefined ? undefined : await readInitial(values.initial, graph, values, compute, task?.training);
    const loss = lossOf(values);
    const microBatch = microBatchFor(output, values, graph, batchSize);
    using workers = await openWorkers(values);
    output.text(`${graphSummary(graph)}\n${dataSummary(data)}`);
    const { core } = await compute();
    const perplexed = hasPerplexity(data, loss ?? DEFAULT_LOSS);
    const result = await job.run(async () =>
      train({
        graph,
        data,
        batchSize,
        ...trainingChoices(values),
        ...onlyDefined({ initial, loss, microBatch, workers, resume: job.resume }),
        compute: await compute(),
        signal,
        onProgress: ({ done, total, detail, evaluations }) => {
          for (const { iteration, heldOut } of evaluations)
            output.record({ event: 'evaluation', iteration, ...scoreFields(core, heldOut, perplexed) });
          output.progress('training', done, total, detail);
        },
      }),
    );

    showEvaluations(output, core, result.evaluations, perplexed);
    remarkWorse(output, result.evaluations);
    const content = {
      graph,
      checkpoints: bundled(result.checkpoints, values),
      training: { ...result.record, ...normalisationRecord(normalisationOf(chosen), data) },
    };
    const bundle = values.out === undefined ? {} : await writeOut(context, values.out, content, values['store-seed'] ? { core } : {});
    const final = values.final === undefined ? {} : writeFinal(output, values.final, result);
    job.finish();
    const last = result.evaluations.at(-1);
    output.hash('weights', result.record.sha256);
    output.record({
      event: 'result',
      command: 'train',
      sha256: result.record.sha256,
      checkpoints: result.checkpoints.map(({ label, iteration }) => ({ label, iteration })),
      heldOut: last === undefined ? null : scoreFields(core, last.heldOut, perplexed),
      ...bundle,
      ...final,
      record: result.record,
    });
    return exitCodes.ok;
  },
});

type Values = ValuesOf<typeof options> & GlobalValues;

/** @throws UsageError for options that do not go together. */
function requireUsage(values: Values): void {
  if (values.out === undefined && values.final === undefined)
    throw new UsageError('nothing would be written: give --out FILE, --final FILE or both');
  const head = headOptionOf(values);
  if (head !== undefined && values.initial === undefined)
    throw new UsageError(`--${head} goes with --initial FILE; without it all layers are fresh`);
  if (values['store-seed'] && values.out === undefined) throw new UsageError('--store-seed goes with --out FILE');
  if (values['store-seed'] && values.initial !== undefined) {
    throw new UsageError('--store-seed is for weights drawn from --seed, not for those of --initial');
  }
  const kept = (['checkpoints', 'checkpoint-iterations'] as const).find((option) => values[option] !== undefined);
  if (kept !== undefined && values.out === undefined) throw new UsageError(`--${kept} goes with --out FILE, the bundle that keeps them`);
  if (values.epochs !== undefined && values.iterations !== undefined) throw new UsageError('--epochs and --iterations exclude each other');
}

/**
 * Weights to start from. Where nobody has named a network it is the default MLP, and weights of another width are told
 * which that would be.
 */
async function readInitial(
  path: string, graph: ModelGraph, values: Values, compute: () => Promise<Compute>, training: unknown,
): Promise<NetworkState> {
  try {
    const initial = await readStart(path, graph, values, compute, training);
    if (values['zero-head']) refuseZeros(path, graph, initial);
    return initial;
  } catch (error) {
    if (
      !(error instanceof TrajportError) ||
      values.model !== undefined ||
      values.graph !== undefined ||
      values.widths !== undefined ||
      isBundle(path)
    )
      throw error;
    const layers = [...(await readCheckpointFile(path)).tensors.values()].filter(({ shape }) => shape.length === 2);
    const widths = layers.slice(0, -1).map(({ shape }) => String(shape[0]));
    throw new FileError(
      path,
      `${error.message}\n       no network is named, so it is --model mlp --widths ` +
      `512${widths.length === 0 ? '' : `; were these weights of an MLP, it would be --widths ${listed(widths, ',')}`}`,
      error,
    );
  }
}

/** @throws UsageError for zeros in two layers one behind the other: the gradients of both are zero, and stay so. */
function refuseZeros(path: string, graph: ModelGraph, { parameters }: NetworkState): void {
  const [, two] = headsOf(graph);
  if (two === undefined || ![...two].every((name) => parameters.get(name)?.data.every((value) => value === 0))) return;
  throw new UsageError(
    `--zero-head begins with zeros in two layers, since ${path} lacks both (${listed([...two])}): ` +
    'training would move nothing but a bias; --fresh-head draws both',
  );
}

/** The micro-batch that --micro-batch asks for. @throws UsageError for workers without one, who would have nothing to share. */
function microBatchFor(output: Output, values: Values, graph: ModelGraph, batchSize: number): number | undefined {
  const microBatch = microBatchOf(values, graph, batchSize, output, () =>
    planMicroBatch(graph, batchSize, values['heap-limit'] ?? limits.heapBytes),
  );
  if (values.workers !== undefined && microBatch === undefined) {
    throw new UsageError(
      values['micro-batch'] === undefined
        ? '--workers of train needs --micro-batch N: the parts of a batch are what workers share'
        : `--workers of train needs a smaller --micro-batch: whole batches of ${batchSize} cannot be shared`,
    );
  }
  return microBatch;
}

/** What the options say as they stand. */
function trainingChoices(values: Values): Omit<TrainOptions, 'graph' | 'data' | 'batchSize'> {
  return {
    seed: values.seed,
    optimiser: optimiserOf(values),
    learningRate: values['learning-rate'] ?? learningRates[values.optimiser],
    learningRateSchedule: values['learning-rate-schedule'],
    heldOutFraction: values['held-out'],
    ...(values.iterations === undefined ? { epochs: values.epochs ?? DEFAULT_EPOCHS } : { iterations: values.iterations }),
    // Without a bundle none is written: those of all epochs were kept, and copied into every resume point.
    ...(values.out === undefined
      ? { checkpointEpochs: [] }
      : onlyDefined({ checkpointEpochs: values.checkpoints, checkpointIterations: values['checkpoint-iterations'] })),
  };
}

/** As --help of --learning-rate has them. */
const learningRates: { readonly [K in OptimiserKind]: number } = { sgd: 0.01, adamw: 0.001 };

function optimiserOf(values: Values): OptimiserSettings {
  const weightDecay = values['weight-decay'];
  if (values.optimiser === 'sgd') return { kind: 'sgd', momentum: values.momentum ?? 0.9, weightDecay };
  return { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay };
}

/** A row for each evaluation on what was held out. */
function showEvaluations(output: Output, core: Core, evaluations: TrainResult['evaluations'], perplexed: boolean): void {
  if (evaluations.length === 0) return;
  const table = output.table(
    [
      { title: 'iteration', align: 'right' }, { title: 'held-out loss', align: 'right' },
      ...(perplexed ? [{ title: 'perplexity', align: 'right' } as const] : []), { title: 'held-out accuracy, %', align: 'right' },
    ],
    evaluations.map(({ iteration, heldOut: { loss, accuracy } }) => [
      String(iteration), loss.toFixed(4), ...(perplexed ? [perplexity(core, loss).toFixed(2)] : []), formatPercent(accuracy, 2),
    ]),
  );
  output.text(`\n${table}`);
}

/** A schedule by epoch has one rate in one epoch. */
function remarkOneRate(output: Output, values: Values, batchesPerEpoch: number): void {
  const epochs = values.iterations === undefined ? (values.epochs ?? DEFAULT_EPOCHS) : values.iterations / Math.ceil(batchesPerEpoch);
  if (values['learning-rate-schedule'] === 'cosine' && epochs <= 1)
    output.warn('--learning-rate-schedule cosine lowers the rate from epoch to epoch, and changes nothing in one');
}

/** A held-out loss may rise by this share while a network learns, or by chance. */
const RISE = 1.1;

/** A training that diverges without reaching infinity ends like any other: only its evaluations tell. */
function remarkWorse(output: Output, evaluations: TrainResult['evaluations']): void {
  const [first, last] = [evaluations[0]?.heldOut, evaluations.at(-1)?.heldOut];
  if (first === undefined || last === undefined || last.loss <= RISE * first.loss || last.accuracy > first.accuracy) return;
  output.warn(
    `this training made the network worse: a held-out loss of ${first.loss.toPrecision(4)} at the start and ` +
    `${last.loss.toPrecision(4)} at the end; ` +
      'a lower --learning-rate may help',
  );
}

/** Writes the bundle and says so; answers what --json tells of it. */
async function writeOut(
  { output, signal }: Context,
  path: string,
  content: BundleContent & { readonly checkpoints: readonly CheckpointContent[] },
  seeded: { readonly core?: Core },
): Promise<object> {
  const bundleBytes = await streamAtomically(path, (sink) => writeBundleTo(sink, content, { signal, ...seeded }));
  output.text(`wrote ${printable(path)}: ${content.checkpoints.length} checkpoints, ${formatBytes(bundleBytes)}`);
  return { bundle: path, bundleBytes };
}

/** As `writeOut`, the last weights. */
function writeFinal(output: Output, path: string, { graph, state }: TrainResult): object {
  writeAtomically(path, stateToSafetensors(parameterLayout(graph), state));
  output.text(`wrote ${printable(path)}`);
  return { final: path };
}

/** The checkpoints as a bundle takes them; weights that were given came from no seed of this run. */
function bundled(
  checkpoints: readonly CheckpointContent[],
  { seed, initial, 'store-seed': storeSeed }: { seed: number; initial: string | undefined; 'store-seed': boolean },
): readonly CheckpointContent[] {
  return checkpoints.map((checkpoint, i) =>
    storeSeed && initial === undefined && i === 0 ? { ...checkpoint, seed: { seed } } : checkpoint,
  );
}
