/** What every reader of people's files gives, and what it is given: bytes in, named tensors out. */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import type { JsonObject } from '../json.ts';
import type { RawTensor } from '../safetensors.ts';

/** One file: its name (for its kind and for errors) and all of its bytes. */
export interface ForeignFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads a file that the first one names, e.g. a shard. The path is relative to the folder of the first file, has been
 * checked to stay inside it, and its separators are '/'.
 */
export type ReadBeside = (path: string, signal?: AbortSignal) => Promise<Uint8Array>;

export interface ReadForeignOptions {
  /** Needed for files in parts; without it such files are refused. */
  readonly readBeside?: ReadBeside;
  readonly signal?: AbortSignal;
}

/**
 * How kernels lie in memory. `pytorch`: [out, in] and OIHW. `keras`: [in, out] and HWIO; names that end in `kernel` are
 * turned by `mapNames`.
 */
export type KernelConvention = 'pytorch' | 'keras';

export interface ForeignCheckpoint {
  /** By the file's own names, in the file's order. Bytes may be views of the file's. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
  /** What the file says besides tensors, as text: epoch numbers, descriptions. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly convention: KernelConvention;
  /** Beginnings of names that are dictionaries and lists of the file, and no part of a tensor's own name: `state_dict.`. */
  readonly containers?: ReadonlySet<string>;
  /** TensorFlow.js: all that `model.json` says but where the weights are; the topology, for one. */
  readonly modelJson?: JsonObject;
}

/** Collects tensors under names that must be new and of bounded length and number. */
export class TensorCollector {
  readonly tensors = new Map<string, RawTensor>();
  readonly #field: string;
  #storedBytes: number;
  #bytes = 0;

  /**
   * @param storedBytes what the tensors are views of; without it they are known to be apart. Tied weights are the same bytes a few times
   *   over. A name costs a hundred bytes, so that 9 MB could be 23 GB to whatever looks at each tensor.
   */
  constructor(field: string, storedBytes = Infinity) {
    this.#field = field;
    this.#storedBytes = storedBytes;
  }

  /** Counts the bytes of another file that tensors are views of. */
  addStored(bytes: number): void {
    this.#storedBytes += bytes;
  }

  /** @throws MalformedFileError, LimitError */
  add(name: string, tensor: RawTensor): void {
    requireNameLength(this.#field, name);
    if (this.tensors.has(name)) {
      throw new MalformedFileError({ field: this.#field, expected: 'names that occur once', got: `${describe(name)} twice` });
    }
    if (this.tensors.size >= limits.safetensorsTensors) {
      throw new LimitError({ field: this.#field, expected: `at most ${limits.safetensorsTensors} tensors`, got: 'more' });
    }
    this.#bytes += tensor.bytes.byteLength;
    const most = Math.max(limits.inflateFloorBytes, limits.inflateExpansion * this.#storedBytes);
    if (this.#bytes > most) {
      throw new LimitError({
        field: `${this.#field}.${name}`, expected: `tensors of at most ${most} bytes in all, of ${this.#storedBytes} stored`, got: 'more',
      });
    }
    this.tensors.set(name, tensor);
  }
}

export function requireNameLength(field: string, name: string): void {
  if (name.length > limits.nameLength) {
    throw new LimitError({ field, expected: `names of at most ${limits.nameLength} characters`, got: `${name.length}` });
  }
}

/**
 * Reads a part that a file names, refusing names that lead out of its folder.
 * @throws MalformedFileError for a path that is not plainly relative; UnsupportedError without `readBeside`.
 */
export async function readPart(field: string, path: string, options: ReadForeignOptions): Promise<Uint8Array> {
  options.signal?.throwIfAborted();
  requireNameLength(field, path);
  // eslint-disable-next-line no-control-regex
  const odd = /[\u0000-\u001f\\:]/;
  const plain = path !== '' && !odd.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  if (!plain) throw new MalformedFileError({ field, expected: 'the name of a file in the same folder', got: describe(path) });
  if (options.readBeside === undefined) {
    throw new MalformedFileError({ field, expected: `the part ${describe(path)} beside the file`, got: 'this file alone' });
  }
  return options.readBeside(path, options.signal);
}
