/** `trajport transfer`: carries a bundle's trajectory over to other base weights. */
import { stateToSafetensors } from '../../bundle/network-state.ts';
import { limits } from '../../core/limits.ts';
import { parameterLayout } from '../../model/graph.ts';
import { initialise } from '../../model/initialise.ts';
import { evaluate, plan, solverNames, stopRules, transfer, transferMethods } from '../../index.ts';
import type { Core } from '../../core/core.ts';
import { isTokenSet } from '../../data/data-set.ts';
import { methodLabels } from '../../experiments/port-fine-tune.ts';
import type { DataSet } from '../../data/data-set.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import type { Evaluation, TrajectoryBundle, TransferChoices, TransferMethod, TransferOptions, TransferResult } from '../../index.ts';
import { dataSha256 } from '../../transfer/record.ts';
import { readSplit, skipPredicate } from '../../transfer/settings.ts';
import { outscores } from '../../transfer/stop-rule.ts';
import { checkpointNumber } from '../../transfer/trajectory.ts';
import { formatTable } from '../../report/table.ts';
import { formatBytes, formatCount, formatDuration, formatPercent } from '../../report/text.ts';
import { thatFile } from '../arguments.ts';
import { weightFiles } from '../checkpoints.node.ts';
import { defineCommand } from '../command.ts';
import type { Context } from '../command.ts';
import { hasPart } from '../data.node.ts';
import { FileError, UsageError, exitCodes } from '../exit.ts';
import { writeAtomically } from '../files.node.ts';
import { microBatchOf, microBatchOptions, openWorkers, workerOptions } from '../parallel.node.ts';
import { beginLongJob, resumeOptions } from '../resume.node.ts';
import { perplexity, scoreFields } from '../scores.ts';
import { DEFAULT_BATCH_SIZE, dataOptions, loadData, remarkLargeBatch } from '../data-options.ts';
import { lossOf, lossOptions } from '../loss-options.ts';
import { dataSummary, graphSummary } from '../summaries.ts';
import { freshHeadOptions, openBundleFile, readStart, readWeights } from '../weights.node.ts';
import { remarkOtherData, withTaskData } from '../task.ts';

/** Options that say how to transfer; `plan` takes the same. */
export const transferOptions = {
  method: {
    kind: 'choice', choices: transferMethods, default: 'gmt',
    help:
      'fgmt (matches with 2 gradients a step), gmt (matches every pair anew at each step, so T + 1 gradients a step; best where the published ' +
      'comparisons differ), naive (plain shift), oracle (yardstick; needs --oracle-target)',
  },
  steps: {
    kind: 'integer', field: 'steps', metavar: 'T', minimum: 1, maximum: limits.scheduleSteps,
    help: 'steps along the trajectory (default 10, or its checkpoints with --trajectory real)',
  },
  trajectory: { kind: 'choice', choices: ['linear', 'real'], default: 'linear', help: 'the line between first and last checkpoint, or all checkpoints' },
  schedule: { kind: 'choice', choices: ['cosine', 'uniform'], default: 'cosine', help: 'spacing of the steps on the line' },
  'gmt-batches': {
    kind: 'choice', choices: ['fresh', 'fixed'], default: 'fresh',
    help: 'gmt: new mini-batches for every pair at every step, or each point keeps its own (fixed: about half of the gradients, kept in memory)',
  },
  'batches-per-step': { kind: 'integer', metavar: 'G', minimum: 1, default: 1, help: 'mini-batches averaged for one gradient' },
  'batch-size': { kind: 'integer', metavar: 'N', minimum: 1, help: `images (windows of tokens) a mini-batch (default ${DEFAULT_BATCH_SIZE})` },
  'history-budget': {
    kind: 'bytes', field: ['historyBudgetBytes', 'budgetBytes'], metavar: 'SIZE', default: 512 * 2 ** 20,
    help: 'cap of the gradient history',
  },
  freeze: { kind: 'strings', field: 'frozenGroups', metavar: 'GROUP,…', help: 'permutation groups that stay as they are (see inspect)' },
  'normalise-terms': { kind: 'flag', help: 'divide each similarity term by its norms (harmless in MLPs, bad in conv nets)' },
} as const;

