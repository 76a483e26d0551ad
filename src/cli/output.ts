/**
 * Everything a command says goes through here: text for people on stdout, or with --json one object a line on stdout;
 * warnings and progress on stderr: a line that is redrawn where a person watches, a line now and then in a log.
 */
import { formatProgress, formatProgressForLog } from '../report/progress.ts';
import { formatTable } from '../report/table.ts';
import type { Column, TableOptions } from '../report/table.ts';
import { printable } from '../report/text.ts';

/** The part of a stream that is needed: node:process's in Node, Deno and Bun, an array in tests. */
export interface Sink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface OutputOptions {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly json: boolean;
  readonly quiet: boolean;
  /** Whether the same command gives the same bytes everywhere; where it does not, every result says `identical: false`. */
  readonly identical: boolean;
  /** NO_COLOR and TERM, as in the process's environment. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Milliseconds of any clock; only the progress line looks at it. */
  readonly now: () => number;
}

export type Style = 'bold' | 'faint' | 'red' | 'green' | 'yellow' | 'blue';

const escapes: Readonly<Record<Style, string>> = {
  bold: '\u001b[1m', faint: '\u001b[2m', red: '\u001b[31m', green: '\u001b[32m', yellow: '\u001b[33m', blue: '\u001b[34m',
};

const RESET = '\u001b[0m';
/** Split by these, every second piece is one of them. */
const lineEnds = /(\n)/;
const ownEscapes = new RegExp(`(\\n|${[...Object.values(escapes), RESET].map((escape) => escape.replace('[', '\\[')).join('|')})`);

/** 80 ms: a terminal over ssh keeps up, and the bar still looks alive. */
const PROGRESS_INTERVAL_MS = 80;
/**
 * A log gets a line of each tenth of a stage, but none of what takes seconds; and one of what is slower, so that a job
 * that hangs can be told from it.
 */
const LOG_SHORTEST_MS = 10_000;
const LOG_LONGEST_MS = 30_000;

/** What the library calls a detail, where that is no word. */
const detailNames: Readonly<Record<string, string>> = { heldOut: 'held-out accuracy' };

function inWords(detail: Readonly<Record<string, number | string>>): Readonly<Record<string, number | string>> {
  return Object.fromEntries(Object.entries(detail).map(([name, value]) => [detailNames[name] ?? name, value]));
}

export class Output {
  readonly json: boolean;
  readonly #options: OutputOptions;
  #progressShown = false;
  #progressAt = -Infinity;
  #stage: { readonly label: string; readonly at: number; readonly doneBefore: number } = { label: '', at: 0, doneBefore: 0 };
  #logged: { readonly at: number; readonly tenth: number } | undefined;

  constructor(options: OutputOptions) {
    this.#options = options;
    this.json = options.json;
  }

  /** Cells of a line on stdout; what is written to a file or a pipe has no end of a line. */
  get columns(): number {
    const { stdout } = this.#options;
    return stdout.isTTY === true ? (stdout.columns ?? 80) : Infinity;
  }

  /** A table as wide as stdout allows. */
  table(columns: readonly Column[], rows: readonly (readonly string[])[], options: Omit<TableOptions, 'width'> = {}): string {
    return formatTable(columns, rows, { ...options, width: this.columns });
  }

  /** A hash for people, with a word beside it where others need not get the same one. */
  hash(of: string, sha256: string): void {
    this.text(this.style('faint', `${of} sha256 ${sha256}${this.#options.identical ? '' : ' (relaxed SIMD: may differ elsewhere)'}`));
  }

  /** Text for people; dropped with --json. A line end is added. */
  text(text: string): void {
    if (this.json) return;
    this.clearProgress();
    const safe = this.#safe(this.#options.stdout, text);
    this.#options.stdout.write(safe.endsWith('\n') ? safe : `${safe}\n`);
  }

  /** A record for machines; dropped without --json. */
  record(record: Readonly<Record<string, unknown>>): void {
    if (!this.json) return;
    this.clearProgress();
    const told = this.#options.identical || record['event'] !== 'result' ? record : { ...record, identical: false };
    this.#options.stdout.write(`${JSON.stringify(told)}\n`);
  }

  /** A remark on stderr, in either mode. */
  warn(text: string): void {
    this.clearProgress();
    this.#options.stderr.write(`${this.#styled(this.#options.stderr, 'yellow', 'note:')} ${this.#safe(this.#options.stderr, text)}\n`);
  }

  error(text: string): void {
    this.clearProgress();
    this.#options.stderr.write(`${this.#styled(this.#options.stderr, 'red', 'error:')} ${this.#safe(this.#options.stderr, text)}\n`);
  }

  /** `text` in a style where stdout is a terminal that shows colour, else as it is. */
  style(style: Style, text: string): string {
    return this.#styled(this.#options.stdout, style, text);
  }

  /** Redraws the progress line, or adds to a log. `label` names the stage; a new label starts a new estimate. */
  progress(label: string, done: number, total: number, detail: Readonly<Record<string, number | string>>): void {
    const { stderr, quiet, now } = this.#options;
    if (quiet) return;
    const time = now();
    const begins = label !== this.#stage.label;
    if (begins) this.#stage = { label, at: time, doneBefore: done };
    const record = { label, done, total, doneBefore: this.#stage.doneBefore, elapsedMs: time - this.#stage.at, detail: inWords(detail) };
    if (stderr.isTTY !== true) {
      if (this.#logIsDue(time, total > 0 ? Math.floor((done / total) * 10) : 0))
        stderr.write(`${printable(formatProgressForLog(record))}\n`);
      return;
    }
    if (!begins && time - this.#progressAt < PROGRESS_INTERVAL_MS && done < total) return;
    this.#progressAt = time;
    this.#progressShown = true;
    // One cell less than the terminal has: writing its last column makes some terminals wrap.
    stderr.write(`\r\u001b[2K${printable(formatProgress(record, (stderr.columns ?? 80) - 1))}`);
  }

  #logIsDue(time: number, tenth: number): boolean {
    this.#logged ??= { at: time, tenth };
    const silenceMs = time - this.#logged.at;
    const due = silenceMs >= LOG_LONGEST_MS || (silenceMs >= LOG_SHORTEST_MS && tenth !== this.#logged.tenth);
    if (due) this.#logged = { at: time, tenth };
    return due;
  }

  clearProgress(): void {
    if (!this.#progressShown) return;
    this.#progressShown = false;
    this.#options.stderr.write('\r\u001b[2K');
  }

  #styled(stream: Sink, style: Style, text: string): string {
    return this.#colours(stream) ? `${escapes[style]}${text}${RESET}` : text;
  }

  #colours(stream: Sink): boolean {
    if (stream.isTTY !== true) return false;
    try {
      const { NO_COLOR, TERM } = this.#options.environment;
      return (NO_COLOR === undefined || NO_COLOR === '') && TERM !== 'dumb';
    } catch {
      // Deno without --allow-env throws at the first look: text without colour is as good, an error that cannot be printed is not.
      return false;
    }
  }

  /**
   * Names come out of files: a terminal gets no control characters of theirs. Line ends stay, and styles of our own
   * where there are any.
   */
  #safe(stream: Sink, text: string): string {
    const kept = this.#colours(stream) ? ownEscapes : lineEnds;
    return text.split(kept).map((piece, i) => (i % 2 === 1 ? piece : printable(piece))).join('');
  }
}
