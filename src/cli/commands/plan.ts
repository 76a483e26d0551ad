/** `trajport plan`: what a transfer will cost, before running it. */
import { transferMethods } from '../../index.ts';
import type { PlanOptions, TransferMethod, TransferPlan } from '../../index.ts';
import { onlyDefined } from '../../core/only-defined.ts';
import { limits } from '../../core/limits.ts';
import { heldOutCount } from '../../data/split.ts';
import { formatBytes, formatCount, formatDuration, formatInteger, formatPercent, formatQuantity, printable } from '../../report/text.ts';
import { mostFitting, planOn, planWithYardsticks } from '../../transfer/plan.ts';
import { DEFAULT_HISTORY_BUDGET_BYTES } from '../../transfer/settings.ts';
import { measureFlopRate } from '../../transfer/timing.ts';
import { partOf } from '../../transfer/trajectory.ts';
import { thatFile } from '../arguments.ts';
import type { OptionSpecs, ValuesOf } from '../arguments.ts';
import { defineCommand, globalOptionsOf } from '../command.ts';
import type { GlobalValues } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { inputCountOptions } from '../data-options.ts';
import { givenTask, graphOfShapeOrData, modelOptions, refuseNetwork, shapeOptions } from '../networks.ts';
import type { Output } from '../output.ts';
import { microBatchOf, microBatchOptions } from '../parallel.node.ts';
import { plannedInputs } from '../plan-inputs.ts';
import type { PlannedInputs } from '../plan-inputs.ts';
import { graphSummary } from '../summaries.ts';
import { requireTakenByNetwork } from '../taken-options.ts';
import { openBundleFile } from '../weights.node.ts';
import { choicesOf, partOptions, scoringOptions, transferOptions } from '../transfer-options.ts';
import { transferCommand } from './transfer.ts';

// Neither changes what a transfer takes.
const { method, schedule: _schedule, 'normalise-terms': _normalise, ...choices } = transferOptions;
const options = {
  ...inputCountOptions,
  ...modelOptions,
  input: shapeOptions.input,
  ...choices,
  ...partOptions,
  ...scoringOptions,
  ...microBatchOptions,
  method: { kind: 'choice', choices: [...method.choices, 'all'], default: 'all', help: 'one method, or all to compare' },
} as const;

/** Whatever else `transfer` takes: weights, seeds and files change nothing of what it costs. */
const passedOver: OptionSpecs = { ...transferCommand.options, ...globalOptionsOf(transferCommand) };