const options = {
  ...dataOptions,
  ...transferOptions,
  ...microBatchOptions,
  ...workerOptions,
  ...lossOptions,
  target: {
    kind: 'string', reads: weightFiles, metavar: 'FILE',
    help: 'the base weights to port to (a file of weights of any kind, or the last checkpoint of a bundle)',
  },
  'target-seed': { kind: 'integer', metavar: 'N', minimum: 0, maximum: 2 ** 32 - 1, help: 'port to fresh random weights of this seed instead' },
  ...freshHeadOptions,
  'oracle-target': { kind: 'string', reads: weightFiles, metavar: 'FILE', help: '--method oracle: the weights that the target truly reached by training' },
  'held-out': {
    kind: 'number', field: 'heldOutFraction', metavar: 'X', minimum: 0, maximum: 0.9,
    help:
      "share of the images held out for the stop rule (default: what the bundle's training held out of them, else 0.1); with 0 the last step is kept",
  },
  'held-out-seed': {
    kind: 'integer', metavar: 'N', minimum: 0, maximum: 2 ** 32 - 1,
    help: "draws the held-out images (default: the seed of the bundle's training, so that its source never saw them; else --seed)",
  },
  'stop-rule': {
    kind: 'choice', field: 'stopRule', choices: stopRules,
    help:
      'which step is kept: best on the held-out images (default; by accuracy, then loss, text by loss alone), agreeing most with the source ' +
      '(label-free), or the last',
  },
  'statistics-batches': { kind: 'integer', metavar: 'N', minimum: 1, default: 20, help: 'mini-batches to re-estimate batch-norm statistics from' },
  solver: {
    kind: 'choice', choices: solverNames, default: 'coordinate-descent',
    help:
      'how each matching is solved: one descent, the best of five seeded ones, or Frank-Wolfe (1.3 to 5 times the transfer for up to 1 % of the ' +
      'objective)',
  },
  start: {
    kind: 'choice', choices: ['identity', 'previous'], default: 'identity',
    help: "where each step's descent starts: the identity as in the official code, or the step before",
  },
  'max-sweeps': { kind: 'integer', metavar: 'N', minimum: 1, maximum: 10_000, default: 100, help: 'sweeps of a descent at most' },
  skip: { kind: 'strings', field: 'skipParameters', metavar: 'NAME,…', help: 'parameters, or prefixes of some, whose change is not carried over' },
  from: { kind: 'string', field: 'from', metavar: 'LABEL', help: 'first checkpoint of the part to carry over' },
  to: { kind: 'string', field: 'to', metavar: 'LABEL', help: 'last checkpoint of the part to carry over' },
  out: { kind: 'string', writes: 'weights', metavar: 'FILE', help: 'the transferred weights as safetensors' },
  record: { kind: 'string', writes: 'record', metavar: 'FILE', help: 'how the result came about, as JSON' },
  ...resumeOptions,
} as const;

