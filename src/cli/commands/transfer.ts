/** `trajport transfer`: carries a bundle's trajectory over to other base weights. */
import { stateToSafetensors } from '../../bundle/network-state.ts';
import { isImageSet, isTokenSet } from '../../data/data-set.ts';
import type { DataSet } from '../../data/data-set.ts';
import { requireNormalisation } from '../../data/normalisation.ts';
import { onlyDefined } from '../../core/only-defined.ts';
import { limits } from '../../core/limits.ts';
import { lossOfRecord } from '../../gradient/loss.ts';
import { plan, transfer } from '../../index.ts';
import type { Compute, ProgressEvent, TrajectoryBundle, TransferChoices, TransferOptions } from '../../index.ts';
import { parameterLayout } from '../../model/graph.ts';
import { findHead } from '../../model/head.ts';
import { initialise } from '../../model/initialise.ts';
import { derivePermutationSpec } from '../../model/permutation-spec.ts';
import { indentedJson } from '../../report/json.ts';
import { DEFAULT_BATCH_SIZE } from '../../transfer/inputs.ts';
import { dataSha256 } from '../../transfer/record.ts';
import {
  DEFAULT_HISTORY_BUDGET_BYTES, readSettings, readSplit, requireZeroHead, skipPredicate, wantsZeroHead,
} from '../../transfer/settings.ts';
import { partOf } from '../../transfer/trajectory.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { thatFile } from '../arguments.ts';
import type { ValuesOf } from '../arguments.ts';
import { weightFiles } from '../checkpoints.node.ts';
import { defineCommand, globalOptionsOf } from '../command.ts';
import type { Context, GlobalValues } from '../command.ts';
import { dataOptions, loadData, remarkLargeBatch } from '../data-options.ts';
import { hasPart } from '../data.node.ts';
import { FileError, UsageError, exitCodes } from '../exit.ts';
import { writeAtomically } from '../write-files.node.ts';
import { lossOf, lossOptions } from '../loss-options.ts';
import type { Task } from '../networks.ts';
import type { Output } from '../output.ts';
import { microBatchOf, microBatchOptions, openWorkers, workerOptions } from '../parallel.node.ts';
import { filesLike, hashed, openLike } from '../ported-files.node.ts';
import type { LikeOutput } from '../ported-files.node.ts';
import { beginLongJob, resumeOptions } from '../resume.node.ts';
import type { LongJob } from '../resume.node.ts';
import { hasPerplexity } from '../scores.ts';
import { dataSummary, graphSummary, itemsOf } from '../summaries.ts';
import { requireTakenByNetwork } from '../taken-options.ts';
import { remarkOtherData, withTaskData } from '../task.ts';
import { choicesOf, partOptions, scoringOptions, transferOptions } from '../transfer-options.ts';
import type { ChoicesApart } from '../transfer-options.ts';
import { emitStep, recordOf, reportTransfer } from '../transfer-report.ts';
import type { Ported } from '../transfer-report.ts';
import { remarkGuessingTarget, scoreOfSource, testEvaluations } from '../transfer-scores.ts';
import { headOptionOf, headOptions, openBundleFile, readStart, readWeights } from '../weights.node.ts';
import { formatOf, likeOption, writeFiles } from '../written-weights.node.ts';

const options = {
  ...dataOptions,
  ...transferOptions,
  ...microBatchOptions,
  ...workerOptions,
  ...lossOptions,
  target: {
    kind: 'string',
    reads: weightFiles,
    metavar: 'FILE',
    help: 'the base weights to port to (a file of weights of any kind, or the last checkpoint of a bundle)',
  },
  'target-seed': {
    kind: 'integer',
    metavar: 'N',
    minimum: 0,
    maximum: 2 ** 32 - 1,
    help: 'port to fresh random weights of this seed instead',
  },
  ...headOptions,
  'zero-head': {
    ...headOptions['zero-head'],
    field: 'zeroHead',
    help:
      'begin with zeros as last layer, in the target and in the trajectory (default where the bundle was packed so): ' +
      'for a fine-tune on another task than that of the bases, also of bases with another number of classes or without a head',
  },
  'oracle-target': {
    kind: 'string',
    reads: weightFiles,
    metavar: 'FILE',
    help: '--method oracle: the weights that the target truly reached by training',
  },
  ...scoringOptions,
  start: {
    kind: 'choice',
    choices: ['identity', 'previous'],
    help: "where each step's descent starts: the identity as in the official code (default), or the step before",
  },
  ...partOptions,
  out: { kind: 'string', writes: 'weights', metavar: 'FILE', help: 'the transferred weights as safetensors' },
  like: {
    ...likeOption,
    help:
      "--out is as FILE has it, by its names and in its layouts, with what its framework keeps beside weights: the fine-tune's own " +
      "file, say, as convert " +
      '--like would make it afterwards (.safetensors, .npz or .json of TensorFlow.js by the ending of --out); of the LoRA adapter that ' +
      'the fine-tune is, an adapter for the target, with its adapter_config.json beside it',
  },
  record: { kind: 'string', writes: 'record', metavar: 'FILE', help: 'how the result came about, as JSON' },
  ...resumeOptions,
} as const;

