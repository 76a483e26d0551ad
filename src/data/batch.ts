/** What a network is fed at once. */
export interface Batch {
  /** [count, channels, height, width]; token numbers [count, tokens] as integers. */
  readonly inputs: Float32Array | Int32Array;
  /** [count]; [count, tokens] where each token has a label of its own. */
  readonly labels: Int32Array;
  readonly count: number;
}

/** What a typed array of so many elements of four bytes is made of: the memory of `array`, or new. */
export function room(elements: number, array: Float32Array | Int32Array | undefined): [ArrayBufferLike, number, number] {
  return array !== undefined && array.buffer.byteLength >= 4 * elements
    ? [array.buffer, 0, elements]
    : [new ArrayBuffer(4 * elements), 0, elements];
}