export const transferCommand = defineCommand({
  name: 'transfer',
  summary: 'port the trajectory in a bundle to other base weights',
  positionals: [{ name: 'BUNDLE', reads: thatFile }],
  options,
  examples: [
    { say: 'port a fine-tune to the new base', run: 'trajport transfer fine-tune.zip --target v2.safetensors --data generated:after --out v2-ported.safetensors' },
    { say: 'twice as fast or more, nearly as good', run: 'trajport transfer fine-tune.zip --target v2.safetensors --data mydata --method fgmt --out v2-ported.safetensors' },
    { say: 'to a network that was never trained', run: 'trajport transfer source.trajectory.zip --target-seed 2 --data mnist --out ported.safetensors --record record.json' },
    { say: 'keep the new base\'s head, choose the step without labels', run: 'trajport transfer fine-tune.zip --target v2.safetensors --data mydata --skip linear2 --stop-rule label-free --out ported.safetensors' },
  ],
  notes: [
    'The data is the task that the source learnt. No step is ever chosen on test images; where DATA has a test part, the accuracy on it is shown for the target, the plain shift (Naive) and the result, the last two at the step that the stop rule keeps of each.',
    'SHA-256 of the written file is the one shown and recorded: the same command gives the same bytes in every runtime.',
    'Interrupted, killed or cut off from power, the same command goes on from the last whole step and ends with the same bytes.',
  ],
  async run(context, values, [path]) {
    const { output, signal, compute } = context;
    const bundlePath = path as string;
    if ((values.target === undefined) === (values['target-seed'] === undefined)) throw new UsageError('give either --target FILE or --target-seed N');
    if (values['fresh-head'] && values.target === undefined) throw new UsageError('--fresh-head goes with --target FILE; with --target-seed all layers are fresh');
    if ((values.method === 'oracle') !== (values['oracle-target'] !== undefined)) {
      throw new UsageError(values.method === 'oracle' ? '--method oracle needs --oracle-target FILE' : `--oracle-target is for --method oracle, not for ${values.method}`);
    }
    if (values.workers !== undefined && !computesGradients(values.method)) throw new UsageError(`--workers is for methods that compute gradients, fgmt and gmt, not for ${values.method}`);
    if (values.out === undefined && values.record === undefined) throw new UsageError('nothing would be written: give --out FILE, --record FILE or both');
    const job = beginLongJob(context, values, 'steps');
    using opened = await openBundleFile(bundlePath, signal);
    const { bundle } = opened;
    const { graph } = bundle;
    const choices = given<TransferChoices>({
      steps: values.steps, trajectory: values.trajectory, schedule: values.schedule, batchesPerStep: values['batches-per-step'],
      gmtBatches: values['gmt-batches'], batchSize: values['batch-size'], microBatch: undefined, heldOutFraction: values['held-out'],
      heldOutSeed: values['held-out-seed'], stopRule: values['stop-rule'], statisticsBatches: values['statistics-batches'],
      historyBudgetBytes: values['history-budget'], normalise: values['normalise-terms'], frozenGroups: values.freeze, skipParameters: values.skip,
      maxSweeps: values['max-sweeps'], start: values.start, solver: values.solver, loss: lossOf(values),
    });
    // Before any data is read, which takes seconds: whatever the bundle and the weights alone can refuse.
    requirePart(bundlePath, bundle, values, choices);
    const target =
      values.target === undefined
        ? initialise((await compute()).core, graph, { seed: values['target-seed'] as number })
        : await readStart(values.target, graph, values, compute);
    skipPredicate(values.skip ?? [], target);
    const oracleTarget = values['oracle-target'] === undefined ? undefined : await readWeights(values['oracle-target'], graph);
    const task = { path: bundlePath, graph, training: bundle.training };
    const chosen = await withTaskData(context, values, task);
    const data = await loadData(chosen, 'train', compute, graph);
    await remarkOtherData(context, task, data);
    // Read before the work, so that a test part that cannot be used is not met after it.
    const test = (await hasPart(chosen.data, 'test')) ? await loadData(chosen, 'test', compute, graph) : undefined;
    output.text(`${graphSummary(graph)}\n${dataSummary(data)}\n`);

    const { heldOutFraction } = readSplit(values.seed, choices, bundle.training, await dataSha256(data));
    remarkLargeBatch(output, values['batch-size'], data, heldOutFraction);
    if (heldOutFraction === 0 && values['stop-rule'] === undefined) {
      const why = values['held-out'] === 0 ? '--held-out 0' : `${bundlePath} was trained on all of these ${isTokenSet(data) ? 'windows' : 'images'}, which`;
      output.warn(`${why} leaves nothing to choose a step by: the last one is kept, as with --stop-rule last`);
    }
    const microBatch = microBatchOf(values, graph, values['batch-size'] ?? DEFAULT_BATCH_SIZE, output);
    if (microBatch === undefined && (values.workers ?? 0) > 2) output.warn(`--workers ${values.workers}: without --micro-batch no more than two have work, one for the source and one for the target`);
    using workers = await openWorkers(values);
    const common = {
      ...choices,
      ...(microBatch === undefined ? {} : { microBatch }),
      source: bundle, target, data, seed: values.seed,
      ...(values.from === undefined ? {} : { from: values.from }),
      ...(values.to === undefined ? {} : { to: values.to }),
      ...(workers === undefined ? {} : { workers }),
      compute: await compute(), signal,
    } satisfies Omit<TransferOptions, 'method'>;
    const result = await transfer({
      ...common,
      method: values.method,
      ...(oracleTarget === undefined ? {} : { oracleTarget }),
      ...(job.resume === undefined ? {} : { resume: job.resume }),
      onProgress: ({ done, total, detail }) => output.progress(`porting by ${values.method}`, done, total, detail),
    });
    const naive = values.method === 'naive' ? result : await transfer({ ...common, method: 'naive' });
    const { core } = await compute();
    const tokens = isTokenSet(data);
    const tested = test === undefined ? undefined : await testEvaluations(context, result, naive, target, test);
    const accuracies = tested === undefined ? null : each(tested, ({ accuracy }) => accuracy);
    const losses = tested === undefined ? null : each(tested, (scores) => scores.loss);

    if (values.out !== undefined) writeAtomically(values.out, stateToSafetensors(parameterLayout(graph), result.state));
    const record = { ...result.record, steps: result.steps, counts: result.counts, permutations: permutationsOf(result), naiveStep: naive.chosenStep, test: accuracies, testLoss: losses };
    if (values.record !== undefined) writeAtomically(values.record, `${JSON.stringify(record, null, 2)}\n`);
    job.finish();
    const { codedHistory } = result.record;
    for (const step of result.steps) {
      output.record({ event: 'step', ...step, ...(step.heldOut === undefined ? {} : { heldOut: scoreFields(core, step.heldOut, tokens) }) });
    }
    output.record({
      event: 'result', command: 'transfer', method: result.method, chosenStep: result.chosenStep, sha256: result.record.sha256, counts: result.counts,
      timings: result.timings, ...(codedHistory === undefined ? {} : { codedHistory }), test: accuracies, testLoss: losses,
      ...(tokens && losses !== null ? { testPerplexity: each(losses, (nats) => perplexity(core, nats)) } : {}), naiveStep: naive.chosenStep, naiveHeldOut: naive.steps[naive.chosenStep]?.heldOut?.accuracy ?? null,
      out: values.out ?? null, recordFile: values.record ?? null,
    });
    if (codedHistory !== undefined) {
      output.warn(
        `gradients did not fit --history-budget ${formatBytes(values['history-budget'])}: from step ${codedHistory.fromStep} on they were kept as 8-bit codes; ` +
          `no objective is off by more than ${codedHistory.objectiveErrorBound.toPrecision(2)}`,
      );
    }
    if (result.chosenStep === 0) {
      output.warn(`step 0 is kept: no step scored better than the target itself, which is what is written, unchanged; --stop-rule last takes the last step`);
    }
    remarkBetterNaive(context, result, naive, tokens);
    output.text(stepsTable(context, result));
    output.text(summaryLines(result, naive, tested, tokens ? core : undefined, values.out, values.record));
    output.hash('weights', result.record.sha256);
    return exitCodes.ok;
  },
});

