/** What `transfer` shows of what it did: a line a step, what was kept, and what a reader should know besides. */
import type { Core } from '../core/core.ts';
import { methodLabels } from '../experiments/port-fine-tune.ts';
import type { Evaluation, TransferResult, TransferStep } from '../index.ts';
import { formatBytes, formatCount, formatDuration, formatPercent, printable } from '../report/text.ts';
import { outscores } from '../transfer/stop-rule.ts';
import type { Output } from './output.ts';
import { perplexity, scoreFields } from './scores.ts';
import { leftOutSummary } from './summaries.ts';

/** A thing of the target before, the same of the plain shift, and of the result. */
export interface Three<T> {
  readonly target: T;
  readonly naive: T;
  readonly transferred: T;
}

function each<T, U>({ target, naive, transferred }: Three<T>, take: (item: T) => U): Three<U> {
  return { target: take(target), naive: take(naive), transferred: take(transferred) };
}

/** What is written instead of the network's own file, where --like says as which other. */
export interface WrittenAs {
  /** The file of --like, and what it has besides the network. */
  readonly path: string;
  readonly leftOut: readonly string[];
  /** It is a LoRA adapter, and so is what is written. */
  readonly isAdapter: boolean;
  readonly files: readonly { readonly path: string; readonly name: string; readonly bytes: number; readonly sha256: string }[];
}

/** A transfer, and the plain shift beside it. */
export interface Ported {
  readonly result: TransferResult;
  readonly naive: TransferResult;
  /** Scores of the source's last checkpoint, on some of its task. */
  readonly source: Evaluation;
  /** Scores on test images, where there are some. */
  readonly test: Three<Evaluation> | undefined;
  /** Wall time that these scores took, in ms. */
  readonly testMs: number;
  /** The data are windows of tokens instead of images. */
  readonly tokens: boolean;
  /** Whether e to the loss is a perplexity, which is shown too. */
  readonly perplexed: boolean;
  /** `--history-budget` */
  readonly budgetBytes: number;
  readonly files: { readonly out: string | undefined; readonly record: string | undefined };
  readonly like: WrittenAs | undefined;
}

/** What `--record` holds: the result's record, and how the steps and the test went. */
export function recordOf({ result, naive, test, like }: Ported): object {
  return {
    ...result.record,
    steps: result.steps,
    counts: result.counts,
    permutations: permutationsOf(result),
    naiveStep: naive.chosenStep,
    test: test === undefined ? null : each(test, ({ accuracy }) => accuracy),
    testLoss: test === undefined ? null : each(test, ({ loss }) => loss),
    ...(like === undefined ? {} : { files: like.files.map(({ name, sha256 }) => ({ name, sha256 })) }),
  };
}

export function reportTransfer(output: Output, core: Core, ported: Ported): void {
  const { result, naive, tokens, budgetBytes } = ported;
  emitResult(output, core, ported);
  const { codedHistory } = result.record;
  if (codedHistory !== undefined) {
    output.warn(
      `gradients did not fit --history-budget ${formatBytes(budgetBytes)}: from step ${codedHistory.fromStep} on they were kept as ` +
      `8-bit codes; ` +
        `no objective is off by more than ${codedHistory.objectiveErrorBound.toPrecision(2)}`,
    );
  }
  if (result.chosenStep === 0) {
    output.warn(
      'step 0 is kept: no step scored better than the target itself, which is what is written, ' +
        `${result.record.settings['zeroHead'] === true ? 'with zeros as last layer' : 'unchanged'}; --stop-rule last takes the last step`,
    );
  }
  remarkBetterNaive(output, result, naive, tokens);
  output.text(stepsTable(output, result));
  output.text(summaryLines(core, ported));
  output.hash('weights', result.record.sha256);
  for (const { path, sha256 } of ported.like?.files ?? []) output.hash(printable(path), sha256);
}

export function emitStep(output: Output, core: Core, step: TransferStep, perplexed: boolean): void {
  output.record({ event: 'step', ...step, ...(step.heldOut === undefined ? {} : { heldOut: scoreFields(core, step.heldOut, perplexed) }) });
}

function emitResult(output: Output, core: Core, { result, naive, source, test, perplexed, files, like }: Ported): void {
  const { codedHistory } = result.record;
  output.record({
    event: 'result',
    command: 'transfer',
    method: result.method,
    chosenStep: result.chosenStep,
    sha256: result.record.sha256,
    counts: result.counts,
    timings: result.timings,
    ...(codedHistory === undefined ? {} : { codedHistory }),
    sourceAccuracy: source.accuracy,
    sourceLoss: source.loss,
    test: test === undefined ? null : each(test, ({ accuracy }) => accuracy),
    testLoss: test === undefined ? null : each(test, ({ loss }) => loss),
    ...(perplexed && test !== undefined ? { testPerplexity: each(test, ({ loss }) => perplexity(core, loss)) } : {}),
    naiveStep: naive.chosenStep,
    naiveHeldOut: naive.steps[naive.chosenStep]?.heldOut?.accuracy ?? null,
    out: files.out ?? null,
    ...(like === undefined
      ? {}
      : { like: like.path, leftOut: like.leftOut, files: like.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })) }),
    recordFile: files.record ?? null,
  });
}

