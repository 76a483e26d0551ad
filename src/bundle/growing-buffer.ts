/**
 * Bytes that come in pieces of any size, in one buffer. Copied as they come: of a body in pieces of a byte each, 400,000
 * kept pieces took 76 MB.
 */

/** Pieces below it are gathered without growing for each. */
const SMALLEST_BYTES = 16_384;

export class GrowingBuffer {
  readonly #maximum: number;
  readonly #onHeld: (bytes: number) => void;
  #buffer: Uint8Array<ArrayBuffer>;
  #length = 0;

  /**
   * @param expected bytes that are announced: where no more come, and no fewer, nothing is copied twice.
   * @param maximum more than these are not taken.
   * @param onHeld called with all bytes of memory before they are taken, old and new buffer together, and once the old one is given up;
   *   what it throws is thrown.
   */
  constructor(expected: number, maximum: number, onHeld: (bytes: number) => void = () => undefined) {
    this.#maximum = maximum;
    this.#onHeld = onHeld;
    const capacity = Math.min(expected, maximum);
    onHeld(capacity);
    this.#buffer = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Whether there was room. */
  append(piece: Uint8Array): boolean {
    const length = this.#length + piece.byteLength;
    if (length > this.#maximum) return false;
    const capacity = this.#buffer.byteLength;
    if (length > capacity) this.#moveTo(Math.min(this.#maximum, Math.max(length, 2 * capacity, SMALLEST_BYTES)));
    this.#buffer.set(piece, this.#length);
    this.#length = length;
    return true;
  }

  /** The bytes, in a buffer of just their length: a view would keep all of a larger one. */
  finish(): Uint8Array<ArrayBuffer> {
    if (this.#length < this.#buffer.byteLength) this.#moveTo(this.#length);
    return this.#buffer;
  }

  #moveTo(capacity: number): void {
    this.#onHeld(this.#buffer.byteLength + capacity);
    const moved = new Uint8Array(capacity);
    moved.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = moved;
    this.#onHeld(capacity);
  }
}
