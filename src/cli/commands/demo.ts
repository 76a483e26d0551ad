/** `trajport demo`: the case that pays, on data that needs no download, or on the user's own two tasks. */
import { basename, join } from 'node:path';
import { stateToSafetensors } from '../../bundle/network-state.ts';
import { writeBundleTo } from '../../bundle/writer.ts';
import { InvalidArgumentError } from '../../core/errors.ts';
import { defaultPortSettings, portFineTune } from '../../experiments/port-fine-tune.ts';
import type { PortOutcome, PortSettings } from '../../experiments/port-fine-tune.ts';
import { transferMethods } from '../../index.ts';
import type { TransferMethod } from '../../index.ts';
import { parameterLayout } from '../../model/graph.ts';
import type { ModelGraph } from '../../model/graph.ts';
import { findHead } from '../../model/head.ts';
import { derivePermutationSpec } from '../../model/permutation-spec.ts';
import { requireZeroHead } from '../../transfer/settings.ts';
import { transferFigure } from '../../report/figure.ts';
import { indentedJson } from '../../report/json.ts';
import type { ValuesOf } from '../arguments.ts';
import { defineCommand } from '../command.ts';
import type { Context, GlobalValues } from '../command.ts';
import { dataFiles } from '../data.node.ts';
import { closingLines, figureOf, pairsText, plainOutcome, plainRow, resultTable, summaryOf, unportedLines } from '../demo-report.ts';
import { loadTasks, taskFiles } from '../demo-tasks.ts';
import type { DemoTasks } from '../demo-tasks.ts';
import { type ExitCode, UsageError, exitCodes } from '../exit.ts';
import { streamAtomically, writeAtomically } from '../write-files.node.ts';
import { graphOf, modelOptions } from '../networks.ts';
import type { Output } from '../output.ts';
import { graphSummary } from '../summaries.ts';
import { transferOptions } from '../transfer-options.ts';

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
    ...transferOptions['batches-per-step'],
    default: defaultPortSettings.batchesPerStep,
    help: 'mini-batches averaged for one gradient',
  },
  'kept-heads': {
    kind: 'flag',
    help:
      'ports begin with the last layers of the bases, which answer task A; without it, and where a network has one, with zeros ' +
      '(transfer --zero-head)',
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
    'v1 and v2 are trained on task A from different seeds; v1 is fine-tuned on task B and its change is ported to v2. Naive adds the ' +
    'change as it is; FGMT and GMT first find out which hidden unit of v1 is which of v2, by matching gradients; Oracle matches ' +
    'against a v2 that was truly fine-tuned; From scratch is v2 fine-tuned on B without any port.',
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

/** What is compared, and how. */
interface Comparison extends DemoTasks {
  readonly graph: ModelGraph;
  readonly settings: PortSettings;
}

/** Everything but the choice of names; `files` are locked. */
async function compareAndWrite(
  context: Context,
  values: Values & GlobalValues,
  iterations: readonly number[],
  files: DemoFiles,
): Promise<ExitCode> {
  const { output, signal } = context;
  const tasks = await loadTasks(context, values);
  const graph = await graphOf(values, tasks.before.train, 'mlp');
  if (graph === undefined) throw new UsageError('give --model NAME or --graph FILE');
  const comparison = { ...tasks, graph, settings: settingsOf(values, graph, iterations) };
  output.text(openingLines(output, values, comparison));

  const startedAt = performance.now();
  const outcomes = await portPairs(context, values, comparison);
  const elapsedMs = performance.now() - startedAt;
  signal.throwIfAborted();

  const written = [
    ...(await writeFirstPair(files, graph, outcomes[0] as PortOutcome, signal)),
    ...writeComparison(files, values, comparison, outcomes, elapsedMs),
  ];
  output.text(resultTable(output, outcomes, iterations));
  for (const line of unportedLines(outcomes)) output.text(output.style('yellow', line));
  output.text(closingLines(outcomes, elapsedMs));
  output.text(output.style('faint', `wrote ${written.join(', ')}`));
  output.record({ event: 'result', command: 'demo', pairs: values.pairs, elapsedMs, written, methods: summaryOf(outcomes, iterations) });
  return exitCodes.ok;
}

/** @throws UsageError for steps that are too few behind zeros. */
function settingsOf(values: Values, graph: ModelGraph, iterations: readonly number[]): PortSettings {
  const settings = {
    ...defaultPortSettings,
    baseEpochs: values['base-epochs'],
    fineTuneEpochs: values['fine-tune-epochs'],
    learningRate: values['learning-rate'],
    steps: values.steps,
    batchesPerStep: values['batches-per-step'],
    zeroHead: !values['kept-heads'] && findHead(graph) !== undefined,
    iterations,
  };
  if (!settings.zeroHead) return settings;
  // Else the first port says so, once all networks of a pair are trained.
  try {
    requireZeroHead(graph, { method: 'gmt', steps: settings.steps }, derivePermutationSpec(graph), () => false);
  } catch (error) {
    // Of a network with a head only steps can be wrong; the library names an option that demo does not have.
    if (!(error instanceof InvalidArgumentError) || error.field !== 'steps') throw error;
    throw new UsageError(
      '--steps must be at least 2 without --kept-heads: behind last layers of zeros nothing has a gradient at the first point',
    );
  }
  return settings;
}

function openingLines(output: Output, { pairs, seed }: Values & GlobalValues, { graph, settings, summaries }: Comparison): string {
  const zeroed = '  Last layers of the bases, which answer task A, are zeros before each port (--kept-heads keeps them).\n';
  return (
    `${output.style('bold', 'Base v1 was fine-tuned from task A to task B. Its fine-tune is ported to base v2.')}\n` +
    `${settings.zeroHead ? zeroed : ''}` +
    `  network  ${graphSummary(graph)}\n  task A   ${summaries.before}\n  task B   ${summaries.after}\n` +
    `  pairs    ${pairs}, seeds ${seed}${pairs > 1 ? ` to ${seed + pairs - 1}` : ''}\n`
  );
}

/** The ports of each pair of networks, one pair after the other. */
async function portPairs(
  { output, signal, compute }: Context, values: Values & GlobalValues, { graph, before, after, settings }: Comparison,
): Promise<readonly PortOutcome[]> {
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
      onRow: (row) => output.record({ event: 'method', seed, ...plainRow(row, settings.iterations) }),
    });
    outcomes.push(outcome);
  }
  return outcomes;
}

