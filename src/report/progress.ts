/** One line that says how far a job is; who writes it where, and how often, is the caller's business. */
import { displayWidth, formatDuration, truncate } from './text.ts';

interface ProgressRecord {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** Time since the stage began; gives the estimate of what is left. */
  readonly elapsedMs: number;
  readonly detail: Readonly<Record<string, number | string>>;
}

/** Eighths of a cell, so that the bar moves smoothly. */
const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** What a line gives up in a narrow terminal, in turn: most of the bar, the details, the whole bar. Counts and time stay longest. */
const forms = [
  { barCells: 20, withDetail: true },
  { barCells: 8, withDetail: true },
  { barCells: 8, withDetail: false },
  { barCells: 0, withDetail: false },
] as const;

/** The line, at most `columns` cells wide, without a line end. */
export function formatProgress(record: ProgressRecord, columns: number): string {
  const lines = forms.map((form) => lineOf(record, form));
  return lines.find((line) => displayWidth(line) <= columns) ?? truncate(lines.at(-1) as string, columns);
}

function lineOf({ label, done, total, elapsedMs, detail }: ProgressRecord, { barCells, withDetail }: (typeof forms)[number]): string {
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 0;
  const filled = Math.floor(share * barCells * 8);
  const bar = ('█'.repeat(Math.floor(filled / 8)) + eighths[filled % 8]).padEnd(barCells, '·');
  const left = done > 0 && done < total ? ` · ${formatDuration((elapsedMs / done) * (total - done))} left` : '';
  const facts = Object.entries(withDetail ? detail : {}).map(([name, value]) => ` · ${name} ${typeof value === 'number' ? shortNumber(value) : value}`);
  return `${label}  ${bar}${barCells === 0 ? '' : ' '}${done}/${total}${facts.join('')}${left}`;
}

function shortNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