/** Of the target before, of the plain shift and of the result. */
interface Three<T> {
  readonly target: T;
  readonly naive: T;
  readonly transferred: T;
}

function each<T, U>({ target, naive, transferred }: Three<T>, take: (item: T) => U): Three<U> {
  return { target: take(target), naive: take(naive), transferred: take(transferred) };
}

async function testEvaluations(
  { compute, signal }: Context,
  result: TransferResult,
  naive: TransferResult,
  target: NetworkState,
  data: DataSet,
): Promise<Three<Evaluation>> {
  const handle = await compute();
  const of = (state: NetworkState): Promise<Evaluation> => evaluate({ graph: result.graph, state, data, compute: handle, signal });
  return { target: await of(target), naive: await of(naive.state), transferred: await of(result.state) };
}

/** Group id → permutation as a plain array: permuted[i] = original[perm[i]]. */
function permutationsOf(result: TransferResult): Record<string, readonly number[]> {
  return Object.fromEntries([...result.permutations].map(([group, permutation]) => [group, [...permutation]]));
}

function computesGradients(method: TransferMethod): boolean {
  return method === 'fgmt' || method === 'gmt';
}

/** What of the trajectory is asked for, and by which choices. @throws what `transfer` would, once it has data. */
function requirePart(path: string, bundle: TrajectoryBundle, { method, from, to }: Pick<TransferOptions, 'method'> & { from: string | undefined; to: string | undefined }, choices: TransferChoices): void {
  const last = bundle.checkpoints.length - 1;
  if (last < 1) throw new FileError(path, 'holds one checkpoint, and a transfer carries over what changed from one to another');
  const [first, end] = [from === undefined ? 0 : checkpointNumber(bundle, 'from', from), to === undefined ? last : checkpointNumber(bundle, 'to', to)];
  if (end > first) plan({ ...choices, graph: bundle.graph, method, checkpoints: end - first + 1 });
}

