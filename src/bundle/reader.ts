/**
 * Opens trajectory bundles by random access: the directory and the manifest first, then each checkpoint's own bytes and
 * those of the checkpoints it builds on, back to the last that stands alone.
 */
import { type Core, openCore } from '../core/core.ts';
import { describe, listed } from '../core/describe.ts';
import { IntegrityError, InvalidArgumentError, LimitError, MalformedFileError, TrajportError } from '../core/errors.ts';
import { requireCap, requireNumber } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { sha256Hex } from '../core/sha256.ts';
import type { ModelGraph } from '../model/graph.ts';
import { initialise } from '../model/initialise.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { type ByteSource, type SourceOptions, openSource, sourceOptionNames } from './byte-source.ts';
import { type Codec, openCodec } from './codec-instance.ts';
import { codedBytes, decodeFile, isDelta } from './coding.ts';
import { type CheckpointLayout, checkpointLayout } from './layout.ts';
import { type CheckpointRecord, MANIFEST_ENTRY, type Manifest, parseManifest } from './manifest.ts';
import { stateFromSafetensors, stateToSafetensors } from './network-state.ts';
import type { ZipEntry } from './zip-directory.ts';
import { centralHeader, endRecords, localHeader } from './zip-format.ts';
import { type ZipReader, openZip } from './zip-reader.ts';

/** How a bundle is read, and what it may unpack to. */
export interface OpenBundleOptions extends SourceOptions {
  /** What errors are to call it, a path for one. Default: none, and the file as a whole `bundle`. */
  readonly name?: string;
  /** For checkpoints stored as their seed; one is opened for the moment where none is given. */
  readonly core?: Core;
  /** What all entries together may expand to; default from `limits.inflateExpansion`. */
  readonly inflatedBytes?: number;
  /** What the manifest may expand to, with one value for each eight bytes of it; default `limits.manifestBytes`. */
  readonly manifestBytes?: number;
}

const optionNames: OptionNames<OpenBundleOptions> = {
  ...sourceOptionNames, name: true, core: true, inflatedBytes: true, manifestBytes: true,
};

/** A checkpoint as the manifest records it, with its place in the bundle. */
export interface BundleCheckpoint extends CheckpointRecord {
  readonly index: number;
  /** Bytes that it takes in the bundle. */
  readonly storedBytes: number;
}

/** Whether every checkpoint has the bytes that its record states. */
export interface BundleVerdict {
  readonly passed: boolean;
  readonly checkpoints: readonly {
    readonly label: string;
    readonly passed: boolean;
    readonly error?: ReturnType<TrajportError['toJSON']>;
  }[];
}

