/**
 * Writes a ZIP front to back with bounded memory: entry by entry, then the directory. Bytes depend on names and
 * contents alone; see `zip-format.ts` for the fixed header fields.
 */
import { concatBytes } from '../core/bytes.ts';
import { LimitError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { type Codec, openCodec } from './codec-instance.ts';
import { type EntryFacts, centralHeader, endRecords, localHeader, methods } from './zip-format.ts';
import { decodeEntryName, requireDistinctNames } from './zip-name.ts';

/** Takes the file's bytes in order; may wait, which holds the writer back. */
export type ByteSink = (bytes: Uint8Array<ArrayBuffer>) => void | Promise<void>;

/** An entry's content, ready to be written. */
export interface PackedContent {
  readonly method: number;
  readonly crc32: number;
  /** Length before compression. */
  readonly bytes: number;
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
}

export class ZipWriter {
  readonly #sink: ByteSink;
  readonly #codec: Codec;
  readonly #entries: EntryFacts[] = [];
  #offset = 0;

  private constructor(sink: ByteSink, codec: Codec) {
    this.#sink = sink;
    this.#codec = codec;
  }

  static async open(sink: ByteSink): Promise<ZipWriter> {
    return new ZipWriter(sink, await openCodec());
  }

  async #write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#offset += bytes.byteLength;
    await this.#sink(bytes);
  }

  /** Appends an entry as it is. */
  async addPacked(name: string, { method, crc32, bytes, parts }: PackedContent): Promise<void> {
    const nameBytes = new TextEncoder().encode(name);
    decodeEntryName('entry', nameBytes, true);
    if (this.#entries.length >= limits.zipEntries) {
      throw new LimitError({ field: 'entries', expected: `at most ${limits.zipEntries}`, got: 'more' });
    }
    const compressedBytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    const entry: EntryFacts = { name, method, crc32, compressedBytes, bytes, offset: this.#offset };
    this.#entries.push(entry);
    await this.#write(localHeader(entry));
    for (const part of parts) await this.#write(part);
  }

  /** Appends bytes as they are. */
  async addStored(name: string, content: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.addPacked(name, {
      method: methods.stored,
      crc32: this.#codec.crc32(content),
      bytes: content.byteLength,
      parts: [content],
    });
  }

  /** Writes the directory. The archive is complete when this resolves. Returns its length in bytes. */
  async finish(): Promise<number> {
    requireDistinctNames('entries', this.#entries.map(({ name }) => name));
    const directoryOffset = this.#offset;
    for (const entry of this.#entries) await this.#write(centralHeader(entry));
    await this.#write(endRecords(this.#entries.length, directoryOffset, this.#offset - directoryOffset));
    return this.#offset;
  }
}

/** A sink that keeps everything, and the whole when done. */
export function memorySink(): { readonly sink: ByteSink; bytes(): Uint8Array<ArrayBuffer> } {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  return { sink: (bytes) => void parts.push(bytes), bytes: () => concatBytes(parts) };
}
