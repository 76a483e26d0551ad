/** `trajport demo`: the case that pays, on data that needs no download, or on the user's own two tasks. */
import { basename, join } from 'node:path';
import { stateToSafetensors } from '../../bundle/network-state.ts';
import { writeBundleTo } from '../../bundle/writer.ts';
import { limits } from '../../core/limits.ts';
import { parameterLayout } from '../../model/graph.ts';
import { findHead } from '../../model/head.ts';
import { derivePermutationSpec } from '../../model/permutation-spec.ts';
import { transferMethods } from '../../index.ts';
import type { TransferMethod } from '../../index.ts';
import type { ImageSet } from '../../data/image-set.ts';
import { requireZeroHead } from '../../transfer/settings.ts';
import { defaultPortSettings, methodLabels, portFineTune } from '../../experiments/port-fine-tune.ts';
import type { PortOutcome, PortRow, PortSettings, Task } from '../../experiments/port-fine-tune.ts';
import { transferFigure } from '../../report/figure.ts';
import { indentedJson } from '../../report/json.ts';
import { formatSpread, mean } from '../../report/statistics.ts';
import { formatDuration, formatInteger, formatPercent } from '../../report/text.ts';
import type { ValuesOf } from '../arguments.ts';
import { defineCommand } from '../command.ts';
import type { Context, GlobalValues } from '../command.ts';
import { dataFiles, hasPart, loadImages, requireFolder } from '../data.node.ts';
import { type ExitCode, UsageError, exitCodes } from '../exit.ts';
import { streamAtomically, writeAtomically } from '../files.node.ts';
import { graphOf, modelOptions } from '../networks.ts';
import { dataSummary, graphSummary } from '../summaries.ts';
import { namesTokens } from '../tokens.node.ts';

const options = {
  data: {
    kind: 'string',
    reads: taskFiles,
    metavar: 'DIR',
    help: 'images of task A, or a folder with mnist/ and fashion-mnist/ in it (default: a generated pair of tasks)',
  },
  'data-after': { kind: 'string', reads: dataFiles, metavar: 'DIR', help: 'images of task B' },
  'train-count': {
    kind: 'integer',
    field: 'trainCount',
    metavar: 'N',
    minimum: 1,
    default: 6000,
    help: 'use only the first N training images of each task',
  },
  ...modelOptions,
  pairs: {
    kind: 'integer',
    metavar: 'N',
    minimum: 1,
    maximum: 1000,
    default: 2,
    help: 'pairs of networks, each with seeds of its own, to average over',
  },
  'base-epochs': {
    kind: 'integer',
    metavar: 'N',
    minimum: 1,
    maximum: 1000,
    default: defaultPortSettings.baseEpochs,
    help: 'training of the bases on task A',
  },
  'fine-tune-epochs': {
    kind: 'integer',
    metavar: 'N',
    minimum: 1,
    maximum: 1000,
    default: defaultPortSettings.fineTuneEpochs,
    help: 'fine-tuning on task B',
  },
  'learning-rate': {
    kind: 'number',
    field: 'learningRate',
    metavar: 'X',
    minimum: 0,
    default: defaultPortSettings.learningRate,
    help: 'SGD with momentum 0.9, for all training',
  },
  steps: {
    kind: 'integer',
    field: 'steps',
    metavar: 'T',
    minimum: 1,
    maximum: 1000,
    default: defaultPortSettings.steps,
    help: 'steps of each port',
  },
  'batches-per-step': {
    kind: 'integer',
    field: 'batchesPerStep',
    metavar: 'G',
    minimum: 1,
    maximum: limits.stepBatches,
    default: defaultPortSettings.batchesPerStep,
    help: 'mini-batches averaged for one gradient',
  },
  'kept-heads': {
    kind: 'flag',
    help: 'ports begin with the last layers of the bases, which answer task A; without it, and where a network has one, with zeros (transfer --zero-head)',
  },
  iterations: {
    kind: 'integers',
    field: 'iterations',
    metavar: 'N,N…',
    minimum: 0,
    default: defaultPortSettings.iterations,
    help: 'onward iterations to read the test accuracy after',
  },
  'out-dir': { kind: 'string', metavar: 'DIR', default: 'out', help: 'where weights, bundle, record and figure go' },
} as const;

type Values = ValuesOf<typeof options>;

