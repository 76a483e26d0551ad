/** Puts every file of an index before one runtime: verdict, time and memory of each. Used by the command and its test. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Host, HostFailure, openHost } from '../hosts/launch.ts';
import { root } from '../hosts/root.ts';
import type { Verdict } from './read.ts';

const classes = ['accept', 'reject', 'reject-ambiguous', 'unsupported', 'policy'] as const;
export type Class = (typeof classes)[number];

export interface IndexLine {
  readonly path: string;
  readonly class: Class;
}

export interface Judgement extends IndexLine {
  readonly verdict: Verdict['verdict'] | 'hang';
  readonly error?: string;
  readonly message?: string;
  readonly contents?: string;
  readonly milliseconds: number;
  /** Peak above what the process held before; null where the system does not tell. */
  readonly megabytes: number | null;
  readonly pass: boolean;
}

const MILLISECONDS_ALLOWED = 1000;
const MEGABYTES_ALLOWED = 96;
/** A runtime that is merely slow still answers; one that loops is killed. */
const KILL_AFTER_MS = 5000;

/** `path <tab> class <tab> …`; the first line names the columns. */
export function parseIndex(text: string): IndexLine[] {
  const [, ...lines] = text.split(/\r?\n/).filter((line) => line !== '');
  return lines.map((line, i) => {
    const [path, kind] = line.split('\t');
    if (path === undefined || path === '' || !classes.includes(kind as Class))
      throw new Error(`index line ${i + 2}: expected a path and one of ${classes.join(', ')}, got ${JSON.stringify(line)}`);
    return { path, class: kind as Class };
  });
}

const expectedOf: Readonly<Record<Class, readonly Judgement['verdict'][]>> = {
  accept: ['accepted'],
  reject: ['rejected'],
  'reject-ambiguous': ['rejected'],
  unsupported: ['unsupported'],
  policy: ['accepted', 'rejected'],
};

/** Processes that this one started, with theirs: the runtime under judgement and its helpers. */
function descendants(): number[] {
  const parents = new Map<number, number>();
  try {
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      try {
        // pid (command) state parent …: the command may contain anything, so what follows its last bracket counts.
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
      } catch {
        // It ended meanwhile.
      }
    }
  } catch {
    return [];
  }
  const found = new Set<number>([process.pid]);
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid);
  }
  found.delete(process.pid);
  return [...found];
}

function kilobytes(pid: number, field: 'VmHWM' | 'VmRSS'): number {
  try {
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Forgets the peak of each process (Linux) and tells what it holds now. */
function startMeasuring(): { megabytes(): number | null } {
  const before = new Map<number, number>();
  for (const pid of descendants()) {
    try {
      writeFileSync(`/proc/${pid}/clear_refs`, '5');
      before.set(pid, kilobytes(pid, 'VmRSS'));
    } catch {
      // Not ours to measure.
    }
  }
  return {
    megabytes: () => {
      if (before.size === 0) return null;
      let above = 0;
      for (const [pid, kB] of before) above = Math.max(above, kilobytes(pid, 'VmHWM') - kB);
      return Math.round(above / 102.4) / 10;
    },
  };
}

/** @param onLine called as each verdict falls. */
export async function judge(indexPath: string, host: Host, onLine: (line: Judgement) => void = () => undefined): Promise<Judgement[]> {
  const lines = parseIndex(readFileSync(indexPath, 'utf8'));
  const folder = dirname(resolve(indexPath));
  const results: Judgement[] = [];
  await using session = await openHost(host, join(root, 'test', 'hostile', 'read.ts'));
  // The first call compiles the kernels: a matter of the runtime's start, not of a file.
  const warmUp = async (): Promise<unknown> => session.call({ path: 'warm-up.zip', bytes: new Uint8Array(22) });
  await warmUp();
  for (const { path, class: kind } of lines) {
    const bytes = new Uint8Array(readFileSync(join(folder, path)));
    const measured = startMeasuring();
    const startedAt = performance.now();
    let outcome: Omit<Verdict, 'verdict'> & { verdict: Judgement['verdict'] };
    try {
      outcome = (await session.call({ path, bytes }, { timeoutMs: KILL_AFTER_MS })) as Verdict;
    } catch (error) {
      if (!(error instanceof HostFailure)) throw error;
      outcome = { verdict: error.kind === 'timeout' ? 'hang' : 'crash', error: error.name, message: error.message };
    }
    const milliseconds = Math.round((performance.now() - startedAt) * 10) / 10;
    const megabytes = measured.megabytes();
    const pass =
      expectedOf[kind].includes(outcome.verdict) &&
      milliseconds <= MILLISECONDS_ALLOWED &&
      (megabytes === null || megabytes <= MEGABYTES_ALLOWED);
    const line = { path, class: kind, ...outcome, milliseconds, megabytes, pass };
    results.push(line);
    onLine(line);
    if (outcome.verdict === 'hang' || outcome.verdict === 'crash') await warmUp();
  }
  return results;
}
