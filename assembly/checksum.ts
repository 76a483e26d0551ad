// CRC-32 (ISO 3309, as in ZIP), eight bytes a step. Tables are made in memory that the caller provides.

/** Fills `tablePtr` with 8 × 256 u32 (8 KiB). */
export function crc32Tables(tablePtr: usize): void {
  for (let i: u32 = 0; i < 256; i++) {
    let c = i;
    for (let bit = 0; bit < 8; bit++) c = (c >>> 1) ^ (0xedb88320 & (0 - (c & 1)));
    store<u32>(tablePtr + (<usize>i << 2), c);
  }
  for (let i: usize = 256; i < 2048; i++) {
    const before = load<u32>(tablePtr + ((i - 256) << 2));
    store<u32>(tablePtr + (i << 2), (before >>> 8) ^ load<u32>(tablePtr + (<usize>(before & 255) << 2)));
  }
}

function entry(tablePtr: usize, table: usize, byte: u32): u32 {
  return load<u32>(tablePtr + (table << 10) + (<usize>byte << 2));
}

/** Continues a checksum over `bytes` bytes at `ptr`; begins with 0, and what it returns is final at any time. */
export function crc32(tablePtr: usize, ptr: usize, bytes: u32, before: u32): u32 {
  let c = ~before;
  const end = ptr + bytes;
  const end8 = ptr + (bytes & ~7);
  while (ptr < end8) {
    const low = load<u32>(ptr) ^ c;
    const high = load<u32>(ptr, 4);
    c =
      entry(tablePtr, 7, low & 255) ^
      entry(tablePtr, 6, (low >>> 8) & 255) ^
      entry(tablePtr, 5, (low >>> 16) & 255) ^
      entry(tablePtr, 4, low >>> 24) ^
      entry(tablePtr, 3, high & 255) ^
      entry(tablePtr, 2, (high >>> 8) & 255) ^
      entry(tablePtr, 1, (high >>> 16) & 255) ^
      entry(tablePtr, 0, high >>> 24);
    ptr += 8;
  }
  while (ptr < end) {
    c = (c >>> 8) ^ entry(tablePtr, 0, (c ^ load<u8>(ptr)) & 255);
    ptr++;
  }
  return ~c;
}
