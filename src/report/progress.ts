/** One line that says how far a job is; who writes it where, and how often, is the caller's business. */
import { displayWidth, formatDuration, truncate } from './text.ts';

interface ProgressRecord {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** What was done when the stage's clock began: 0, or what a resumed job had behind it. */
  readonly doneBefore: number;
  /** Time since then; gives the estimate of what is left. */
  readonly elapsedMs: number;
  readonly detail: Readonly<Record<string, number | string>>;
}

/** Eighths of a cell, so that the bar moves smoothly. */
const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/**
 * What a line gives up in a narrow terminal, in turn: most of the bar, the details, the whole bar, then the end of its
 * label. Counts and time stay longest.
 */
const forms = [
  { barCells: 20, withDetail: true },
  { barCells: 8, withDetail: true },
  { barCells: 8, withDetail: false },
  { barCells: 0, withDetail: false },
] as const;
const barest = forms[3];
const GAP = '  ';

/** The line, at most `columns` cells wide, without a line end. */
export function formatProgress(record: ProgressRecord, columns: number): string {
  const lines = forms.map((form) => lineOf(record, form));
  const fitting = lines.find((line) => displayWidth(line) <= columns);
  if (fitting !== undefined) return fitting;
  const unlabelled = lineOf({ ...record, label: '' }, barest);
  const label = truncate(record.label, columns - displayWidth(unlabelled) - GAP.length);
  return truncate(label === '' ? unlabelled : `${label}${GAP}${unlabelled}`, columns);
}

/** The line for a log, which keeps what it is given: no bar, and nothing cut. */
export function formatProgressForLog(record: ProgressRecord): string {
  return lineOf(record, { barCells: 0, withDetail: true });
}

function lineOf(
  { label, done, total, doneBefore, elapsedMs, detail }: ProgressRecord,
  { barCells, withDetail }: { readonly barCells: number; readonly withDetail: boolean },
): string {
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 0;
  const filled = Math.floor(share * barCells * 8);
  const bar = ('█'.repeat(Math.floor(filled / 8)) + eighths[filled % 8]).padEnd(barCells, '·');
  const left = done > doneBefore && done < total ? ` · ${formatDuration((elapsedMs / (done - doneBefore)) * (total - done))} left` : '';
  const facts = Object.entries(withDetail ? detail : {}).map(
    ([name, value]) => ` · ${name} ${typeof value === 'number' ? shortNumber(value) : value}`,
  );
  return `${label}${label === '' ? '' : GAP}${bar}${barCells === 0 ? '' : ' '}${done}/${total}${facts.join('')}${left}`;
}

function shortNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
