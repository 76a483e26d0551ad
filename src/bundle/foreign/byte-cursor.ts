/** A place in bytes written by strangers: every read is checked against the end, every failure says where it was. */
import { LimitError, MalformedFileError } from '../../core/errors.ts';

export class ByteCursor {
  /** What the bytes are called in errors. */
  readonly field: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(field: string, bytes: Uint8Array, at = 0) {
    this.field = field;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#bytes.byteLength - this.#at;
  }

  /** @throws MalformedFileError that names the place. */
  fail(expected: string, got: string): never {
    throw new MalformedFileError({ field: `${this.field} at byte ${this.#at}`, expected, got });
  }

  /** Moves to an absolute place. */
  seek(at: number): this {
    if (!(at >= 0 && at <= this.#bytes.byteLength)) this.fail(`a place within the ${this.#bytes.byteLength} bytes`, `byte ${at}`);
    this.#at = at;
    return this;
  }

  /** The next `count` bytes, as a view. */
  bytes(count: number): Uint8Array {
    const begin = this.#advance(count);
    return this.#bytes.subarray(begin, begin + count);
  }

  skip(count: number): void {
    this.#advance(count);
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#advance(4), true);
  }

  /** @throws LimitError above 2^53 − 1: no size, offset or count of a real file is that large. */
  u64(): number {
    const value = this.#view.getBigUint64(this.#advance(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new LimitError({ field: `${this.field} at byte ${this.#at - 8}`, expected: 'a number below 2^53', got: `${value}` });
    }
    return Number(value);
  }

  /** Big-endian, as pickle has it. */
  f64BigEndian(): number {
    return this.#view.getFloat64(this.#advance(8), false);
  }

  /** Bytes up to the next newline, which is passed over. */
  line(maximumBytes: number): Uint8Array {
    const end = this.#bytes.subarray(this.#at, this.#at + maximumBytes + 1).indexOf(0x0a);
    if (end < 0) this.fail(`a newline within ${maximumBytes} bytes`, 'none');
    const line = this.bytes(end);
    this.#at++;
    return line;
  }

  #advance(count: number): number {
    const begin = this.#at;
    if (!(count >= 0 && count <= this.remaining)) this.fail(`${count} more bytes`, `${this.remaining}`);
    this.#at = begin + count;
    return begin;
  }
}
