/**
 * Resume points: what a long job writes now and then so that, killed at any moment, it goes on with the same bytes.
 *
 * One point is a file of its own: 8 bytes of magic, the SHA-256 of everything behind it, then a safetensors file whose
 * metadata holds the job's settings, the hashes of its inputs and binaries, and how far it is (docs/resume.md). A flipped
 * bit is detected by the hash; a point of another job is refused with all that differs.
 */
import { describe } from '../core/describe.ts';
import { IntegrityError, InvalidArgumentError, MalformedFileError } from '../core/errors.ts';
import { requireMembers } from '../core/require.ts';
import { binaryHashes } from '../core/binaries.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { sha256Hex } from '../core/sha256.ts';
import { readSafetensors, writeSafetensors } from '../bundle/safetensors.ts';
import type { RawTensor } from '../bundle/safetensors.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import type { JsonValue } from '../bundle/json.ts';

/** Where resume points live. Two generations should survive, so that one spoilt by a failing disk leaves the one before it. */
export interface ResumeStore {
  /** Stored points, the newest first; empty where there are none. */
  load(): Promise<readonly Uint8Array[]>;
  /** Stores a point so that after a crash `load` sees it whole or not at all. What it throws ends the job. */
  save(point: Uint8Array, done: number): Promise<void>;
  /** Removes all points: the job's numbers ceased to be finite, and from any of its points they would again. Without it they stay. */
  remove?(): void | Promise<void>;
  /** Asked at the end of every iteration or step: is it time for a point? Without it there is one at each. */
  due?(): boolean;
}

/** Where a job saves its resume points, and goes on from one that is there. */
export interface ResumeOptions {
  readonly store: ResumeStore;
  /** Called once where a point was found: `done` of `total` iterations or steps need not be done again. */
  readonly onContinue?: (done: number, total: number) => void;
}

const optionNames: OptionNames<ResumeOptions> = { store: true, onContinue: true };

/** Before the work that it is to save. @throws InvalidArgumentError */
export function requireResume(call: string, resume: ResumeOptions | undefined): void {
  if (resume === undefined) return;
  requireOptions(call, resume, optionNames, 'resume');
  requireMembers('resume.store', resume.store, ['load', 'save'], 'a store: an object with load and save');
}

/** Everything that a job's result depends on, and that must be the same for it to go on. */
export interface JobIdentity {
  readonly kind: 'train' | 'transfer';
  readonly settings: { readonly [key: string]: JsonValue };
  /** SHA-256 by role. */
  readonly inputs: { readonly [role: string]: string };
}

/** How far a job is: iterations or steps done, small facts as JSON, and numbers by name. */
export interface ResumePoint {
  readonly done: number;
  readonly facts: unknown;
  readonly arrays: NamedArrays;
}

const MAGIC = new TextEncoder().encode('TRJPNT01');
/** Bytes that `beginsAsResumePoint` looks at. */
export const RESUME_POINT_HEAD_BYTES = MAGIC.length;
const DIGEST_BYTES = 32;
const PAYLOAD_AT = MAGIC.length + DIGEST_BYTES;
const dtypes = [['F32', Float32Array], ['F64', Float64Array], ['I32', Int32Array], ['I8', Int8Array]] as const;

/** Whether a file that begins so may be a point, perhaps a damaged one. */
export function beginsAsResumePoint(head: Uint8Array): boolean {
  return head.length >= MAGIC.length && MAGIC.every((byte, i) => head[i] === byte);
}

/** The bytes of a point. Equal points of equal jobs give equal bytes. */
export async function encodeResumePoint(job: JobIdentity, point: ResumePoint): Promise<Uint8Array> {
  const raw = new Map<string, RawTensor>();
  for (const [name, array] of point.arrays) {
    const dtype = dtypes.find(([, type]) => array instanceof type)?.[0] ?? 'F32';
    raw.set(name, { dtype, shape: [array.length], bytes: new Uint8Array(array.buffer, array.byteOffset, array.byteLength) });
  }
  const payload = writeSafetensors(
    raw,
    new Map([
      ['job', JSON.stringify({ ...job, binaries: binaryHashes })],
      ['done', String(point.done)],
      ['facts', exactJson(point.facts)],
    ]),
  );
  const bytes = new Uint8Array(PAYLOAD_AT + payload.length);
  bytes.set(MAGIC);
  bytes.set(fromHex(await sha256Hex(payload)), MAGIC.length);
  bytes.set(payload, PAYLOAD_AT);
  return bytes;
}

/**
 * Reads a point back.
 * @param job what is to go on; undefined takes a point of any job (to look how far it is).
 * @throws MalformedFileError for bytes that are no resume point; IntegrityError for one whose bytes changed;
 *   InvalidArgumentError naming every setting, input and binary in which the job differs.
 */
export async function decodeResumePoint(bytes: Uint8Array, job: JobIdentity | undefined): Promise<ResumePoint> {
  if (bytes.length < PAYLOAD_AT || !beginsAsResumePoint(bytes)) {
    throw new MalformedFileError({ field: 'resume', expected: 'a resume point of this version', got: `${bytes.length} other bytes` });
  }
  const payload = bytes.subarray(PAYLOAD_AT);
  const recorded = toHex(bytes.subarray(MAGIC.length, PAYLOAD_AT));
  const actual = await sha256Hex(payload);
  if (actual !== recorded) throw new IntegrityError({ field: 'resume', expected: `SHA-256 ${recorded}`, got: actual });
  const { tensors, metadata } = readSafetensors(payload, 'resume');
  if (job !== undefined) requireSameJob({ ...job, binaries: binaryHashes }, parse(metadata, 'job') as typeof job & { binaries: object });
  const done = Number(metadata.get('done') ?? NaN);
  if (!Number.isSafeInteger(done) || done < 1)
    throw new MalformedFileError({ field: 'resume.done', expected: 'an integer ≥ 1', got: describe(metadata.get('done')) });
  const arrays = new Map<string, NumberArray>();
  for (const [name, { dtype, bytes: data }] of tensors) {
    const type = dtypes.find(([known]) => known === dtype)?.[1];
    if (type === undefined) throw new MalformedFileError({ field: `resume.${name}`, expected: 'F32, F64, I32 or I8', got: dtype });
    // A copy (not `slice`, which in Node's Buffer is none): the bytes may begin anywhere.
    arrays.set(name, new type(new Uint8Array(data).buffer));
  }
  return { done, facts: parse(metadata, 'facts'), arrays };
}

