/**
 * Long jobs on the command line: outputs are locked, resume points lie beside the first of them, in two generations, until
 * the job has written what it was to write.
 */
import { normalize } from 'node:path';
import { limits } from '../core/limits.ts';
import { decodeResumePoint } from '../index.ts';
import { TrajportError } from '../core/errors.ts';
import { OtherJobError, RESUME_POINT_HEAD_BYTES, beginsAsResumePoint, differenceText } from '../transfer/resume.ts';
import type { JobDifference } from '../transfer/resume.ts';
import type { ResumeOptions, ResumeStore } from '../index.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import type { OutputFile } from './claims.node.ts';
import { NOTHING_LEFT } from './command.ts';
import type { Context } from './command.ts';
import { FileError } from './exit.ts';
import { files, reason } from './file-system.node.ts';
import { openRandomAccess, readWhole } from './read-files.node.ts';
import { removeAbandonedTemporaries, writeAtomically } from './write-files.node.ts';

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
    for (const path of [this.path, this.previous])
      if (isForeign(path)) throw new FileError(path, 'is no resume point, and would be replaced by one');
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
  /** Runs the job. @throws FileError, with the file's name and the options that differ, for a point that it cannot go on from. */
  run<T>(job: () => Promise<T>): Promise<T>;
  /** Everything is written: the points are no longer needed. */
  finish(): void;
}

/**
 * Claims the outputs and the place of the resume points. `unit`: what they count; `specs`: the command's options, by
 * which differences are called.
 * @throws as `claim`.
 */
export function beginLongJob(
  { output, outputs, claim, whenInterrupted }: Context,
  values: ValuesOf<typeof resumeOptions>,
  unit: 'iterations' | 'steps',
  specs: OptionSpecs,
): LongJob {
  const beside = `${normalize(outputs[0]?.path ?? '')}.resume`;
  const store = new ResumeFile(values['resume-file'] ?? beside, (text) => output.warn(text));
  const points: OutputFile[] = [
    ...(values['resume-file'] === undefined ? [{ by: 'the resume point', path: store.path, unlocked: true } as const] : []),
    { by: 'the resume point before the newest,', path: store.previous, unlocked: true },
  ];
  claim(values.resume === 'off' ? outputs : [...outputs, ...points]);
  removeAbandonedTemporaries(store.path);
  if (values.resume === 'new') {
    store.requireOwn();
    store.remove();
  }
  whenInterrupted(() => {
    const { path: file, done } = store;
    return done === 0
      ? NOTHING_LEFT
      : { text: `${file} holds ${done} ${unit} done; the same command goes on from there`, resume: { file, done } };
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
    run: (job) =>
      job().catch((error: unknown) => {
        throw ofPoint(error, store.path, values, specs);
      }),
    finish: () => {
      if (values.resume !== 'off') store.remove();
    },
  };
}

/** What is wrong with a point, said of its file; any other error as it is. */
function ofPoint(error: unknown, path: string, values: Readonly<Record<string, unknown>>, specs: OptionSpecs): unknown {
  if (!(error instanceof TrajportError) || !/^resume(\.|$)/.test(error.field)) return error;
  const wrong =
    error instanceof OtherJobError
      ? `holds another job's resume point: ${inOptions(error.differences, values, specs)}`
      : `expected ${error.expected}, got ${error.got}`;
  return new FileError(path, `${wrong}\n       --resume new starts over`, error);
}

/** Settings that follow from another of the same value where they are not given: nobody has chosen them. */
const followers: Readonly<Record<string, string>> = {
  'settings.microBatch': 'settings.batchSize',
  'settings.heldOutSeed': 'settings.seed',
};

/** Files by the option that gave them, and what no option is called by. */
const inputNames: Readonly<Record<string, string>> = {
  data: '--data', target: '--target', oracleTarget: '--oracle-target', initial: '--initial', graph: 'network',
  sourceStart: 'start of the trajectory', sourceEnd: 'end of the trajectory', sourceBetween: 'checkpoints between',
};

function inOptions(differences: readonly JobDifference[], values: Readonly<Record<string, unknown>>, specs: OptionSpecs): string {
  const named = new Map(differences.map((one) => [one.name, one]));
  const follows = ({ name, now, stored }: JobDifference): boolean => {
    // The number of iterations follows from the epochs unless it is what was asked for.
    if (name === 'settings.iterations') return values['iterations'] === undefined && named.get('settings.epochs')?.stored !== null;
    if (name === 'settings.data') return named.has('inputs.data');
    // Where no file gave the first weights, seed and network did.
    if (name === 'inputs.initial') return values['initial'] === undefined && (named.has('settings.seed') || named.has('inputs.graph'));
    const leader = named.get(followers[name] ?? '');
    return leader !== undefined && leader.now === now && leader.stored === stored;
  };
  const said = differences.filter((one) => !follows(one)).map(({ name, now, stored }) => {
    const [part, key = ''] = name.split('.', 2);
    if (part === 'inputs') return `another ${key === 'target' && values['target'] === undefined ? key : (inputNames[key] ?? key)}`;
    if (part === 'binaries') return 'another version of trajport';
    if (part === 'kind') return `of ${differenceText(stored)}`;
    return `${optionOf(key, specs) ?? key} ${differenceText(stored)} → ${differenceText(now)}`;
  });
  return [...new Set(said)].join(', ');
}

/** By the library's name for it, or by its own with dashes. */
function optionOf(setting: string, specs: OptionSpecs): string | undefined {
  const dashed = setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const found = Object.entries(specs).find(
    ([option, { field }]) => option === dashed || (field !== undefined && [field].flat().includes(setting)),
  );
  return found && `--${found[0]}`;
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