export const demo = defineCommand({
  name: 'demo',
  summary: 'port a fine-tune from base v1 to base v2 and compare every method, about a minute',
  positionals: [],
  options,
  examples: [
    { say: 'nothing to download: a generated pair of tasks', run: 'trajport demo' },
    { say: 'MNIST, then Fashion-MNIST', run: 'trajport download mnist fashion-mnist --to images && trajport demo --data images' },
    {
      say: 'two folders of your own, and a convolutional net',
      run: 'trajport demo --data old-task --data-after new-task --model small-conv',
    },
  ],
  notes: [
    'v1 and v2 are trained on task A from different seeds; v1 is fine-tuned on task B and its change is ported to v2. Naive adds the change as it is; FGMT and GMT first find out which hidden unit of v1 is which of v2, by matching gradients; Oracle matches against a v2 that was truly fine-tuned; From scratch is v2 fine-tuned on B without any port.',
    'The last layers of the bases answer task A, so ports begin with zeros there, and all of what v1\'s became is carried over.',
    'The step of a port that is kept is chosen on held-out training images. Test accuracy is only reported.',
  ],
  async run(context, values) {
    const iterations = [...new Set([0, ...values.iterations])].toSorted((a, b) => a - b);
    const directory = values['out-dir'];
    const path = (name: string): string => join(directory, name);
    const files = {
      bundle: path('v1-fine-tune.trajectory.zip'),
      target: path('v2.safetensors'),
      record: path('record.json'),
      figure: path('transfer.svg'),
    };
    const ported = Object.fromEntries(transferMethods.map((method) => [method, path(`v2-${method}.safetensors`)])) as Record<
      TransferMethod,
      string
    >;
    context.claim([...Object.values(files), ...Object.values(ported)].map((file) => ({ by: '--out-dir', path: file })));
    return compareAndWrite(context, values, iterations, { ...files, ported });
  },
});

interface DemoFiles extends Readonly<Record<'bundle' | 'target' | 'record' | 'figure', string>> {
  readonly ported: Readonly<Record<TransferMethod, string>>;
}

/** Everything but the choice of names; `files` are locked. */
async function compareAndWrite(
  context: Context,
  values: Values & GlobalValues,
  iterations: readonly number[],
  files: DemoFiles,
): Promise<ExitCode> {
  const { output, signal, compute } = context;
  const { before, after, names, summaries } = await loadTasks(context, values);
  const graph = await graphOf(values, before.train, 'mlp');
  if (graph === undefined) throw new UsageError('give --model NAME or --graph FILE');
  const settings: PortSettings = {
    ...defaultPortSettings,
    baseEpochs: values['base-epochs'],
    fineTuneEpochs: values['fine-tune-epochs'],
    learningRate: values['learning-rate'],
    steps: values.steps,
    batchesPerStep: values['batches-per-step'],
    zeroHead: !values['kept-heads'] && findHead(graph) !== undefined,
    iterations,
  };
  // Else the first port says so, once all networks of a pair are trained.
  if (settings.zeroHead) requireZeroHead(graph, { method: 'gmt', steps: settings.steps }, derivePermutationSpec(graph), () => false);
  output.text(
    `${output.style('bold', 'Base v1 was fine-tuned from task A to task B. Its fine-tune is ported to base v2.')}\n` +
      `${settings.zeroHead ? '  Last layers of the bases, which answer task A, are zeros before each port (--kept-heads keeps them).\n' : ''}` +
      `  network  ${graphSummary(graph)}\n  task A   ${summaries.before}\n  task B   ${summaries.after}\n` +
      `  pairs    ${values.pairs}, seeds ${values.seed}${values.pairs > 1 ? ` to ${values.seed + values.pairs - 1}` : ''}\n`,
  );

  const startedAt = performance.now();
  const outcomes: PortOutcome[] = [];
  for (let pair = 0; pair < values.pairs; pair++) {
    const seed = values.seed + pair;
    const outcome = await portFineTune({
      graph,
      before,
      after,
      seed,
      settings,
      compute: await compute(),
      signal,
      onProgress: (label, { done, total, detail }) =>
        output.progress(values.pairs > 1 ? `pair ${pair + 1}: ${label}` : label, done, total, detail),
      onRow: (row) => output.record({ event: 'method', seed, ...plainRow(row, iterations) }),
    });
    outcomes.push(outcome);
  }
  const elapsedMs = performance.now() - startedAt;
  signal.throwIfAborted();

  const first = outcomes[0] as PortOutcome;
  const written = [files.bundle, files.target];
  const content = { graph, checkpoints: first.source.checkpoints, training: first.source.record };
  await streamAtomically(files.bundle, (sink) => writeBundleTo(sink, content, { signal }));
  const layout = parameterLayout(graph);
  writeAtomically(files.target, stateToSafetensors(layout, first.target));
  for (const { method, result } of first.rows) {
    if (result === undefined || method === 'scratch') continue;
    const file = files.ported[method];
    writeAtomically(file, stateToSafetensors(layout, result.state));
    written.push(file);
  }
  const record = {
    recordVersion: 1,
    ...(values['relaxed-simd'] ? { identical: false } : {}),
    names,
    graph,
    settings,
    pairs: outcomes.map((outcome) => plainOutcome(outcome, iterations)),
    // Apart from the rest, since they are the one thing that differs from run to run.
    elapsedMs,
  };
  writeAtomically(files.record, indentedJson(record));
  writeAtomically(
    files.figure,
    transferFigure(
      figureOf(
        outcomes,
        iterations,
        `${graphSummary(graph)} · ${names.before} → ${names.after} · ${pairsText(values.pairs)}`,
        basename(files.record),
      ),
    ),
  );
  written.push(files.record, files.figure);

  output.text(resultTable(context, outcomes, iterations));
  for (const line of unportedLines(outcomes)) output.text(output.style('yellow', line));
  output.text(closingLines(outcomes, elapsedMs));
  output.text(output.style('faint', `wrote ${written.join(', ')}`));
  output.record({ event: 'result', command: 'demo', pairs: values.pairs, elapsedMs, written, methods: summaryOf(outcomes, iterations) });
  return exitCodes.ok;
}