/** Group id → permutation as a plain array: permuted[i] = original[perm[i]]. */
function permutationsOf(result: TransferResult): Record<string, readonly number[]> {
  return Object.fromEntries([...result.permutations].map(([group, permutation]) => [group, [...permutation]]));
}

/** A plain shift that does better costs no gradients: whoever ports should know. */
function remarkBetterNaive(output: Output, result: TransferResult, naive: TransferResult, tokens: boolean): void {
  const [ours, plain] = [result, naive].map(({ steps, chosenStep }) => steps[chosenStep]?.heldOut);
  if (result.method === 'naive' || ours === undefined || plain === undefined || !outscores(plain, ours, tokens ? 'loss' : 'accuracy'))
    return;
  const scores = ({ accuracy, loss }: Evaluation): string => `${formatPercent(accuracy, 2)} % right and a loss of ${loss.toFixed(4)}`;
  output.warn(
    `the plain shift (Naive, ${keptStep(naive)}) does better than ${methodLabels[result.method]} on what is held out: ${scores(plain)}, ` +
      `not ${scores(ours)}; --method naive takes it`,
  );
}

function keptStep({ chosenStep, steps }: TransferResult): string {
  return chosenStep === 0 ? 'step 0: the target as it was' : `step ${chosenStep} of ${steps.length - 1}`;
}

function stepsTable(output: Output, result: TransferResult): string {
  return output.table(
    [
      { title: 'step', align: 'right' },
      { title: 'along', align: 'right' },
      { title: 'objective', align: 'right' },
      { title: 'sweeps', align: 'right' },
      { title: 'held-out loss', align: 'right' },
      { title: 'held-out accuracy, %', align: 'right' },
      { title: '' },
    ],
    result.steps.map(({ step, fraction, objective, sweeps, heldOut }) => [
      String(step),
      fraction.toFixed(3),
      objective === undefined ? '' : objective.toPrecision(5),
      sweeps === undefined ? '' : String(sweeps),
      heldOut?.loss.toFixed(4) ?? '',
      heldOut === undefined ? '' : formatPercent(heldOut.accuracy, 2),
      step === result.chosenStep ? '← kept' : '',
    ]),
    { style: (cell, row) => (result.steps[row]?.step === result.chosenStep ? output.style('bold', cell) : cell) },
  );
}

function summaryLines(core: Core, { result, naive, test, testMs, perplexed, files, like }: Ported): string {
  const { timings, counts } = result;
  const lines = [
    `${formatCount(counts.gradients, 'gradient')}, ${formatCount(counts.assignments, 'assignment')} in ` +
    `${formatDuration(timings.totalMs)}: ` +
      `gradients ${formatDuration(timings.gradientsMs)}, similarity ${formatDuration(timings.similarityMs)}, ` +
      `assignment ${formatDuration(timings.assignmentMs)}, evaluation ${formatDuration(timings.evaluationMs)}, the rest (hashes, ` +
      `batches, shifts) ${formatDuration(timings.otherMs)}`,
  ];
  const besides = [
    ...(result.method === 'naive' ? [] : [`the plain shift ${formatDuration(naive.timings.totalMs)}`]),
    ...(test === undefined ? [] : [`scores on the test part ${formatDuration(testMs)}`]),
  ];
  if (besides.length > 0) lines.push(`besides: ${besides.join(', ')}`);
  // Naive keeps a step of its own: shown without it, a plain shift that helps nowhere reads as one that changes nothing.
  const compared = ({ target, naive: plain, transferred }: Three<string>): string =>
    `target before ${target}, plain shift (Naive, ${keptStep(naive)}) ${plain}` +
    (result.method === 'naive' ? '' : `, ${methodLabels[result.method]} (${keptStep(result)}) ${transferred}`);
  if (test !== undefined) {
    lines.push(`test accuracy: ${compared(each(test, ({ accuracy }) => `${formatPercent(accuracy, 2)} %`))}`);
    const withPerplexity = ({ loss }: Evaluation): string => `${loss.toFixed(4)} (${perplexity(core, loss).toFixed(2)})`;
    if (perplexed) lines.push(`test loss (perplexity): ${compared(each(test, withPerplexity))}`);
  }
  const weights = like === undefined ? [files.out] : like.files.map(({ path }) => path);
  for (const file of [...weights, files.record]) if (file !== undefined) lines.push(`wrote ${printable(file)}`);
  if (like !== undefined) {
    const leftOut = leftOutSummary(like.leftOut);
    const given = printable(like.path);
    lines.push(
      like.isAdapter
        ? `the target with this adapter, which is ${given} re-ordered, is the ported network`
        : `weights are as ${given} has them${leftOut === undefined ? '' : `; ${leftOut}`}`,
    );
  }
  return lines.join('\n');
}