/** The fine-tune, the target and the ported weights of the first pair. @returns the files, in their order. */
async function writeFirstPair(
  files: DemoFiles, graph: ModelGraph, { source, target, rows }: PortOutcome, signal: AbortSignal,
): Promise<readonly string[]> {
  const content = { graph, checkpoints: source.checkpoints, training: source.record };
  await streamAtomically(files.bundle, (sink) => writeBundleTo(sink, content, { signal }));
  const layout = parameterLayout(graph);
  writeAtomically(files.target, stateToSafetensors(layout, target));
  const ported = rows.flatMap(({ method, result }) => (result === undefined || method === 'scratch' ? [] : [{ method, result }]));
  for (const { method, result } of ported) writeAtomically(files.ported[method], stateToSafetensors(layout, result.state));
  return [files.bundle, files.target, ...ported.map(({ method }) => files.ported[method])];
}

/** The record and the figure of all pairs. @returns the files. */
function writeComparison(
  files: DemoFiles, values: Values & GlobalValues, { names, graph, settings }: Comparison, outcomes: readonly PortOutcome[],
  elapsedMs: number,
): readonly string[] {
  const { iterations } = settings;
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
  const subtitle = `${graphSummary(graph)} · ${names.before} → ${names.after} · ${pairsText(values.pairs)}`;
  writeAtomically(files.figure, transferFigure(figureOf(outcomes, iterations, subtitle, basename(files.record))));
  return [files.record, files.figure];
}