/** A trajectory on disk, in memory or on a server. */
export class TrajectoryBundle implements Disposable {
  readonly manifest: Manifest;
  readonly graph: ModelGraph;
  readonly checkpoints: readonly BundleCheckpoint[];
  readonly #zip: ZipReader;
  readonly #codec: Codec;
  readonly #layout: CheckpointLayout;
  readonly #core: Core | undefined;
  /** Before the field of every error: which file it is about. */
  readonly #called: string;
  /** The last file decoded: reading a trajectory front to back decodes each checkpoint once. */
  #cached: { readonly index: number; readonly file: Uint8Array } | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(
    zip: ZipReader,
    codec: Codec,
    manifest: Manifest,
    layout: CheckpointLayout,
    { core, name }: Pick<OpenBundleOptions, 'core' | 'name'>,
  ) {
    this.#zip = zip;
    this.#codec = codec;
    this.#layout = layout;
    this.#core = core;
    this.#called = calledBy(name);
    this.manifest = manifest;
    this.graph = manifest.graph;
    this.checkpoints = manifest.checkpoints.map((record, index) => ({
      ...record,
      index,
      storedBytes: record.entry === null ? 0 : zip.entry(record.entry).compressedBytes,
    }));
  }

  /** The record of the training, as the writer gave it; null without one. */
  get training(): Manifest['training'] {
    return this.manifest.training;
  }

  /** The checkpoint of that index or label. @throws InvalidArgumentError where there is none. */
  checkpoint(which: number | string): BundleCheckpoint {
    const found = this.checkpoints.find(({ index, label }) => (typeof which === 'number' ? index === which : label === which));
    if (found === undefined) {
      throw new InvalidArgumentError({
        field: 'checkpoint',
        expected:
          typeof which === 'number'
            ? `an index below ${this.checkpoints.length}`
            : `one of ${listed(this.checkpoints.map(({ label }) => label))}`,
        got: describe(which),
      });
    }
    return found;
  }

  /**
   * A checkpoint's numbers.
   * @throws IntegrityError where a hash does not hold, MalformedFileError, NetworkError, InvalidArgumentError.
   */
  async readCheckpoint(which: number | string, signal?: AbortSignal): Promise<NetworkState> {
    const { label } = this.checkpoint(which);
    return this.#inTurn(which, signal, (file) => stateFromSafetensors(this.#layout.state, file, `${this.#called}${label}`));
  }

  /** A checkpoint as the safetensors file that the manifest's hash is of. The bytes are the caller's. */
  async readCheckpointFile(which: number | string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return this.#inTurn(which, signal, (file) => new Uint8Array(file));
  }

  /** One after another: each builds on what the last left behind, so `take` must copy what it keeps. */
  #inTurn<T>(which: number | string, signal: AbortSignal | undefined, take: (file: Uint8Array) => T): Promise<T> {
    const { index } = this.checkpoint(which);
    const reading = this.#queue.then(async () => take(await this.#decode(index, signal)));
    // Of no value: it would keep what was read last, a whole network, for as long as the bundle.
    this.#queue = reading.then(() => undefined, () => undefined);
    return reading;
  }

  async #decode(target: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    if (this.#disposed) throw new InvalidArgumentError({ field: 'bundle', expected: 'one in use', got: 'one that was disposed' });
    if (this.#cached?.index === target) return this.#cached.file;
    let first = target;
    while (isDelta((this.checkpoints[first] as BundleCheckpoint).coding) && this.#cached?.index !== first - 1) first--;
    let file: Uint8Array = isDelta((this.checkpoints[first] as BundleCheckpoint).coding)
      ? (this.#cached?.file as Uint8Array)
      : new Uint8Array(this.#layout.fileBytes);
    // What is decoded in place is not a checkpoint again until its hash has been checked.
    this.#cached = undefined;
    for (let index = first; index <= target; index++)
      file = await this.#decodeOne(this.checkpoints[index] as BundleCheckpoint, file, signal);
    const { label, sha256 } = this.checkpoints[target] as BundleCheckpoint;
    await requireHash(`${this.#called}checkpoint ${label}`, file, sha256);
    this.#cached = { index: target, file };
    return file;
  }

  async #decodeOne(checkpoint: BundleCheckpoint, file: Uint8Array, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const { coding, entry: name, label } = checkpoint;
    if (coding === 'seed' || name === null) return this.#initialState(checkpoint);
    const entry = this.#zip.entry(name);
    const { stored, localHeader: header, open } = await this.#zip.readStored(entry, signal);
    requireCanonical(`${this.#called}checkpoint ${label} local header`, header, localHeader(entry));
    // A `full` entry is its file: the hash of that, checked at the end, is the same one.
    if (coding !== 'full') await requireHash(`${this.#called}checkpoint ${label} as stored`, stored, checkpoint.storedSha256 as string);
    signal?.throwIfAborted();
    // Synchronous from here, so the codec's windows are ours alone.
    decodeFile(this.#codec, coding, open(), file, this.#layout.range);
    return file;
  }

  async #initialState({ seed }: BundleCheckpoint): Promise<Uint8Array> {
    const options = seed as NonNullable<typeof seed>;
    const core = this.#core ?? (await openCore());
    try {
      return stateToSafetensors(this.#layout.state, initialise(core, this.graph, options));
    } finally {
      if (core !== this.#core) core[Symbol.dispose]();
    }
  }

  /** Reads every checkpoint and checks every hash. Errors of the source itself (network, abort) are thrown. */
  async verify(signal?: AbortSignal): Promise<BundleVerdict> {
    const checkpoints: { label: string; passed: boolean; error?: ReturnType<TrajportError['toJSON']> }[] = [];
    for (const { index, label } of this.checkpoints) {
      try {
        await this.readCheckpoint(index, signal);
        checkpoints.push({ label, passed: true });
      } catch (error) {
        if (!(error instanceof TrajportError) || error.code === 'network' || error.code === 'invalid-argument') throw error;
        checkpoints.push({ label, passed: false, error: error.toJSON() });
      }
    }
    return { passed: checkpoints.every(({ passed }) => passed), checkpoints };
  }

  /** Gives up what was decoded; reading is refused from here on. The source stays the caller's. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#cached = undefined;
  }
}

function calledBy(name: string | undefined): string {
  return name === undefined ? '' : `${name}: `;
}

async function requireHash(field: string, bytes: Uint8Array, sha256: string): Promise<void> {
  const got = await sha256Hex(bytes);
  if (got !== sha256) throw new IntegrityError({ field, expected: `SHA-256 ${sha256}`, got });
}

/** A bundle's headers hold nothing but what its contents fix, so that every flipped bit is noticed. */
function requireCanonical(field: string, got: Uint8Array, expected: Uint8Array): void {
  if (got.byteLength === expected.byteLength && got.every((byte, i) => byte === expected[i])) return;
  throw new IntegrityError({
    field,
    expected: 'the header that the bundle format prescribes',
    got: 'another (was it repacked by another program?)',
  });
}

/**
 * Opens a bundle. Reads the end of the file, and the manifest where that does not include it; no checkpoint.
 * @throws InvalidArgumentError for a source or an option that is none, MalformedFileError, UnsupportedError,
 *   IntegrityError, LimitError, NetworkError
 */
export async function openBundle(source: ByteSource, options: OpenBundleOptions = {}): Promise<TrajectoryBundle> {
  requireOptions('openBundle', options, optionNames);
  const manifestBytes = requireNumber('manifestBytes', options.manifestBytes ?? limits.manifestBytes, 0);
  if (options.inflatedBytes !== undefined) requireCap('inflatedBytes', options.inflatedBytes);
  const access = await openSource(source, options);
  const field = options.name ?? 'bundle';
  const { signal, inflatedBytes } = options;
  const zip = await openZip(access, {
    field,
    ...(inflatedBytes === undefined ? {} : { inflatedBytes }),
    ...(signal === undefined ? {} : { signal }),
  });
  const manifestEntry = zip.entry(MANIFEST_ENTRY);
  if (manifestEntry.bytes > manifestBytes) {
    throw new LimitError({
      field: `${calledBy(options.name)}${MANIFEST_ENTRY}`,
      expected: `at most ${manifestBytes} bytes`,
      got: `${manifestEntry.bytes}`,
    });
  }
  const { open, localHeader: header } = await zip.readStored(manifestEntry, signal);
  requireCanonical(`${calledBy(options.name)}${MANIFEST_ENTRY} local header`, header, localHeader(manifestEntry));
  const bytes = new Uint8Array(manifestEntry.bytes);
  const reader = open();
  reader.readInto(bytes);
  reader.finish();
  const manifest = parseManifest(bytes, manifestBytes);
  const layout = checkpointLayout(manifest.graph);
  requireEntries(zip, manifest, layout, calledBy(options.name));
  return new TrajectoryBundle(zip, await openCodec(), manifest, layout, options);
}

/** Every entry that the manifest names, in order, of the size that the graph implies, and no other. */
function requireEntries(zip: ZipReader, manifest: Manifest, layout: CheckpointLayout, called: string): void {
  const expected: [name: string, bytes: number | undefined][] = [];
  for (const { coding, entry, bytes, label } of manifest.checkpoints) {
    if (bytes !== layout.fileBytes) {
      throw new MalformedFileError({
        field: `${called}${MANIFEST_ENTRY} ${label}.bytes`,
        expected: `${layout.fileBytes}, as the graph implies`,
        got: `${bytes}`,
      });
    }
    if (coding !== 'seed' && entry !== null) expected.push([entry, codedBytes(coding, bytes, layout.range)]);
  }
  expected.push([MANIFEST_ENTRY, undefined]);
  const entries: readonly ZipEntry[] = [...zip.entries.values()];
  // A later revision may bring entries of its own.
  const known = manifest.revision > 0 ? entries.filter(({ name }) => expected.some(([wanted]) => wanted === name)) : entries;
  for (let index = 0; index < Math.max(known.length, expected.length); index++) {
    const [name, bytes] = expected[index] ?? [];
    const entry = known[index];
    if (entry?.name !== name || entry === undefined) {
      throw new MalformedFileError({
        field: `${called}bundle entry ${index}`,
        expected: describe(name ?? 'no more entries'),
        got: describe(entry?.name ?? 'none'),
      });
    }
    if (bytes !== undefined && entry.bytes !== bytes) {
      throw new MalformedFileError({
        field: `${called}bundle ${entry.name}`,
        expected: `${bytes} bytes, as the graph implies`,
        got: `${entry.bytes}`,
      });
    }
    requireCanonical(`${called}bundle ${entry.name} central header`, entry.header, centralHeader(entry));
  }
  const { entries: count, directoryOffset, directoryBytes } = zip.end;
  requireCanonical(`${called}bundle end record`, zip.end.bytes, endRecords(count, directoryOffset, directoryBytes));
}
