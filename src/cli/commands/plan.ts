/** `trajport plan`: what a transfer will cost, before running it. */
import { plan, transferMethods } from '../../index.ts';
import type { TransferMethod } from '../../index.ts';
import { formatBytes, formatDuration, formatInteger, formatQuantity, printable } from '../../report/text.ts';
import { thatFile } from '../arguments.ts';
import { defineCommand } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { dataOptions, refuseData } from '../data-options.ts';
import { graphOfShapeOrData, modelOptions, refuseNetwork, shapeOptions } from '../networks.ts';
import { graphSummary } from '../summaries.ts';
import { openBundleFile } from '../weights.node.ts';
import { transferOptions } from '../transfer-options.ts';

const { method, ...choices } = transferOptions;
const options = {
  ...dataOptions,
  ...modelOptions,
  input: shapeOptions.input,
  ...choices,
  method: { kind: 'choice', choices: [...method.choices, 'all'], default: 'all', help: 'one method, or all to compare' },
} as const;

export const planCommand = defineCommand({
  name: 'plan',
  summary: 'what a transfer will cost in gradients, FLOPs, bytes and seconds, without running it',
  positionals: [{ name: 'BUNDLE?', reads: thatFile }],
  options,
  examples: [
    { say: 'for a bundle', run: 'trajport plan fine-tune.zip' },
    { say: 'for a network that does not exist yet', run: 'trajport plan --model mlp --widths 4096 --data mnist --steps 10' },
    { say: 'for large images, without having any', run: 'trajport plan --model resnet18 --input 3,224,224 --classes 1000 --method fgmt' },
    { say: 'on an edge worker', run: 'trajport plan fine-tune.zip --method fgmt --batch-size 32 --json' },
  ],
  notes: [
    'Seconds come from a matrix product timed on this machine, so they say the order of magnitude, not the second.',
    'Bytes are what a transfer takes at most: gradients of units and inputs that are zero are not kept. Exit status 1 says that no method that matches is sure to fit --history-budget even as 8-bit codes.',
  ],
  async run({ output, signal, compute }, values, [path]) {
    let checkpoints = 2;
    let graph;
    if (path !== undefined) {
      refuseNetwork(values);
      refuseData(values);
      using opened = await openBundleFile(path, signal);
      graph = opened.bundle.graph;
      checkpoints = opened.bundle.checkpoints.length;
    } else {
      graph = await graphOfShapeOrData(values, compute);
    }
    if (graph === undefined) throw new UsageError('give a bundle, or --model NAME or --graph FILE');
    output.text(`${graphSummary(graph)}\n`);
    const methods: readonly TransferMethod[] = values.method === 'all' ? transferMethods : [values.method];
    const handle = await compute();
    const plans = methods.map((name) =>
      plan({
        graph, method: name, checkpoints, compute: handle, trajectory: values.trajectory, schedule: values.schedule,
        gmtBatches: values['gmt-batches'], batchesPerStep: values['batches-per-step'], historyBudgetBytes: values['history-budget'],
        normalise: values['normalise-terms'],
        ...(values['batch-size'] === undefined ? {} : { batchSize: values['batch-size'] }),
        ...(values.steps === undefined ? {} : { steps: values.steps }),
        ...(values.freeze === undefined ? {} : { frozenGroups: values.freeze }),
      }),
    );
    for (const item of plans) output.record({ event: 'result', command: 'plan', ...item });
    const numeric = (title: string) => ({ title, align: 'right' }) as const;
    output.text(
      output.table(
        [
          { title: 'method' }, numeric('gradients'), numeric('assignments'), numeric('gradient FLOP'), numeric('similarity FLOP'),
          numeric('history'), numeric('as codes'), ...(values['gmt-batches'] === 'fixed' ? [numeric('kept gradients')] : []), numeric('heap'), numeric('about'),
        ],
        plans.map((item) => [
          item.method, formatInteger(item.gradients), formatInteger(item.assignments), formatQuantity(item.flops.gradients), formatQuantity(item.flops.similarity),
          formatBytes(item.bytes.history), formatBytes(item.bytes.codedHistory), ...(values['gmt-batches'] === 'fixed' ? [formatBytes(item.bytes.keptGradients)] : []), formatBytes(item.bytes.heap),
          item.seconds === undefined || item.seconds === 0 ? '' : formatDuration(item.seconds * 1000),
        ]),
      ),
    );
    output.text(output.style('faint', `  Assignments and similarity are reckoned at ${plans[0]?.sweeps} sweeps a matching; where one group of units is matched, one assignment settles it.`));
    for (const { id, reason } of plans[0]?.heldGroups ?? []) output.text(output.style('faint', `  Held where it is: ${printable(id)} (${reason}).`));
    const budget = values['history-budget'];
    const inexact = plans.filter(({ bytes }) => bytes.history > budget);
    const over = inexact.filter(({ bytes }) => bytes.codedHistory > budget);
    for (const item of inexact) {
      const { history, codedHistory } = item.bytes;
      output.warn(
        over.includes(item)
          ? `${item.method}: even as 8-bit codes gradients may take ${formatBytes(codedHistory)}, over --history-budget ${formatBytes(budget)}`
          : `${item.method}: gradients may take ${formatBytes(history)}, over --history-budget ${formatBytes(budget)}; they would be kept as 8-bit codes, at most ${formatBytes(codedHistory)}`,
      );
    }
    // Naive keeps no history and fits always: it says nothing of the budget where others are asked about too.
    const matching = plans.filter(({ bytes }) => bytes.history > 0);
    return matching.length > 0 && over.length === matching.length ? exitCodes.fellShort : exitCodes.ok;
  },
});