/** A plain shift that does better costs no gradients: whoever ports should know. */
function remarkBetterNaive({ output }: Context, result: TransferResult, naive: TransferResult, tokens: boolean): void {
  const [ours, plain] = [result, naive].map(({ steps, chosenStep }) => steps[chosenStep]?.heldOut);
  if (result.method === 'naive' || ours === undefined || plain === undefined || !outscores(plain, ours, tokens ? 'loss' : 'accuracy')) return;
  const scores = ({ accuracy, loss }: Evaluation): string => `${formatPercent(accuracy, 2)} % right and a loss of ${loss.toFixed(4)}`;
  output.warn(
    `the plain shift (Naive, ${keptStep(naive)}) does better than ${methodLabels[result.method]} on what is held out: ${scores(plain)}, not ${scores(ours)}; --method naive takes it`,
  );
}

function keptStep({ chosenStep, steps }: TransferResult): string {
  return chosenStep === 0 ? 'step 0: the target as it was' : `step ${chosenStep} of ${steps.length - 1}`;
}

function stepsTable({ output }: Context, result: TransferResult): string {
  return formatTable(
    [
      { title: 'step', align: 'right' }, { title: 'along', align: 'right' }, { title: 'objective', align: 'right' },
      { title: 'sweeps', align: 'right' }, { title: 'held-out loss', align: 'right' }, { title: 'held-out accuracy, %', align: 'right' }, { title: '' },
    ],
    result.steps.map(({ step, fraction, objective, sweeps, heldOut }) => [
      String(step), fraction.toFixed(3), objective === undefined ? '' : objective.toPrecision(5), sweeps === undefined ? '' : String(sweeps),
      heldOut?.loss.toFixed(4) ?? '', heldOut === undefined ? '' : formatPercent(heldOut.accuracy, 2), step === result.chosenStep ? '← kept' : '',
    ]),
    { style: (cell, row) => (result.steps[row]?.step === result.chosenStep ? output.style('bold', cell) : cell) },
  );
}

/** @param core where perplexities are to be shown. */
function summaryLines(result: TransferResult, naive: TransferResult, test: Three<Evaluation> | undefined, core: Core | undefined, out: string | undefined, record: string | undefined): string {
  const { timings, counts } = result;
  const lines = [
    `${formatCount(counts.gradients, 'gradient')}, ${formatCount(counts.assignments, 'assignment')} in ${formatDuration(timings.totalMs)}: ` +
      `gradients ${formatDuration(timings.gradientsMs)}, similarity ${formatDuration(timings.similarityMs)}, ` +
      `assignment ${formatDuration(timings.assignmentMs)}, evaluation ${formatDuration(timings.evaluationMs)}, the rest ${formatDuration(timings.otherMs)}`,
  ];
  // Naive keeps a step of its own: shown without it, a plain shift that helps nowhere reads as one that changes nothing.
  const compared = ({ target, naive: plain, transferred }: Three<string>): string =>
    `target before ${target}, plain shift (Naive, ${keptStep(naive)}) ${plain}${result.method === 'naive' ? '' : `, ${methodLabels[result.method]} (${keptStep(result)}) ${transferred}`}`;
  if (test !== undefined) {
    lines.push(`test accuracy: ${compared(each(test, ({ accuracy }) => `${formatPercent(accuracy, 2)} %`))}`);
    if (core !== undefined) lines.push(`test loss (perplexity): ${compared(each(test, (scores) => `${scores.loss.toFixed(4)} (${perplexity(core, scores.loss).toFixed(2)})`))}`);
  }
  if (out !== undefined) lines.push(`wrote ${out}`);
  if (record !== undefined) lines.push(`wrote ${record}`);
  return lines.join('\n');
}

/** The choices that were made. A type over every choice: a new one cannot be forgotten by who lists them. */
function given<T>(choices: { readonly [K in keyof Required<T>]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(choices).filter(([, value]) => value !== undefined)) as T;
}
