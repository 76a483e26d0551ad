// Reads a tensor into the caches one row before its kernel needs it. The tiles of a depthwise convolution read twenty or more
// streams of a few bytes each. No prefetcher follows these, so every iteration would wait for memory. A loop that does nothing but
// read keeps as many cache lines on their way as the processor can; the same reads spread over the iterations of a tile would wait
// with them.

/**
 * Two tensors with fewer bytes than this together stay in the caches anyway. Reading them ahead would cost a tenth of the time (384
 * channels at 14×14, 9.6 MB).
 */
const FAR_BYTES: usize = 1 << 24;

/**
 * Where reading ahead begins: at the start of the tensor or, where it and the other one stay in the caches, at its end, so that
 * nothing is read.
 */
export function firstAhead(ptr: usize, endPtr: usize, otherBytes: usize): usize {
  return endPtr - ptr + otherBytes > FAR_BYTES ? ptr : endPtr;
}

/**
 * Loads a word of every cache line from `ptr` as far as `toPtr`; returns where it ended. The compiler keeps these loads although
 * their values are not used, because they may trap.
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
