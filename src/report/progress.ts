/** One line that says how far a job is; who writes it where, and how often, is the caller's business. */
import { formatDuration, truncate } from './text.ts';

export interface ProgressRecord {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** Time since the stage began; gives the estimate of what is left. */
  readonly elapsedMs: number;
  readonly detail: Readonly<Record<string, number | string>>;
}

const BAR_CELLS = 20;
/** Eighths of a cell, so that the bar moves smoothly. */
const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** The line, at most `columns` cells wide, without a line end. */
export function formatProgress(record: ProgressRecord, columns: number): string {
  const { label, done, total, elapsedMs, detail } = record;
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 0;
  const filled = Math.floor(share * BAR_CELLS * 8);
  const blocks = '█'.repeat(Math.floor(filled / 8)) + eighths[filled % 8];
  const bar = blocks.padEnd(BAR_CELLS, '·');
  const left = done > 0 && done < total ? ` · ${formatDuration((elapsedMs / done) * (total - done))} left` : '';
  const facts = Object.entries(detail)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? shortNumber(value) : value}`)
    .join(' · ');
  return truncate(`${label}  ${bar} ${done}/${total}${facts === '' ? '' : ` · ${facts}`}${left}`, columns);
}

function shortNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
