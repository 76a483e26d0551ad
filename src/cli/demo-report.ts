/** What `demo` shows and records of its ports: rows of every method, over all pairs of networks. */
import { methodLabels } from '../experiments/port-fine-tune.ts';
import type { PortOutcome, PortRow } from '../experiments/port-fine-tune.ts';
import { transferMethods } from '../index.ts';
import { formatSpread, mean } from '../report/statistics.ts';
import { formatDuration, formatInteger, formatPercent } from '../report/text.ts';
import type { Output } from './output.ts';

export function pairsText(pairs: number): string {
  return pairs === 1 ? 'one pair of networks' : `mean of ${pairs} pairs of networks`;
}

/** Everything of a row that is words and numbers. */
export function plainRow({ method, accuracies, gradients, milliseconds, chosenStep, result }: PortRow, iterations: readonly number[]) {
  return {
    method,
    test: Object.fromEntries(iterations.map((iteration, i) => [iteration, accuracies[i]])),
    gradients,
    chosenStep,
    milliseconds,
    sha256: result?.record.sha256 ?? null,
  };
}

export function plainOutcome({ seed, reference, rows, source }: PortOutcome, iterations: readonly number[]) {
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

export function summaryOf(outcomes: readonly PortOutcome[], iterations: readonly number[]) {
  return byMethod(outcomes).map(({ method, rows }) => ({
    method,
    test: Object.fromEntries(iterations.map((iteration, i) => [iteration, mean(rows.map(({ accuracies }) => accuracies[i] as number))])),
    gradients: mean(rows.map(({ gradients }) => gradients)),
    milliseconds: mean(rows.map(({ milliseconds }) => milliseconds)),
  }));
}

export function resultTable(output: Output, outcomes: readonly PortOutcome[], iterations: readonly number[]): string {
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
export function unportedLines(outcomes: readonly PortOutcome[]): string[] {
  return byMethod(outcomes).flatMap(({ method, rows }) => {
    const unported = rows.filter(({ result }) => result?.chosenStep === 0).length;
    return unported === 0
      ? []
      : [
          `  ${methodLabels[method]} kept step 0 in ${unported} of ${rows.length}: v2 as it was, because no step scored better on the ` +
          `held-out images.`,
        ];
  });
}

export function closingLines(outcomes: readonly PortOutcome[], elapsedMs: number): string {
  const of = (key: keyof PortOutcome['reference']): string => formatPercent(mean(outcomes.map(({ reference }) => reference[key])));
  return (
    `  On task B itself: v1 truly fine-tuned ${of('v1FineTuned')}, v2 truly fine-tuned ${of('v2FineTuned')}. On task A: bases ` +
    `${of('v1Base')} and ${of('v2Base')}.\n` +
    `  ${outcomes.length === 1 ? 'One pair of networks' : `Mean ± standard deviation over ${outcomes.length} pairs of networks`}; From ` +
    `scratch: v2 trained on B without a port.\n` +
    `  Gradients and time are those of the port; training onward adds one gradient an iteration. In all ${formatDuration(elapsedMs)}.`
  );
}

/** @param record name of the file beside it that holds the settings */
export function figureOf(outcomes: readonly PortOutcome[], iterations: readonly number[], subtitle: string, record: string) {
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
    footnote:
      `Test accuracy, never chosen on. From scratch: v2 trained on the new task without a ` +
      `port.${outcomes.length > 1 ? ' Dots: single pairs.' : ''} Made by: trajport demo, settings in ${record}`,
  };
}
