// Reading a tensor into the caches a row before its kernel does. Tiles of a depthwise convolution read it as twenty and
// more streams of a few bytes, which no prefetcher follows, and from memory every turn would wait. A loop that does
// nothing else keeps as many lines on their way as the processor can; a few words between the turns of a tile wait with
// them.

/** Two tensors of fewer bytes together stay in the caches, where reading them ahead costs a tenth (384 channels at 14², 9.6 MB). */
const FAR_BYTES: usize = 1 << 24;

/** Where reading ahead of a tensor begins: behind its end where it and another one leave nothing to gain. */
export function firstAhead(ptr: usize, endPtr: usize, otherBytes: usize): usize {
  return endPtr - ptr + otherBytes > FAR_BYTES ? ptr : endPtr;
}

/**
 * Loads a word of every line from `ptr` as far as `toPtr`; returns where it ended. Loads whose values nobody wants
 * stay, since they may trap.
 */
export function readAhead(ptr: usize, toPtr: usize): usize {
  for (; ptr + 256 <= toPtr; ptr += 256) {
    load<i32>(ptr);
    load<i32>(ptr, 64);
    load<i32>(ptr, 128);
    load<i32>(ptr, 192);
  }
  return ptr;
}