interface Loaded {
  readonly before: Task;
  readonly after: Task;
  readonly names: { readonly before: string; readonly after: string };
  /** Of each as it is: one network reads both, with as many classes as the one that has more. */
  readonly summaries: { readonly before: string; readonly after: string };
}

async function loadTasks({ compute }: Context, values: Values): Promise<Loaded> {
  const found =
    values.data === undefined
      ? undefined
      : values['data-after'] === undefined
        ? await pairIn(values.data)
        : { before: values.data, after: values['data-after'] };
  if (values.data === undefined && values['data-after'] !== undefined) throw new UsageError('--data-after needs --data for task A');
  for (const name of Object.values(found ?? {}))
    if (namesTokens(name)) throw new UsageError(`${name === found?.before ? '--data' : '--data-after'} of demo takes images, not ${name}`);
  const names = found ?? { before: 'generated:before', after: 'generated:after' };
  // The generated pair is drawn from a seed of its own, so that --seed varies the networks and not the tasks.
  const choices = { seed: 1, trainCount: values['train-count'] };
  const load = async (name: string, classes?: number): Promise<Task> => {
    const chosen = classes === undefined ? choices : { ...choices, classes };
    return { train: await loadImages(name, 'train', chosen, compute), test: await loadImages(name, 'test', chosen, compute) };
  };
  let before = await load(names.before);
  let after = await load(names.after);
  const summaries = { before: dataSummary(before.train), after: dataSummary(after.train) };
  const classes = Math.max(...[before.train, before.test, after.train, after.test].map((set: ImageSet) => set.classes));
  if ([before.train, before.test, after.train, after.test].some((set) => set.classes !== classes)) {
    before = await load(names.before, classes);
    after = await load(names.after, classes);
  }
  const shape = ({ channels, height, width }: ImageSet): string => `${channels}×${height}×${width}`;
  if (shape(before.train) !== shape(after.train)) {
    throw new UsageError(
      `--data-after ${names.after} has images of ${shape(after.train)}, and --data ${names.before} of ${shape(before.train)}: one network is to read both`,
    );
  }
  return { before, after, summaries, names: { before: before.train.name, after: after.train.name } };
}

/** Where a folder of both tasks has each. */
function foldersIn(directory: string): { readonly before: string; readonly after: string } {
  return { before: join(directory, 'mnist'), after: join(directory, 'fashion-mnist') };
}

/** What may be read of a value of --data: one task, or both. */
function taskFiles(value: string): readonly string[] {
  return [value, ...Object.values(foldersIn(value))].flatMap(dataFiles);
}

/** MNIST and Fashion-MNIST under one folder. */
async function pairIn(directory: string): Promise<{ before: string; after: string }> {
  if (directory.startsWith('generated:') || namesTokens(directory))
    throw new UsageError(`--data ${directory} is one task: give the other with --data-after, or neither for the generated pair`);
  requireFolder(directory);
  const pair = foldersIn(directory);
  const there = (name: string): Promise<boolean> => hasPart(name, 'train').catch(() => false);
  if ((await there(pair.before)) && (await there(pair.after))) return pair;
  throw new UsageError(`--data ${directory} has no mnist/ and fashion-mnist/ in it: give task B with --data-after DIR`);
}

function pairsText(pairs: number): string {
  return pairs === 1 ? 'one pair of networks' : `mean of ${pairs} pairs of networks`;
}