export const transferCommand = defineCommand({
  name: 'transfer',
  summary: 'port the trajectory in a bundle to other base weights',
  positionals: [{ name: 'BUNDLE', reads: thatFile }],
  nextFile: 'target',
  options,
  examples: [
    {
      say: 'port a fine-tune to the new base, whose last layer answers another task',
      run: 'trajport transfer fine-tune.zip --target v2.safetensors --zero-head --data generated:after --out v2-ported.safetensors',
    },
    {
      say: 'twice as fast or more, nearly as good',
      run: 'trajport transfer fine-tune.zip --target v2.safetensors --data mydata --method fgmt --out v2-ported.safetensors',
    },
    {
      say: "under the names and in the layouts of the fine-tune's own file, for its framework",
      run:
        'trajport transfer fine-tune.zip --target v2.pth --zero-head --data pets.npz --out v2-fine-tuned.safetensors --like fine-tuned.pth',
    },
    {
      say: 'a LoRA adapter, for PEFT again',
      run:
        'trajport transfer fine-tune.zip --target v2.safetensors --zero-head --data sequences:texts --like adapter/ ' +
        '--out v2-adapter/adapter_model.safetensors',
    },
    {
      say: 'to a network that was never trained',
      run: 'trajport transfer source.trajectory.zip --target-seed 2 --data images/mnist --out ported.safetensors --record record.json',
    },
    {
      say: "keep the new base's head, choose the step without labels",
      run:
        'trajport transfer fine-tune.zip --target v2.safetensors --data mydata --skip linear2 --stop-rule label-free --out ' +
        'ported.safetensors',
    },
  ],
  notes: [
    'The data is the task that the source learnt. No step is ever chosen on test images; where DATA has a test part, the accuracy on ' +
    'it is shown for the target, the plain shift (Naive) and the result, the last two at the step that the stop rule keeps of each.',
    'SHA-256 of the written file is the one shown and recorded: the same command gives the same bytes in every runtime. With --like ' +
    'each file has its own, beside that of the weights by the names of the network.',
    'Interrupted, killed or cut off from power, the same command goes on from the last whole step and ends with the same bytes.',
  ],
  async run(context, values, [path]) {
    const { output, signal, compute } = context;
    const bundlePath = path as string;
    requireUsage(values);
    const job = beginLongJob({ ...context, outputs: outputsOf(context, values) }, values, 'steps', { ...options, ...globalOptionsOf({}) });
    using opened = await openBundleFile(bundlePath, signal);
    const { bundle } = opened;
    const { graph, training } = bundle;
    requireTakenByNetwork(values, graph);
    const choices = allChoicesOf(values);
    // Before any data is read, which takes seconds: whatever the bundle and the weights alone can refuse.
    requirePart(bundlePath, bundle, values, choices);
    const networks = await readNetworks(context, values, bundle, choices);
    const { data, test } = await readTaskData(context, values, { path: bundlePath, graph, training });
    output.text(`${graphSummary(graph)}\n${dataSummary(data)}\n`);
    const { heldOutFraction } = readSplit(values.seed, choices, training, await dataSha256(data));
    remarkSplit(output, bundlePath, values, data, heldOutFraction);
    const microBatch = microBatchFor(output, values, bundle, { ...choices, heldOutFraction }, data);

    using workers = await openWorkers(values);
    const common = {
      ...choices,
      ...onlyDefined({ microBatch, from: values.from, to: values.to, workers }),
      source: bundle,
      target: networks.target,
      data,
      seed: values.seed,
      compute: await compute(),
      signal,
    } satisfies Omit<TransferOptions, 'method'>;
    const loss = lossOf(values) ?? lossOfRecord(training);
    const perplexed = hasPerplexity(data, loss);
    const scoring = { loss, ...onlyDefined({ workers }) };
    const source = await scoreOfSource(context, bundle, values.to, test ?? data, scoring);
    const { result, naive } = await port(output, values, job, common, networks, perplexed);
    const scoringFrom = performance.now();
    const states = [networks.target, naive.state, result.state];
    const scores = test === undefined ? undefined : await testEvaluations(context, states, graph, test, scoring);
    const testMs = performance.now() - scoringFrom;
    const written = networks.like && (await filesLike(networks.like, bundle, networks.target, result, signal));
    const ported: Ported = {
      result,
      naive,
      tokens: isTokenSet(data),
      perplexed,
      budgetBytes: values['history-budget'] ?? DEFAULT_HISTORY_BUDGET_BYTES,
      files: values,
      like: written && (await hashed(written)),
      source,
      test: scores,
      testMs,
    };

    if (written !== undefined) writeFiles(written.files);
    else if (values.out !== undefined) writeAtomically(values.out, stateToSafetensors(parameterLayout(graph), result.state));
    if (values.record !== undefined) writeAtomically(values.record, indentedJson(recordOf(ported)));
    job.finish();
    reportTransfer(output, common.compute.core, ported);
    return exitCodes.ok;
  },
});

