/**
 * Resume points: what a long job writes now and then so that, killed at any moment, it goes on with the same bytes.
 *
 * One point is a file of its own: 8 bytes of magic, the SHA-256 of everything behind it, then a safetensors file whose
 * metadata holds the job's settings, the hashes of its inputs and binaries, and its progress. A flipped bit is detected
 * by the hash; a point of another job is refused with what differs.
 */
import { InvalidArgumentError, IntegrityError, MalformedFileError, describe } from '../core/errors.ts';
import { sha256Hex } from '../core/sha256.ts';
import { rawToFloat32, readSafetensors, writeSafetensors } from '../bundle/safetensors.ts';
import type { RawTensor } from '../bundle/safetensors.ts';
import type { NamedTensors, NetworkState, Tensor } from '../tensor/tensor.ts';
import type { Json } from './record.ts';

/** Where resume points live. Two generations survive, so that a point torn by a crash leaves the one before it. */
export interface ResumeStore {
  /** Stored points, the newest first; empty where there are none. */
  load(): Promise<readonly Uint8Array[]>;
  /** Stores a point atomically: after a crash `load` sees it whole or not at all. */
  save(point: Uint8Array): Promise<void>;
}

/** What must be the same for a job to go on: everything its result depends on. */
export interface JobIdentity {
  readonly kind: 'train' | 'transfer';
  readonly settings: { readonly [key: string]: Json };
  readonly inputs: { readonly [role: string]: string };
  readonly binaries: { readonly [name: string]: string };
}

/** A point in memory: numbers by name, and small facts as JSON. */
export interface ResumePoint {
  readonly progress: { readonly [key: string]: Json };
  readonly tensors: ReadonlyMap<string, Tensor | Int32Array>;
}

const MAGIC = new TextEncoder().encode('TRJPNT01');
const DIGEST_BYTES = 32;

/** The bytes of a point. Equal points of equal jobs give equal bytes. */
export async function encodeResumePoint(job: JobIdentity, point: ResumePoint): Promise<Uint8Array> {
  const raw = new Map<string, RawTensor>();
  for (const [name, value] of point.tensors) {
    const [dtype, shape, data] =
      value instanceof Int32Array ? (['I32', [value.length], value] as const) : (['F32', value.shape, value.data] as const);
    raw.set(name, { dtype, shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
  }
  const payload = writeSafetensors(
    raw,
    new Map([
      ['job', JSON.stringify(job)],
      ['progress', JSON.stringify(point.progress)],
    ]),
  );
  const bytes = new Uint8Array(MAGIC.length + DIGEST_BYTES + payload.length);
  bytes.set(MAGIC);
  bytes.set(fromHex(await sha256Hex(payload)), MAGIC.length);
  bytes.set(payload, MAGIC.length + DIGEST_BYTES);
  return bytes;
}

/**
 * Reads a point back.
 * @throws MalformedFileError for bytes that are no resume point; IntegrityError for one whose bytes changed;
 *   InvalidArgumentError naming the first setting, input or binary in which the job differs.
 */
export async function decodeResumePoint(job: JobIdentity, bytes: Uint8Array): Promise<ResumePoint> {
  const payloadAt = MAGIC.length + DIGEST_BYTES;
  if (bytes.length < payloadAt || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new MalformedFileError({ field: 'resume', expected: 'a resume point of this version', got: `${bytes.length} other bytes` });
  }
  const payload = bytes.subarray(payloadAt);
  const recorded = toHex(bytes.subarray(MAGIC.length, payloadAt));
  const actual = await sha256Hex(payload);
  if (actual !== recorded) throw new IntegrityError({ field: 'resume', expected: `SHA-256 ${recorded}`, got: actual });
  const { tensors, metadata } = readSafetensors(payload, 'resume');
  requireSameJob(job, JSON.parse(metadata.get('job') ?? 'null') as JobIdentity);
  const numbers = new Map<string, Tensor | Int32Array>();
  for (const [name, { dtype, shape, bytes: data }] of tensors) {
    if (dtype === 'I32') numbers.set(name, new Int32Array(data.slice().buffer));
    else numbers.set(name, { shape, data: rawToFloat32(name, { dtype, shape, bytes: data }) });
  }
  return { progress: JSON.parse(metadata.get('progress') ?? '{}') as ResumePoint['progress'], tensors: numbers };
}

/**
 * The newest point that is whole, or undefined where there are none.
 * @throws IntegrityError where points are stored and none is whole: starting over silently would hide a failing disk.
 *   InvalidArgumentError where the point belongs to another job.
 */
export async function loadResumePoint(store: ResumeStore, job: JobIdentity): Promise<ResumePoint | undefined> {
  const stored = await store.load();
  let damage: unknown;
  for (const bytes of stored) {
    try {
      return await decodeResumePoint(job, bytes);
    } catch (error) {
      if (error instanceof InvalidArgumentError) throw error;
      damage ??= error;
    }
  }
  if (stored.length === 0) return undefined;
  throw new IntegrityError({
    field: 'resume',
    expected: 'at least one whole resume point',
    got: `${stored.length} damaged`,
    cause: damage,
  });
}

function requireSameJob(now: JobIdentity, then: JobIdentity): void {
  const differ = (field: string, expected: unknown, got: unknown): never => {
    throw new InvalidArgumentError({
      field: `resume.${field}`,
      expected: `${text(expected)}, as this job has it`,
      got: `${text(got)} in the resume point`,
    });
  };
  if (now.kind !== then.kind) differ('kind', now.kind, then.kind);
  for (const part of ['settings', 'inputs', 'binaries'] as const) {
    const names = new Set([...Object.keys(now[part]), ...Object.keys(then[part])]);
    for (const name of names) {
      const [a, b] = [now[part][name], then[part][name]];
      if (JSON.stringify(a) !== JSON.stringify(b)) differ(`${part}.${name}`, a, b);
    }
  }
}

function text(value: unknown): string {
  return value === undefined ? 'nothing' : typeof value === 'object' ? describe(JSON.stringify(value)) : describe(value);
}

/** A state's tensors under a prefix, for a point. */
export function stateEntries(prefix: string, state: NetworkState): [string, Tensor][] {
  return (['parameters', 'buffers'] as const).flatMap((part) =>
    [...state[part]].map(([name, tensor]): [string, Tensor] => [`${prefix}/${part}/${name}`, tensor]),
  );
}

/** The state that `stateEntries` put under this prefix. */
export function stateFromEntries(prefix: string, tensors: ResumePoint['tensors']): NetworkState {
  const part = (name: string): NamedTensors => {
    const start = `${prefix}/${name}/`;
    return new Map(
      [...tensors].flatMap(([key, value]): [string, Tensor][] =>
        key.startsWith(start) && !(value instanceof Int32Array) ? [[key.slice(start.length), value]] : [],
      ),
    );
  };
  return { parameters: part('parameters'), buffers: part('buffers') };
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
