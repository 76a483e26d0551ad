/** `trajport plan`: what a transfer will cost, before running it. */
import { plan, transferMethods } from '../../index.ts';
import type { TransferMethod } from '../../index.ts';
import { formatTable } from '../../report/table.ts';
import { formatBytes, formatDuration, formatInteger, formatQuantity } from '../../report/text.ts';
import { defineCommand } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { dataOptions, givenGraph, graphOf, graphSummary, loadData, modelOptions, openBundleFile } from '../shared.ts';
import { transferOptions } from './transfer.ts';

const { method, ...choices } = transferOptions;
const options = {
  ...dataOptions,
  ...modelOptions,
  ...choices,
  method: { kind: 'choice', choices: [...method.choices, 'all'], default: 'all', help: 'one method, or all to compare' },
} as const;

export const planCommand = defineCommand({
  name: 'plan',
  summary: 'what a transfer will cost in gradients, FLOPs, bytes and seconds, without running it',
  positionals: ['BUNDLE?'],
  options,
  examples: [
    { say: 'for a bundle', run: 'trajport plan fine-tune.zip' },
    { say: 'for a network that does not exist yet', run: 'trajport plan --model mlp --widths 4096 --data mnist --steps 10' },
    { say: 'on an edge worker', run: 'trajport plan fine-tune.zip --method fgmt --batch-size 32 --json' },
  ],
  notes: ['Seconds come from a matrix product timed on this machine, so they say the order of magnitude, not the second.'],
  async run({ output, signal, compute }, values, [path]) {
    let checkpoints = 2;
    let graph;
    if (path !== undefined) {
      using opened = await openBundleFile(path, signal);
      graph = opened.bundle.graph;
      checkpoints = opened.bundle.checkpoints.length;
    } else {
      graph = await graphOf(values, await loadData(values, 'test', compute, await givenGraph(values)));
    }
    if (graph === undefined) throw new UsageError('give a bundle, or --model NAME or --graph FILE');
    output.text(`${graphSummary(graph)}\n`);
    const methods: readonly TransferMethod[] = values.method === 'all' ? transferMethods : [values.method];
    const handle = await compute();
    const plans = methods.map((name) =>
      plan({
        graph, method: name, checkpoints, compute: handle, trajectory: values.trajectory, schedule: values.schedule,
        gmtBatches: values['gmt-batches'], batchesPerStep: values['batches-per-step'], batchSize: values['batch-size'], historyBudgetBytes: values['history-budget'],
        normalise: values['normalise-terms'],
        ...(values.steps === undefined ? {} : { steps: values.steps }),
        ...(values.freeze === undefined ? {} : { frozenGroups: values.freeze }),
      }),
    );
    for (const item of plans) output.record({ event: 'result', command: 'plan', ...item });
    const numeric = (title: string) => ({ title, align: 'right' }) as const;
    output.text(
      formatTable(
        [
          { title: 'method' }, numeric('gradients'), numeric('assignments'), numeric('gradient FLOP'), numeric('similarity FLOP'),
          numeric('history'), ...(values['gmt-batches'] === 'fixed' ? [numeric('kept gradients')] : []), numeric('heap'), numeric('about'),
        ],
        plans.map((item) => [
          item.method, formatInteger(item.gradients), formatInteger(item.assignments), formatQuantity(item.flops.gradients), formatQuantity(item.flops.similarity),
          formatBytes(item.bytes.history), ...(values['gmt-batches'] === 'fixed' ? [formatBytes(item.bytes.keptGradients)] : []), formatBytes(item.bytes.heap),
          item.seconds === undefined ? '' : formatDuration(item.seconds * 1000),
        ]),
      ),
    );
    const over = plans.filter((item) => item.bytes.history > values['history-budget']);
    for (const item of over) {
      output.warn(`${item.method} would keep ${formatBytes(item.bytes.history)} of gradients, over --history-budget ${formatBytes(values['history-budget'])}`);
    }
    return over.length > 0 && over.length === plans.length ? exitCodes.fellShort : exitCodes.ok;
  },
});