type Values = ValuesOf<typeof options> & GlobalValues;

/** @throws UsageError for options that do not go together. */
function requireUsage(values: Values): void {
  if ((values.target === undefined) === (values['target-seed'] === undefined))
    throw new UsageError('give either --target FILE or --target-seed N');
  const head = headOptionOf(values);
  if (head !== undefined && values.target === undefined)
    throw new UsageError(`--${head} goes with --target FILE; with --target-seed all layers are fresh`);
  if (values.method === 'oracle' && values['oracle-target'] === undefined)
    throw new UsageError('--method oracle needs --oracle-target FILE');
  if (values.out === undefined && values.record === undefined)
    throw new UsageError('nothing would be written: give --out FILE, --record FILE or both');
  if (values.like !== undefined && values.out === undefined) throw new UsageError('--like goes with --out FILE, which is written so');
}

/** With --like, the ending of --out says which kind it is. @throws UsageError where it says none. */
function outputsOf({ outputs }: Context, { like, out }: Values): Context['outputs'] {
  if (like === undefined || out === undefined) return outputs;
  formatOf('--out', out);
  return outputs.map((output) => (output.path === out && output.holds === 'weights' ? { ...output, holds: 'any' } : output));
}

/** What is read of weights before the work. */
interface Networks {
  readonly target: NetworkState;
  readonly oracleTarget: NetworkState | undefined;
  readonly like: LikeOutput | undefined;
  /** The target's last layer is a given one, and changes: it may answer another task. */
  readonly changesGivenHead: boolean;
}

/** @throws what does not fit the network, or one another; as `transfer`, once it has data, for a last layer of zeros. */
async function readNetworks(context: Context, values: Values, bundle: TrajectoryBundle, choices: TransferChoices): Promise<Networks> {
  const { compute } = context;
  const { graph, training } = bundle;
  const heads = { ...values, 'zero-head': wantsZeroHead(choices, training) };
  const target =
    values.target === undefined
      ? initialise((await compute()).core, graph, { seed: values['target-seed'] as number })
      : await readStart(values.target, graph, heads, compute, training);
  const like = await openLike(context, values, bundle, target);
  const skip = skipPredicate(values.skip ?? [], target.parameters);
  const zeroHead = requireHeads(bundle, values, choices, skip);
  const oracleTarget = values['oracle-target'] === undefined ? undefined : await readWeights(values['oracle-target'], graph, training);
  const headKept = [...(findHead(graph) ?? [])].every(skip);
  const changesGivenHead = values.target !== undefined && !zeroHead && !values['fresh-head'] && !headKept;
  return { target, oracleTarget, like, changesGivenHead };
}

/** The training part, and the test part where there is one: read now, so that one that cannot be used is not met after the work. */
async function readTaskData(
  context: Context, values: Values, task: Task,
): Promise<{ readonly data: DataSet; readonly test: DataSet | undefined }> {
  const { compute } = context;
  const chosen = await withTaskData(context, values, task, 'refused');
  const data = await loadData(chosen, 'train', compute, task.graph);
  // `transfer` would refuse them too, behind remarks on what the source makes of them.
  if (isImageSet(data)) requireNormalisation('data', data, task.training);
  await remarkOtherData(context, task, data);
  return { data, test: (await hasPart(chosen.data, 'test')) ? await loadData(chosen, 'test', compute, task.graph) : undefined };
}