export const planCommand = defineCommand({
  name: 'plan',
  draws: false,
  summary: 'what a transfer will cost in gradients, FLOPs, bytes and seconds, without running it',
  positionals: [{ name: 'BUNDLE?', reads: thatFile }],
  options,
  passedOver,
  examples: [
    { say: 'for a bundle', run: 'trajport plan fine-tune.zip' },
    { say: 'for a network that does not exist yet', run: 'trajport plan --model mlp --widths 4096 --data images/mnist --steps 10' },
    { say: 'for large images, without having any', run: 'trajport plan --model resnet18 --input 3,224,224 --classes 1000 --method fgmt' },
    {
      say: 'on an edge worker',
      run: 'trajport plan fine-tune.zip --method fgmt --batch-size 32 --heap-limit 32MiB --micro-batch auto --json',
    },
    { say: 'evaluation included, of a bundle that was trained on data of your own', run: 'trajport plan fine-tune.zip --data mydata' },
  ],
  notes: [
    'Seconds come from a matrix product timed on this machine, so they say the order of magnitude, not the second. They are of the ' +
    'whole command: every step scored on the held-out images, those of the plain shift beside it too, and three networks on the test ' +
    'images. Matchings are reckoned at four sweeps; those of ResNets and wide networks may take twice as many. Where the ' +
    'number of images is not known, evaluation is not in them, and a line says so.',
    'It takes every option of transfer, whose command line can stand here as it is. What changes nothing of the cost (--target, ' +
    '--zero-head, --out …) is passed over, unread and unwritten, and a note says so.',
    'Bytes are what a transfer takes at most: gradients of units and inputs that are zero are not kept. Exit status 1 says that no ' +
    'method that matches is sure to fit --heap-limit (without it the 2 GiB that there are at most), or --history-budget even as 8-bit ' +
    'codes.',
  ],
  async run(context, values, [path]) {
    const { output, signal, compute } = context;
    let checkpoints = 2;
    let task;
    let graph;
    if (path !== undefined) {
      refuseNetwork(values);
      using opened = await openBundleFile(path, signal);
      graph = opened.bundle.graph;
      task = { path, graph, training: opened.bundle.training };
      const { first, last } = partOf(opened.bundle, { from: values.from, to: values.to });
      checkpoints = last - first + 1;
    } else {
      const part = (['from', 'to'] as const).find((option) => values[option] !== undefined);
      if (part !== undefined) throw new UsageError(`--${part} goes with a bundle, which has checkpoints`);
      graph = await graphOfShapeOrData(values, compute);
      task = await givenTask(values);
    }
    if (graph === undefined) throw new UsageError('give a bundle, or --model NAME or --graph FILE');
    requireTakenByNetwork(values, graph);
    const inputs = values.input === undefined ? await plannedInputs(context, values, task) : undefined;
    output.text(`${graphSummary(graph)}\n`);
    const methods: readonly TransferMethod[] = values.method === 'all' ? transferMethods : [values.method];
    const common = { ...optionsOf(values, inputs), graph, checkpoints };
    const limit = values['heap-limit'] ?? limits.heapBytes;
    const heap = planHeap(common, values, limit, output);
    const flopsPerSecond = measureFlopRate((await compute()).core);
    const plans = methods.map((name) => planWithYardsticks(
        { ...common, ...heap.chosen, ...onlyDefined({ flopsPerSecond }), method: name },
        inputs?.testImages ?? 0,
        limit,
      ));
    for (const item of plans)
      output.record({ event: 'result', command: 'plan', ...item, images: inputs?.images ?? null, testImages: inputs?.testImages ?? null });
    output.text(plansTable(output, plans, values['gmt-batches'] === 'fixed'));
    const faint = (text: string): void => output.text(output.style('faint', `  ${text}`));
    faint(
      `Assignments and similarity are reckoned at ${lapsText(values.solver, plans[0])} a matching; where one group of units is ` +
      `matched, one assignment settles it.`,
    );
    if (heap.note !== undefined) faint(heap.note);
    for (const line of evaluationLines(plans, inputs)) faint(line);
    for (const { id, reason } of plans[0]?.heldGroups ?? []) faint(`Held where it is: ${printable(id)} (${reason}).`);
    const over = overBudget(output, plans, values['history-budget'] ?? DEFAULT_HISTORY_BUDGET_BYTES);
    // Naive keeps no history, computes no gradients and fits always: it says nothing where others are asked about too.
    const matching = plans.filter(({ bytes }) => bytes.history > 0);
    if (matching.length === 0) return exitCodes.ok;
    if (heap.remark !== undefined) output.warn(heap.remark);
    return heap.remark !== undefined || over.length === matching.length ? exitCodes.fellShort : exitCodes.ok;
  },
});

type Values = ValuesOf<typeof options> & GlobalValues;
type Common = Omit<PlanOptions, 'method'>;

/** The choices of the options; what is held out as the bundle's training did, where its record is of this data. */
function optionsOf(values: Values, inputs: PlannedInputs | undefined): Omit<Common, 'graph'> {
  return {
    ...choicesOf(values), ...onlyDefined({ images: inputs?.images, heldOutFraction: inputs?.heldOutFraction ?? values['held-out'] }),
  };
}

interface PlannedHeap {
  readonly chosen: Partial<PlanOptions>;
  /** What is computed anew to fit. */
  readonly note?: string;
  /** What does not fit. */
  readonly remark?: string;
}

/** The micro-batch that was asked for; and where the heap has no room for it, or for all of its values, what has. */
function planHeap(common: Common, values: Values, limit: number, output: Output): PlannedHeap {
  // The heap is the same of every method: of a gradient, or of one matching.
  const planned = (sizes: Partial<PlanOptions>): TransferPlan => planOn({ ...common, ...sizes, method: 'fgmt' }, limit);
  const wholeBatches = common.graph.nodes.some(({ op }) => op === 'batch_norm');
  const batchSize = planned({}).microBatch;
  const most = mostFitting({ ...common, method: 'fgmt' }, limit);
  const asked = microBatchOf(values, common.graph, batchSize, output, () => most ?? 1);
  const chosen = onlyDefined({ microBatch: asked });
  const { bytes: { heap }, flops: { recomputation, gradients } } = planned(chosen);
  const cap = `${values['heap-limit'] === undefined ? 'the cap of' : '--heap-limit'} ${formatBytes(limit)}`;
  if (recomputation === 0 && heap <= limit) return { chosen };
  const images = asked ?? batchSize;
  if (heap <= limit) {
    const without = wholeBatches || most === undefined || most >= images ? '' : ` --micro-batch ${most} does without.`;
    return {
      chosen,
      note:
        `To fit ${cap}, gradients compute values anew on their way back, ${formatPercent(recomputation / gradients)} % of their FLOP ` +
        `more, for the same bytes.${without}`,
    };
  }
  const over = `${formatBytes(heap)} of heap, over ${cap}`;
  if (most !== undefined && images <= most) return { chosen, remark: `a matching may take ${over}, whatever is computed at once` };
  const ofOne = planned(wholeBatches ? { batchSize: 1 } : { microBatch: 1 }).bytes.heap;
  const one = images === 1 ? 'and there is no smaller one' : `and of one ${formatBytes(ofOne)}`;
  // Parts of a batch have a sum of gradients beside them, as large as the weights: a smaller batch may fit where no part of one does.
  let whole = most === undefined && typeof values['micro-batch'] !== 'number' ? batchSize >> 1 : 0;
  while (whole > 0 && planned({ batchSize: whole, microBatch: whole }).bytes.heap > limit) whole >>= 1;
  const advice =
    most !== undefined ? `${wholeBatches ? '--batch-size' : '--micro-batch'} ${most} fits` : whole > 0 ? `--batch-size ${whole} fits` : one;
  return { chosen, remark: `a gradient of ${formatCount(images, 'input')} at once may take ${over}; ${advice}` };
}

