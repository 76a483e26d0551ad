/**
 * Long jobs on the command line: outputs are locked, resume points lie beside the first of them, in two generations, until
 * the job has written what it was to write.
 */
import { relative, resolve } from 'node:path';
import process from 'node:process';
import { limits } from '../core/limits.ts';
import { decodeResumePoint } from '../index.ts';
import { RESUME_POINT_HEAD_BYTES, beginsAsResumePoint } from '../transfer/resume.ts';
import type { ResumeOptions, ResumeStore } from '../index.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import type { OutputFile } from './claims.node.ts';
import { NOTHING_LEFT } from './command.ts';
import type { Context } from './command.ts';
import { FileError } from './exit.ts';
import { files } from './file-system.node.ts';
import { openRandomAccess, readWhole, reason, removeAbandonedTemporaries, writeAtomically } from './files.node.ts';
import { processExists } from './lock.node.ts';

export const resumeOptions = {
  resume: {
    kind: 'choice', choices: ['auto', 'new', 'off'], default: 'auto',
    help: 'auto: go on from the resume point where there is one; new: start over; off: neither read nor write any',
  },
  'resume-file': {
    kind: 'string', writes: 'any', metavar: 'FILE',
    help: 'where resume points go (default: the first output with .resume behind it)',
  },
} as const satisfies OptionSpecs;

/** Writing points takes at most this share of the time, however large they are. */
const LARGEST_SHARE = 1 / 20;
const FILE_LIMIT_BYTES = 2 * limits.heapBytes;

/** Two generations of one job's points: `path` and `path.previous`. */
export class ResumeFile implements ResumeStore {
  readonly path: string;
  readonly previous: string;
  readonly #warn: (text: string) => void;
  #savedAtMs = -Infinity;
  #saveMs = 0;
  #failures = 0;
  /** Iterations or steps in the newest point; 0 without one. */
  done = 0;

  constructor(path: string, warn: (text: string) => void) {
    this.path = path;
    this.previous = `${path}.previous`;
    this.#warn = warn;
  }

  async load(): Promise<readonly Uint8Array[]> {
    const newest = readIfThere(this.path);
    const older = readIfThere(this.previous);
    if (newest !== undefined && older !== undefined && !(await isWhole(newest)) && (await isWhole(older))) {
      // Otherwise the next point would push the damaged one over the only good one.
      this.#warn(`${this.path} is damaged; going on from the one before it`);
      try {
        files().rename(this.previous, this.path);
      } catch (cause) {
        throw new FileError(this.path, `cannot be replaced (${reason(cause)})`, cause);
      }
      return [older];
    }
    return [newest, older].filter((point) => point !== undefined);
  }

  /** A point that cannot be written costs a warning, not the job: the one before it stays. */
  async save(point: Uint8Array, done: number): Promise<void> {
    const startMs = performance.now();
    try {
      writeAtomically(this.path, point, this.previous);
      this.done = done;
    } catch (error) {
      if (this.#failures++ === 0) this.#warn(`no resume point: ${error instanceof Error ? error.message : String(error)}; the job goes on`);
    }
    this.#savedAtMs = performance.now();
    this.#saveMs = Math.abs(this.#savedAtMs - startMs);
  }

  due(): boolean {
    // A clock that was set back looks like a long time.
    return Math.abs(performance.now() - this.#savedAtMs) * LARGEST_SHARE >= this.#saveMs;
  }

  /** @throws FileError where one of the two files is there and no point: a slip in --resume-file must not cost somebody's file. */
  requireOwn(): void {
    for (const path of [this.path, this.previous]) if (isForeign(path)) throw new FileError(path, 'is no resume point, and would be replaced by one');
  }

  /** What is no point stays: a file of somebody's, or a point of which the disk has lost the beginning. */
  remove(): void {
    this.done = 0;
    for (const path of [this.previous, this.path]) {
      if (isForeign(path)) {
        this.#warn(`${path} is no resume point, and stays`);
        continue;
      }
      try {
        files().unlink(path);
      } catch (cause) {
        if (files().exists(path)) throw new FileError(path, `cannot be removed (${reason(cause)})`, cause);
      }
    }
  }
}

export interface LongJob {
  /** For `train` or `transfer`; undefined with `--resume off`. */
  readonly resume: ResumeOptions | undefined;
  /** Everything is written: the points are no longer needed. */
  finish(): void;
}

/**
 * Claims the outputs and the place of the resume points. `unit`: what they count.
 * @throws as `claim`.
 */
export function beginLongJob(
  { output, outputs, claim, whenInterrupted }: Context, values: ValuesOf<typeof resumeOptions>, unit: 'iterations' | 'steps',
): LongJob {
  const beside = `${relative('', resolve(outputs[0]?.path ?? ''))}.resume`;
  const store = new ResumeFile(values['resume-file'] ?? beside, (text) => output.warn(text));
  const points: OutputFile[] = [
    ...(values['resume-file'] === undefined ? [{ by: 'the resume point', path: store.path, unlocked: true } as const] : []),
    { by: 'the resume point before the newest,', path: store.previous, unlocked: true },
  ];
  claim(values.resume === 'off' ? outputs : [...outputs, ...points]);
  removeAbandonedTemporaries(store.path, (pid) => pid !== process.pid && processExists(pid));
  if (values.resume === 'new') {
    store.requireOwn();
    store.remove();
  }
  whenInterrupted(() => {
    const { path: file, done } = store;
    return done === 0 ? NOTHING_LEFT : { text: `${file} holds ${done} ${unit} done; the same command goes on from there`, resume: { file, done } };
  });
  const resume: ResumeOptions = {
    store,
    onContinue: (done, total) => {
      store.done = done;
      output.text(`continued from ${done} of ${total} ${unit} (${store.path})`);
      output.record({ event: 'continued', done, total, file: store.path });
    },
  };
  return {
    resume: values.resume === 'off' ? undefined : resume,
    finish: () => {
      if (values.resume !== 'off') store.remove();
    },
  };
}

/** Empty files are nobody's, and what a disk leaves of a point at worst. */
function isForeign(path: string): boolean {
  if (!files().exists(path)) return false;
  const file = openRandomAccess(path);
  try {
    return file.byteLength > 0 && !beginsAsResumePoint(file.peek(Math.min(file.byteLength, RESUME_POINT_HEAD_BYTES)));
  } finally {
    file.close();
  }
}

function readIfThere(path: string): Uint8Array | undefined {
  return files().exists(path) ? readWhole(path, FILE_LIMIT_BYTES) : undefined;
}

async function isWhole(point: Uint8Array): Promise<boolean> {
  return decodeResumePoint(point, undefined).then(() => true, () => false);
}