/** The micro-batch that --micro-batch and --workers ask for; undefined where batches stay whole. */
function microBatchFor(
  output: Output, values: Values, { graph, checkpoints }: TrajectoryBundle, choices: TransferChoices, data: DataSet,
): number | undefined {
  const heapLimitBytes = values['heap-limit'] ?? limits.heapBytes;
  const microBatch = microBatchOf(values, graph, values['batch-size'] ?? DEFAULT_BATCH_SIZE, output, () =>
    plan({ ...choices, graph, method: values.method, images: data.count, checkpoints: checkpoints.length, heapLimitBytes }).microBatch,
  );
  if (microBatch === undefined && (values.method === 'fgmt' || values.method === 'gmt')) remarkIdleWorkers(output, values.workers ?? 0);
  return microBatch;
}

/** The port by the method asked for, with its resume points, and the plain shift beside it. */
async function port(
  output: Output, values: Values, job: LongJob, common: Omit<TransferOptions, 'method'> & { readonly compute: Compute },
  { oracleTarget, changesGivenHead }: Networks, perplexed: boolean,
): Promise<Pick<Ported, 'result' | 'naive'>> {
  const { source, data, compute } = common;
  const remarksHead = changesGivenHead && !isTokenSet(data);
  const result = await job.run(async () =>
    transfer({
      ...common,
      ...onlyDefined({ oracleTarget, resume: job.resume }),
      method: values.method,
      onProgress: ({ done, total, detail, steps }) => {
        for (const step of steps) emitStep(output, compute.core, step, perplexed);
        if (remarksHead && steps[0]?.step === 0) remarkGuessingTarget(output, source.graph, steps[0].heldOut);
        output.progress(`porting by ${values.method}`, done, total, detail);
      },
    }),
  );
  const onProgress = ({ done, total }: ProgressEvent): void => output.progress('the plain shift beside it', done, total, {});
  return { result, naive: values.method === 'naive' ? result : await transfer({ ...common, method: 'naive', onProgress }) };
}

/** Every choice but the micro-batch, which is read once the data are known. */
function allChoicesOf(values: Values): Omit<TransferChoices, 'microBatch'> {
  return {
    ...choicesOf(values),
    ...onlyDefined({
      zeroHead: headOptionOf(values) === undefined ? undefined : values['zero-head'],
      start: values.start,
      loss: lossOf(values),
    } satisfies { readonly [K in Exclude<ChoicesApart, 'microBatch'>]: TransferChoices[K] | undefined }),
  };
}

/** Checks the part of the trajectory and the choices asked for. @throws what `transfer` would, once it has data. */
function requirePart(path: string, bundle: TrajectoryBundle, { method, from, to }: Values, choices: TransferChoices): void {
  if (bundle.checkpoints.length < 2)
    throw new FileError(path, 'holds one checkpoint, and a transfer carries over what changed from one to another');
  const { first, last } = partOf(bundle, { from, to });
  plan({ ...choices, graph: bundle.graph, method, checkpoints: last - first + 1 });
}

/** Whether the last layer begins with zeros. @throws as `transfer`, once it has data, for what does not go with that. */
function requireHeads(
  { graph, checkpoints, training }: TrajectoryBundle, { method, seed }: Values, choices: TransferChoices, skip: (name: string) => boolean,
): boolean {
  const settings = readSettings(method, seed, choices, checkpoints.length, training);
  if (settings.zeroHead) requireZeroHead(graph, settings, derivePermutationSpec(graph), skip);
  return settings.zeroHead;
}

/** Warns of batches larger than what is trained on, and where nothing is held out, without which no step can be chosen. */
function remarkSplit(output: Output, bundlePath: string, values: Values, data: DataSet, heldOutFraction: number): void {
  remarkLargeBatch(output, values['batch-size'], data, heldOutFraction);
  if (heldOutFraction > 0 || values['stop-rule'] !== undefined) return;
  const why =
    values['held-out'] === 0
      ? '--held-out 0'
      : `${bundlePath} was trained on all of these ${itemsOf(data)}, which`;
  output.warn(`${why} leaves nothing to choose a step by: the last one is kept, as with --stop-rule last`);
}

function remarkIdleWorkers(output: Output, workers: number): void {
  if (workers > 2)
    output.warn(`--workers ${workers}: without --micro-batch gradients are work for two; the others only help with scores`);
}
