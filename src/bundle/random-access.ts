/** What a bundle needs of a file, wherever it lies: its length, and any range of its bytes. */

export interface RandomAccess {
  readonly byteLength: number;
  /** Exactly `length` bytes from `offset`; asked for ranges within the file only. */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
}

/** Random access to bytes in memory. */
export function memorySource(bytes: Uint8Array): RandomAccess {
  return { byteLength: bytes.byteLength, read: async (offset, length) => bytes.subarray(offset, offset + length) };
}

/** The first request to a far file asks for this much of its end: a ZIP's directory and a bundle's manifest are there. */
export const FIRST_RANGE_BYTES = 131_072;

/** A far file of which the end is here already: what the first request brought is not asked for again. */
export function withTail(byteLength: number, tail: Uint8Array, readFar: RandomAccess['read']): RandomAccess {
  const tailBegin = byteLength - tail.byteLength;
  return {
    byteLength,
    read: async (offset, length, signal) => {
      if (length === 0) return new Uint8Array(0);
      if (offset >= tailBegin) return tail.subarray(offset - tailBegin, offset - tailBegin + length);
      const farBytes = Math.min(length, tailBegin - offset);
      const far = await readFar(offset, farBytes, signal);
      if (farBytes === length) return far;
      const whole = new Uint8Array(length);
      whole.set(far);
      whole.set(tail.subarray(0, length - farBytes), farBytes);
      return whole;
    },
  };
}
