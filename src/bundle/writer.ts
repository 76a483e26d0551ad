/**
 * Writes trajectory bundles, one checkpoint at a time: two files' worth of memory, however long the trajectory.
 */
import type { Core } from '../core/core.ts';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError, TrajportError } from '../core/errors.ts';
import { requireChoice, requireInteger, requireMembers } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { sha256Hex } from '../core/sha256.ts';
import type { ModelGraph } from '../model/graph.ts';
import { initialise } from '../model/initialise.ts';
import { type NetworkState, requireFinite } from '../tensor/tensor.ts';
import { type Codec, openCodec } from './codec-instance.ts';
import { type Coding, type ParameterRange, encodeFile } from './coding.ts';
import { type JsonValue, MAXIMUM_DEPTH, isWellFormed, parseJson, printJson } from './json.ts';
import { type CheckpointLayout, checkpointLayout } from './layout.ts';
import { type CheckpointRecord, MANIFEST_ENTRY, type SeedRecord, entryName, printManifest } from './manifest.ts';
import { stateToSafetensors } from './network-state.ts';
import { methods } from './zip-format.ts';
import { type ByteSink, type PackedContent, ZipWriter, memorySink } from './zip-writer.ts';

/** A checkpoint to be written. */
export interface CheckpointContent {
  /** By which it is found again, unique in the bundle; and the epochs of training behind it. */
  readonly label: string;
  readonly epoch?: number;
  readonly state: NetworkState;
  /**
   * How the state was initialised. Given (and given `core`), the checkpoint is stored as this record alone, once the
   * initialiser has been seen to make exactly this state.
   */
  readonly seed?: { readonly seed: number; readonly scheme?: SeedRecord['scheme']; readonly mode?: SeedRecord['mode'] };
}

/** What a bundle is made of. */
export interface BundleContent {
  readonly graph: ModelGraph;
  readonly checkpoints: Iterable<CheckpointContent> | AsyncIterable<CheckpointContent>;
  /** Any record of how the trajectory came about; must be JSON. */
  readonly training?: unknown;
}

/** How checkpoints are coded. */
export interface BundleOptions {
  /**
   * `lossless` (default): XOR with the previous checkpoint, byte planes. `full`: plain safetensors files.
   * `int8`, `int4`: quantised steps, lossy; the manifest states the error of each.
   */
  readonly coding?: 'lossless' | 'full' | 'int8' | 'int4';
  /** Every so many checkpoints one stands alone, which bounds what reading one costs. Default 16 for `lossless`, none else. */
  readonly keyFrameEvery?: number;
  /** Needed to store an initial checkpoint as its seed. */
  readonly core?: Core;
  readonly signal?: AbortSignal;
}

const optionNames: OptionNames<BundleOptions> = { coding: true, keyFrameEvery: true, core: true, signal: true };

/**
 * The bytes of a bundle: the same for the same content and options, in every runtime.
 * @throws InvalidArgumentError for options, labels and records that are none; LimitError, MalformedFileError for a
 *   state that is not the graph's, NotFiniteError. Rejects with the signal's reason when aborted.
 */
export async function writeBundle(content: BundleContent, options: BundleOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  const { sink, bytes } = memorySink();
  await writeBundleTo(sink, content, options);
  return bytes();
}

/** As `writeBundle`, piece by piece into a sink. @returns the length in bytes. @throws as that, and what the sink throws. */
export async function writeBundleTo(sink: ByteSink, content: BundleContent, options: BundleOptions = {}): Promise<number> {
  requireOptions('writeBundle', options, optionNames);
  requireMembers('content', content, ['graph', 'checkpoints'], 'what goes into a bundle, { graph, checkpoints }');
  const layout = checkpointLayout(content.graph);
  if (layout.fileBytes > limits.entryBytes) {
    throw new LimitError({ field: 'graph', expected: `checkpoints of at most ${limits.entryBytes} bytes`, got: `${layout.fileBytes}` });
  }
  const training = jsonOf(content.training);
  const zip = await ZipWriter.open(sink);
  const encoder = new CheckpointEncoder(content.graph, layout, await openCodec(), options);
  const records: CheckpointRecord[] = [];
  const labels = new Set<string>();
  for await (const checkpoint of content.checkpoints) {
    options.signal?.throwIfAborted();
    requireLabel(checkpoint, labels);
    if (records.length >= limits.checkpoints) {
      throw new LimitError({ field: 'checkpoints', expected: `at most ${limits.checkpoints}`, got: 'more' });
    }
    const { record, packed } = await encoder.encode(records.length, checkpoint);
    if (packed !== undefined && record.entry !== null) await zip.addPacked(record.entry, packed);
    records.push(record);
  }
  if (records.length === 0) throw new InvalidArgumentError({ field: 'checkpoints', expected: 'at least one', got: 'none' });
  await zip.addStored(MANIFEST_ENTRY, printManifest({ graph: content.graph, checkpoints: records, training }));
  return zip.finish();
}