/** Everything of a row that is words and numbers. */
function plainRow({ method, accuracies, gradients, milliseconds, chosenStep, result }: PortRow, iterations: readonly number[]) {
  return {
    method,
    test: Object.fromEntries(iterations.map((iteration, i) => [iteration, accuracies[i]])),
    gradients,
    chosenStep,
    milliseconds,
    sha256: result?.record.sha256 ?? null,
  };
}

function plainOutcome({ seed, reference, rows, source }: PortOutcome, iterations: readonly number[]) {
  return {
    seed,
    reference,
    source: source.record,
    methods: rows.map((row) => ({
      ...plainRow(row, iterations),
      steps: row.result?.steps ?? null,
      record: row.result?.record ?? null,
      timings: row.result?.timings ?? null,
    })),
  };
}

/** The rows of one method over all pairs, in the order of the table. */
function byMethod(outcomes: readonly PortOutcome[]): { method: PortRow['method']; rows: readonly PortRow[] }[] {
  const order = ['scratch', ...transferMethods] as const;
  return order.flatMap((method) => {
    const rows = outcomes.flatMap((outcome) => outcome.rows.filter((row) => row.method === method));
    return rows.length === 0 ? [] : [{ method, rows }];
  });
}

function summaryOf(outcomes: readonly PortOutcome[], iterations: readonly number[]) {
  return byMethod(outcomes).map(({ method, rows }) => ({
    method,
    test: Object.fromEntries(iterations.map((iteration, i) => [iteration, mean(rows.map(({ accuracies }) => accuracies[i] as number))])),
    gradients: mean(rows.map(({ gradients }) => gradients)),
    milliseconds: mean(rows.map(({ milliseconds }) => milliseconds)),
  }));
}

function resultTable({ output }: Context, outcomes: readonly PortOutcome[], iterations: readonly number[]): string {
  const groups = byMethod(outcomes);
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  return output.table(
    [
      { title: 'test accuracy, %' },
      ...iterations.map((iteration) => numeric(iteration === 0 ? 'before training' : `after ${iteration}`)),
      numeric('gradients'),
      numeric('time'),
    ],
    groups.map(({ method, rows }) => [
      methodLabels[method],
      ...iterations.map((_, i) => formatSpread(rows.map(({ accuracies }) => accuracies[i] as number))),
      method === 'scratch' ? '–' : formatInteger(Math.round(mean(rows.map(({ gradients }) => gradients)))),
      method === 'scratch' ? '–' : formatDuration(mean(rows.map(({ milliseconds }) => milliseconds))),
    ]),
    { style: (cell, row) => (groups[row]?.method === 'gmt' || groups[row]?.method === 'fgmt' ? output.style('bold', cell) : cell) },
  );
}

/** Ports that came to nothing, a line each. */
function unportedLines(outcomes: readonly PortOutcome[]): string[] {
  return byMethod(outcomes).flatMap(({ method, rows }) => {
    const unported = rows.filter(({ result }) => result?.chosenStep === 0).length;
    return unported === 0
      ? []
      : [
          `  ${methodLabels[method]} kept step 0 in ${unported} of ${rows.length}: v2 as it was, because no step scored better on the held-out images.`,
        ];
  });
}

function closingLines(outcomes: readonly PortOutcome[], elapsedMs: number): string {
  const of = (key: keyof PortOutcome['reference']): string => formatPercent(mean(outcomes.map(({ reference }) => reference[key])));
  return (
    `  On task B itself: v1 truly fine-tuned ${of('v1FineTuned')}, v2 truly fine-tuned ${of('v2FineTuned')}. On task A: bases ${of('v1Base')} and ${of('v2Base')}.\n` +
    `  ${outcomes.length === 1 ? 'One pair of networks' : `Mean ± standard deviation over ${outcomes.length} pairs of networks`}; From scratch: v2 trained on B without a port.\n` +
    `  Gradients and time are those of the port; training onward adds one gradient an iteration. In all ${formatDuration(elapsedMs)}.`
  );
}

/** @param record name of the file beside it that holds the settings */
function figureOf(outcomes: readonly PortOutcome[], iterations: readonly number[], subtitle: string, record: string) {
  return {
    title: 'A fine-tune of base v1, ported to base v2',
    subtitle,
    iterations,
    methods: byMethod(outcomes).map(({ method, rows }) => ({
      method,
      label: methodLabels[method],
      accuracies: rows.map(({ accuracies }) => accuracies),
    })),
    reference: { label: 'v1, truly fine-tuned', accuracy: mean(outcomes.map(({ reference }) => reference.v1FineTuned)) },
    footnote: `Test accuracy, never chosen on. From scratch: v2 trained on the new task without a port.${outcomes.length > 1 ? ' Dots: single pairs.' : ''} Made by: trajport demo, settings in ${record}`,
  };
}