function lapsText(solver: string | undefined, reckoned: TransferPlan | undefined): string {
  const { sweeps = 0, laps = 0 } = reckoned ?? {};
  return laps === sweeps
    ? formatCount(sweeps, 'sweep')
    : `${laps} assignments of each group (${solver}, ${formatCount(sweeps, 'sweep')} a descent)`;
}

function plansTable(output: Output, plans: readonly TransferPlan[], keepsGradients: boolean): string {
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  return output.table(
    [
      { title: 'method' }, numeric('gradients'), numeric('assignments'), numeric('gradient FLOP'), numeric('similarity FLOP'),
      numeric('history'), numeric('as codes'), ...(keepsGradients ? [numeric('kept gradients')] : []), numeric('heap'), numeric('about'),
    ],
    plans.map(({ method: name, gradients, assignments, flops, bytes, seconds }) => [
      name, formatInteger(gradients), formatInteger(assignments), formatQuantity(flops.gradients), formatQuantity(flops.similarity),
      formatBytes(bytes.history), formatBytes(bytes.codedHistory), ...(keepsGradients ? [formatBytes(bytes.keptGradients)] : []),
      formatBytes(bytes.heap),
      seconds === undefined || seconds === 0 ? '' : formatDuration(seconds * 1000),
    ]),
  );
}

/** What evaluation adds, and how to do without. */
function evaluationLines(plans: readonly TransferPlan[], inputs: PlannedInputs | undefined): string[] {
  if (inputs === undefined) {
    return [
      'Evaluation is not in the time, since the number of inputs is not known (--data says it): ' +
        'held-out inputs at every step, test inputs thrice.',
    ];
  }
  const { images, heldOutFraction, testImages } = inputs;
  // The same of every method but naive, beside which no plain shift runs.
  const most = (part: 'evaluation' | 'statistics'): number => Math.max(...plans.map(({ flops }) => flops[part] ?? 0));
  const [evaluation, statistics] = [most('evaluation'), most('statistics')];
  const heldOut = heldOutCount(images, heldOutFraction);
  const scored = heldOut === 0 ? '' : `${formatCount(heldOut, 'held-out input')} at every step (--held-out 0: none)`;
  const tested = testImages === 0 ? '' : `${formatCount(testImages, 'test input')} thrice`;
  return [
    ...(evaluation === 0
      ? []
      : [
        `The time includes ${formatQuantity(evaluation)} FLOP of evaluation: ${[scored, tested].filter((text) => text !== '').join(', ')}.`,
      ]),
    ...(statistics === 0
      ? []
      : [
        `It includes ${formatQuantity(statistics)} FLOP of batch-norm statistics at ` +
        `${heldOut === 0 ? 'the last step' : 'every step'} (--statistics-batches N: fewer).`,
      ]),
  ];
}

/** Says which histories do not fit; those that do not even as codes. */
function overBudget(output: Output, plans: readonly TransferPlan[], budget: number): readonly TransferPlan[] {
  const inexact = plans.filter(({ bytes }) => bytes.history > budget);
  const over = inexact.filter(({ bytes }) => bytes.codedHistory > budget);
  for (const item of inexact) {
    const { history, codedHistory } = item.bytes;
    output.warn(
      over.includes(item)
        ? `${item.method}: even as 8-bit codes gradients may take ${formatBytes(codedHistory)}, over --history-budget ` +
          `${formatBytes(budget)}`
        : `${item.method}: gradients may take ${formatBytes(history)}, over --history-budget ${formatBytes(budget)}; they would be ` +
          `kept as 8-bit codes, at most ${formatBytes(codedHistory)}`,
    );
  }
  return over;
}