/**
 * Through text and back before the first checkpoint is taken: a training must not be lost to its record. One level of
 * nesting is the manifest's own.
 */
function jsonOf(training: unknown): JsonValue {
  if (training === undefined) return null;
  try {
    const text = printJson(JSON.parse(JSON.stringify(training)));
    if (text.length > limits.manifestBytes)
      throw new LimitError({ field: 'training', expected: `at most ${limits.manifestBytes} characters`, got: `${text.length}` });
    const maximumValues = Math.floor(limits.manifestBytes / limits.bytesPerValue);
    return parseJson(text, { field: 'training', maximumDepth: MAXIMUM_DEPTH - 1, maximumValues });
  } catch (cause) {
    if (cause instanceof LimitError) throw cause;
    const [expected, got] =
      cause instanceof TrajportError ? [cause.expected, cause.got] : ['JSON', `${describe(training)} (${String(cause)})`];
    throw new InvalidArgumentError({ field: 'training', expected, got, cause });
  }
}

function requireLabel({ label, epoch }: CheckpointContent, labels: Set<string>): void {
  if (typeof label !== 'string' || label === '' || label.length > limits.nameLength || !isWellFormed(label) || labels.has(label)) {
    throw new InvalidArgumentError({
      field: 'checkpoint.label',
      expected: `a text of at most ${limits.nameLength} characters, without lone surrogates, that no other checkpoint has`,
      got: describe(label),
    });
  }
  if (epoch !== undefined && !(Number.isFinite(epoch) && epoch >= 0)) {
    throw new InvalidArgumentError({ field: `checkpoint ${label} epoch`, expected: 'a number ≥ 0', got: describe(epoch) });
  }
  labels.add(label);
}

class CheckpointEncoder {
  readonly #graph: ModelGraph;
  readonly #layout: CheckpointLayout;
  readonly #codec: Codec;
  readonly #core: Core | undefined;
  readonly #coding: NonNullable<BundleOptions['coding']>;
  readonly #keyFrameEvery: number;
  /** The previous checkpoint: as it was, and as a reader has it. The same bytes unless the coding loses some. */
  #previous: Uint8Array<ArrayBuffer> | undefined;
  #decoded: Uint8Array<ArrayBuffer> | undefined;
  #sinceKeyFrame = 0;

  constructor(graph: ModelGraph, layout: CheckpointLayout, codec: Codec, options: BundleOptions) {
    this.#graph = graph;
    this.#layout = layout;
    this.#codec = codec;
    this.#core = options.core;
    this.#coding = requireChoice('coding', options.coding ?? 'lossless', ['lossless', 'full', 'int8', 'int4']);
    const fallback = this.#coding === 'lossless' ? 16 : limits.checkpoints;
    this.#keyFrameEvery = requireInteger('keyFrameEvery', options.keyFrameEvery ?? fallback, 1, limits.checkpoints);
  }