/** A job's points: what was found when it began, and where new ones go. */
export class ResumePoints {
  readonly #store: ResumeStore;
  readonly #job: JobIdentity;
  readonly found: ResumePoint | undefined;
  #saved: number;

  private constructor(store: ResumeStore, job: JobIdentity, found: ResumePoint | undefined) {
    this.#store = store;
    this.#job = job;
    this.found = found;
    this.#saved = found?.done ?? 0;
  }

  /**
   * Looks for the newest point that is whole.
   * @throws IntegrityError where points are stored and none is whole: starting over silently would hide a failing disk.
   *   InvalidArgumentError where the newest belongs to another job or lies beyond the end of this one.
   */
  static async open({ store, onContinue }: ResumeOptions, job: JobIdentity, total: number): Promise<ResumePoints> {
    const stored = await store.load();
    let damage: unknown;
    for (const bytes of stored) {
      try {
        const found = await decodeResumePoint(bytes, job);
        if (found.done > total) throw new MalformedFileError({ field: 'resume.done', expected: `at most ${total}`, got: `${found.done}` });
        onContinue?.(found.done, total);
        return new ResumePoints(store, job, found);
      } catch (error) {
        if (error instanceof InvalidArgumentError) throw error;
        damage ??= error;
      }
    }
    if (stored.length > 0) {
      throw new IntegrityError({
        field: 'resume',
        expected: 'at least one whole resume point',
        got: `${stored.length} damaged`,
        cause: damage,
      });
    }
    return new ResumePoints(store, job, undefined);
  }

  /** Saves what `make` returns where the store wants a point now. */
  async offer(done: number, make: () => Omit<ResumePoint, 'done'>): Promise<void> {
    if (this.#store.due?.() ?? true) await this.save(done, make);
  }

  /** The job has failed by its own numbers: nobody is to go on from its points, and another job may take their place. */
  async remove(): Promise<void> {
    await this.#store.remove?.();
  }

  /** Saves what `make` returns unless that point is stored already. */
  async save(done: number, make: () => Omit<ResumePoint, 'done'>): Promise<void> {
    if (done === this.#saved) return;
    await this.#store.save(await encodeResumePoint(this.#job, { done, ...make() }), done);
    this.#saved = done;
  }
}

/** One of the things in which the job at hand and that of a point differ, `settings.steps`. */
export interface JobDifference {
  readonly name: string;
  readonly now: unknown;
  readonly stored: unknown;
}

/** The point is another job's; `differences` for who has names of its own for them. */
export class OtherJobError extends InvalidArgumentError {
  readonly differences: readonly JobDifference[];
  constructor(differences: readonly JobDifference[]) {
    const list = (side: 'now' | 'stored'): string => differences.map((one) => `${one.name} ${differenceText(one[side])}`).join(', ');
    super({
      field: `resume.${differences[0]?.name}`,
      expected: `a resume point of this job (${list('now')})`,
      got: `one of another (${list('stored')})`,
    });
    this.name = 'InvalidArgumentError';
    this.differences = differences;
  }
}

type StoredJob = JobIdentity & { readonly binaries: object };

function requireSameJob(now: StoredJob, stored: StoredJob): void {
  const differences: JobDifference[] = [];
  const compare = (name: string, mine: unknown, other: unknown): void => {
    if (JSON.stringify(mine) !== JSON.stringify(other)) differences.push({ name, now: mine, stored: other });
  };
  compare('kind', now.kind, stored?.kind);
  for (const part of ['settings', 'inputs', 'binaries'] as const) {
    const [a, b] = [(now[part] ?? {}) as Record<string, unknown>, (stored?.[part] ?? {}) as Record<string, unknown>];
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) compare(`${part}.${name}`, a[name], b[name]);
  }
  if (differences.length > 0) throw new OtherJobError(differences);
}

/** A value of a `JobDifference` in a message. */
export function differenceText(value: unknown): string {
  const short = typeof value === 'string' && /^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 8)}…` : value;
  return short === undefined ? 'absent' : typeof short === 'object' ? JSON.stringify(short) : describe(short);
}

/** JSON that keeps every number: −0, NaN and infinities would come back as 0 and null. */
function exactJson(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'number' && (!Number.isFinite(item) || Object.is(item, -0))
      ? { number: Object.is(item, -0) ? '-0' : String(item) }
      : item,
  );
}

function parse(metadata: ReadonlyMap<string, string>, key: string): unknown {
  try {
    return JSON.parse(metadata.get(key) ?? '', (_, item: unknown) =>
      typeof item === 'object' && item !== null && 'number' in item && typeof item.number === 'string' ? Number(item.number) : item,
    );
  } catch (cause) {
    throw new MalformedFileError({ field: `resume.${key}`, expected: 'JSON', got: describe(metadata.get(key)), cause });
  }
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