  async encode(index: number, checkpoint: CheckpointContent): Promise<{ record: CheckpointRecord; packed: PackedContent | undefined }> {
    requireFinite(`checkpoint ${checkpoint.label}`, checkpoint.state.parameters);
    requireFinite(`checkpoint ${checkpoint.label}`, checkpoint.state.buffers);
    const file = stateToSafetensors(this.#layout.state, checkpoint.state);
    const { range } = this.#layout;
    const stepNorm = this.#previous === undefined ? 0 : distance(file, this.#previous, range);
    const seed = this.#seedOf(checkpoint, file);
    const { coding, packed, lost } =
      seed === undefined ? this.#pack(file, stepNorm) : { coding: 'seed' as const, packed: undefined, lost: 0 };
    const decoded = isLossy(coding) ? (this.#decoded as Uint8Array<ArrayBuffer>) : file;
    const record: CheckpointRecord = {
      label: checkpoint.label,
      epoch: checkpoint.epoch ?? null,
      coding,
      entry: entryName(index, coding),
      bytes: decoded.byteLength,
      sha256: await sha256Hex(decoded),
      storedSha256: packed === undefined ? null : await storedSha256(packed),
      stepNorm,
      stepError: stepNorm === 0 ? 0 : lost / stepNorm,
      ...(seed === undefined ? {} : { seed }),
    };
    this.#sinceKeyFrame = isKey(coding) ? 1 : this.#sinceKeyFrame + 1;
    this.#previous = file;
    // Quantising works on `decoded` in place, so it must not be the file itself.
    const quantises = this.#coding === 'int8' || this.#coding === 'int4';
    this.#decoded = decoded === file && quantises ? file.slice() : decoded;
    return { record, packed };
  }

  /** Codes a file; `lost` is the norm of what that changed. */
  #pack(file: Uint8Array<ArrayBuffer>, stepNorm: number): { coding: Exclude<Coding, 'seed'>; packed: PackedContent; lost: number } {
    const { range } = this.#layout;
    const coding = this.#nextCoding();
    const packed = encodeFile(this.#codec, coding, file, this.#decoded, range);
    const lost = isLossy(coding) ? distance(file, this.#decoded as Uint8Array<ArrayBuffer>, range) : 0;
    if (lost === 0 || lost < stepNorm) return { coding, packed, lost };
    // What quantising loses whole (no step behind one with an error, a step too long for f32) stands alone.
    return { coding: 'planes', packed: encodeFile(this.#codec, 'planes', file, undefined, range), lost: 0 };
  }

  #nextCoding(): Exclude<Coding, 'seed'> {
    if (this.#coding === 'full') return 'full';
    if (this.#decoded === undefined || this.#sinceKeyFrame >= this.#keyFrameEvery) return 'planes';
    return this.#coding === 'lossless' ? 'xor' : this.#coding;
  }

  /** The record that makes this very state, or undefined. */
  #seedOf({ seed }: CheckpointContent, file: Uint8Array): SeedRecord | undefined {
    const core = this.#core;
    if (seed === undefined || core === undefined) return undefined;
    const record: SeedRecord = { seed: seed.seed, scheme: seed.scheme ?? 'pytorch', mode: seed.mode ?? 'fan_in' };
    const made = stateToSafetensors(this.#layout.state, initialise(core, this.#graph, record));
    return made.every((byte, i) => byte === file[i]) ? record : undefined;
  }
}

const isLossy = (coding: Coding): boolean => coding === 'int8' || coding === 'int4';
const isKey = (coding: Coding): boolean => coding === 'full' || coding === 'planes' || coding === 'seed';

async function storedSha256({ parts, method }: PackedContent): Promise<string> {
  if (method === methods.stored && parts.length === 1) return sha256Hex(parts[0] as Uint8Array);
  return sha256Hex(new Uint8Array(await new Blob([...parts]).arrayBuffer()));
}

/** Euclidean distance of the parameters of two files, in f64, in the order of the file. */
function distance(a: Uint8Array<ArrayBuffer>, b: Uint8Array<ArrayBuffer>, { begin, end }: ParameterRange): number {
  // Our own files begin on 8-byte boundaries of their buffers and align their data, so views are possible.
  const x = new Float32Array(a.buffer, a.byteOffset + begin, (end - begin) / 4);
  const y = new Float32Array(b.buffer, b.byteOffset + begin, (end - begin) / 4);
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const difference = (x[i] as number) - (y[i] as number);
    sum += difference * difference;
  }
  return Math.sqrt(sum);
}
