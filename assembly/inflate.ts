// Strict DEFLATE decoding (RFC 1951), resumable between symbols, so that input and output each pass through small
// buffers. What zlib refuses is refused: over-subscribed and incomplete codes, more than 286 + 30 of them, a missing
// end-of-block code, distances before the beginning of the output.

// 2^11 entries of 2 bytes leave most of a first-level cache alone; longer codes are rarer than 1 in 2048 each.
const TABLE_BITS: i32 = 11;
const TABLE_MASK: u32 = (1 << TABLE_BITS) - 1;

// A code: a direct table for short codes, and counts with sorted symbols for the rest.
const CODE_COUNTS: usize = 0; //  16 u16   codes of each length
const CODE_SYMBOLS: usize = 32; // 288 u16 symbols in order of their codes
const CODE_TABLE: usize = 608; // 2^11 u16 (symbol << 4 | length), 0 where the code is longer or none
const CODE_BYTES: usize = 608 + (2 << TABLE_BITS);

// State, at a pointer of the caller's (`INFLATE_STATE_BYTES` of them, zeroed to begin a stream):
const BITS: usize = 0; //         u64  bits read and not used, lowest first
const BIT_COUNT: usize = 8; //    i32  how many
const MODE: usize = 12; //        i32  below
const FINAL: usize = 16; //       i32  1 in the last block
const STORED: usize = 20; //      i32  bytes left of a stored block
const IN_USED: usize = 24; //     i32  out: input bytes consumed by the last run
const OUT_USED: usize = 28; //    i32  out: bytes written by the last run
const HISTORY: usize = 32; //     i32  bytes of earlier output that stand before outPtr, at most 32768
const LENGTHS: usize = 64; //     320 u8   code lengths of a dynamic block
const LITERALS: usize = 384; //   a code (below) for literals and lengths
const DISTANCES: usize = LITERALS + CODE_BYTES;
// 2^11 u32: up to three literals that the next 11 bits begin with, lowest byte first from bit 8 on; how many in bits 6
// and 7, their length together in bits 0 to 5, which shifts by it as they are. 0 where the first symbol is none.
// Low-entropy planes have codes of 1 to 4 bits: 205 → 350 MB/s on such a plane.
const TRIPLES: usize = DISTANCES + CODE_BYTES;
const NEXT: usize = TRIPLES + (4 << TABLE_BITS); // 16 × 2 u32 while a code is made: place and code of the next symbol

const MODE_HEADER: i32 = 0;
const MODE_STORED: i32 = 1;
const MODE_CODED: i32 = 2;
const MODE_DONE: i32 = 3;

// What a run returns.
const PAUSED: i32 = 0; //      more input, or more room, is needed
const DONE: i32 = 1; //        the stream ended; IN_USED says where
const BAD_BLOCK: i32 = -1; //  block type 3, or a stored length that contradicts its complement
const BAD_CODE: i32 = -2; //   code lengths that make no complete code
const BAD_SYMBOL: i32 = -3; // bits that are no code, or a symbol that means nothing
const BAD_DISTANCE: i32 = -4; // a match that reaches before the beginning
const TRUNCATED: i32 = -5; //  the input ended inside the stream

const LONGEST_MATCH: usize = 258;
const HEADER_BYTES: usize = 640; // the longest dynamic header is 14 + 19·3 + 318·14 bits, 566 bytes

let bits: u64 = 0;
let bitCount: i32 = 0;
let at: usize = 0;
let end: usize = 0;

function refill(): void {
  while (bitCount <= 56 && at < end) {
    bits |= (<u64>load<u8>(at)) << bitCount;
    bitCount += 8;
    at++;
  }
}

/** Takes `n` ≤ 16 bits, or -1 where the input has ended. */
function take(n: i32): i32 {
  if (bitCount < n) refill();
  if (bitCount < n) return -1;
  const value = <i32>(bits & ((1 << n) - 1));
  bits >>= n;
  bitCount -= n;
  return value;
}

/** The lowest `n` ≤ 16 bits of `code`, first bit last. */
function reverse(code: u32, n: i32): u32 {
  code = ((code & 0x5555) << 1) | ((code >> 1) & 0x5555);
  code = ((code & 0x3333) << 2) | ((code >> 2) & 0x3333);
  code = ((code & 0x0f0f) << 4) | ((code >> 4) & 0x0f0f);
  return (((code & 0x00ff) << 8) | (code >> 8)) >> (16 - n);
}

/** Makes a code from its lengths; zlib's rule: incomplete only where it has at most one code, of one bit. */
function makeCode(state: usize, code: usize, lengths: usize, n: i32, mayBeIncomplete: bool): bool {
  memory.fill(code, 0, CODE_BYTES);
  let longest = 0;
  for (let i = 0; i < n; i++) {
    const length = <i32>load<u8>(lengths + i);
    if (length == 0) continue;
    const counter = code + CODE_COUNTS + (length << 1);
    store<u16>(counter, load<u16>(counter) + 1);
    if (length > longest) longest = length;
  }
  // Where the next symbol of each length goes, and its canonical code.
  const next = state + NEXT;
  let left = 1;
  let index: u32 = 0;
  let canonical: u32 = 0;
  for (let length = 1; length <= 15; length++) {
    const count = <u32>load<u16>(code + CODE_COUNTS + (length << 1));
    left = (left << 1) - <i32>count;
    if (left < 0) return false;
    canonical <<= 1;
    store<u32>(next + (length << 3), index);
    store<u32>(next + (length << 3), canonical, 4);
    index += count;
    canonical += count;
  }
  if (left > 0 && !(mayBeIncomplete && longest <= 1)) return false;

  for (let symbol = 0; symbol < n; symbol++) {
    const length = <i32>load<u8>(lengths + symbol);
    if (length == 0) continue;
    const slot = next + (length << 3);
    const place = load<u32>(slot);
    const bitsOfCode = load<u32>(slot, 4);
    store<u32>(slot, place + 1);
    store<u32>(slot, bitsOfCode + 1, 4);
    store<u16>(code + CODE_SYMBOLS + (<usize>place << 1), <u16>symbol);
    if (length > TABLE_BITS) continue;
    const entry = <u16>((symbol << 4) | length);
    for (let i = reverse(bitsOfCode, length); i <= TABLE_MASK; i += 1 << length) store<u16>(code + CODE_TABLE + (<usize>i << 1), entry);
  }
  return true;
}

/** Makes TRIPLES of the literals' table. */
function makeTriples(state: usize): void {
  const table = state + LITERALS + CODE_TABLE;
  for (let slot: u32 = 0; slot <= TABLE_MASK; slot++) {
    let entry = <u32>load<u16>(table + (<usize>slot << 1));
    let triple: u32 = 0;
    // Bits above those known are zero further on: an entry counts only if its code ends within the known ones.
    if (entry != 0 && entry < 256 << 4) {
      let used = entry & 15;
      triple = ((entry >> 4) << 8) | (1 << 6) | used;
      entry = <u32>load<u16>(table + (<usize>(slot >> used) << 1));
      if (entry != 0 && entry < 256 << 4 && used + (entry & 15) <= <u32>TABLE_BITS) {
        used += entry & 15;
        triple = (triple & 0xff00) | ((entry >> 4) << 16) | (2 << 6) | used;
        entry = <u32>load<u16>(table + (<usize>(slot >> used) << 1));
        if (entry != 0 && entry < 256 << 4 && used + (entry & 15) <= <u32>TABLE_BITS) {
          used += entry & 15;
          triple = (triple & 0xff_ff00) | ((entry >> 4) << 24) | (3 << 6) | used;
        }
      }
    }
    store<u32>(state + TRIPLES + (<usize>slot << 2), triple);
  }
}

/** A code longer than the table: bit by bit over the counts. Returns symbol << 4 | length, or 0 for no code. */
function longCode(code: usize, window: u64, available: i32): i32 {
  let value = 0;
  let first = 0;
  let index = 0;
  for (let length = 1; length <= 15 && length <= available; length++) {
    value |= <i32>(window & 1);
    window >>= 1;
    const count = <i32>load<u16>(code + CODE_COUNTS + (length << 1));
    if (value - count < first) return (<i32>load<u16>(code + CODE_SYMBOLS + ((index + value - first) << 1)) << 4) | length;
    index += count;
    first = (first + count) << 1;
    value <<= 1;
  }
  return 0;
}

/** Decodes one symbol with the bits at hand; -1 no such code, -2 input ended. */
function symbolOf(code: usize): i32 {
  refill();
  let entry = <i32>load<u16>(code + CODE_TABLE + ((<usize>bits & TABLE_MASK) << 1));
  if (entry == 0 || (entry & 15) > bitCount) entry = longCode(code, bits, bitCount);
  if (entry == 0) return bitCount < 15 ? -2 : -1;
  bits >>= entry & 15;
  bitCount -= entry & 15;
  return entry >> 4;
}

function fixedCodes(state: usize): void {
  const lengths = state + LENGTHS;
  memory.fill(lengths, 8, 144);
  memory.fill(lengths + 144, 9, 112);
  memory.fill(lengths + 256, 7, 24);
  memory.fill(lengths + 280, 8, 8);
  makeCode(state, state + LITERALS, lengths, 288, false);
  makeTriples(state);
  memory.fill(lengths, 5, 32);
  makeCode(state, state + DISTANCES, lengths, 32, false);
}

/** The place of the i-th code length code: 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1 15. */
function lengthOrder(i: i32): i32 {
  if (i < 3) return 16 + i;
  if (i == 3) return 0;
  return (i & 1) == 0 ? 6 + (i >> 1) : 9 - (i >> 1);
}

function dynamicCodes(state: usize): i32 {
  const lengths = state + LENGTHS;
  const literalCount = take(5) + 257;
  const distanceCount = take(5) + 1;
  const lengthCount = take(4) + 4;
  if (lengthCount < 4) return TRUNCATED;
  if (literalCount > 286 || distanceCount > 30) return BAD_CODE;
  memory.fill(lengths, 0, 19);
  for (let i = 0; i < lengthCount; i++) {
    const length = take(3);
    if (length < 0) return TRUNCATED;
    store<u8>(lengths + lengthOrder(i), <u8>length);
  }
  // The code for lengths borrows the distances' place: that one is made after it has done its work.
  const code = state + DISTANCES;
  if (!makeCode(state, code, lengths, 19, false)) return BAD_CODE;
  const total = literalCount + distanceCount;
  let i = 0;
  while (i < total) {
    const symbol = symbolOf(code);
    if (symbol < 0) return symbol == -2 ? TRUNCATED : BAD_CODE;
    if (symbol < 16) {
      store<u8>(lengths + i, <u8>symbol);
      i++;
      continue;
    }
    let value: u8 = 0;
    if (symbol == 16) {
      if (i == 0) return BAD_CODE;
      value = load<u8>(lengths + i - 1);
    }
    const more = take(symbol == 16 ? 2 : symbol == 17 ? 3 : 7);
    if (more < 0) return TRUNCATED;
    const times = more + (symbol == 18 ? 11 : 3);
    if (i + times > total) return BAD_CODE;
    memory.fill(lengths + i, value, times);
    i += times;
  }
  if (load<u8>(lengths + 256) == 0) return BAD_CODE;
  if (!makeCode(state, state + LITERALS, lengths, literalCount, true)) return BAD_CODE;
  makeTriples(state);
  if (!makeCode(state, code, lengths + literalCount, distanceCount, true)) return BAD_CODE;
  return DONE;
}

/** Reads a block's header. Returns the next mode, or an error. */
function blockHeader(state: usize): i32 {
  const final = take(1);
  const type = take(2);
  if (type < 0) return TRUNCATED;
  store<i32>(state + FINAL, final);
  if (type == 0) {
    const padding = bitCount & 7;
    bits >>= padding;
    bitCount -= padding;
    const length = take(16);
    const complement = take(16);
    if (complement < 0) return TRUNCATED;
    if ((length ^ complement) != 0xffff) return BAD_BLOCK;
    store<i32>(state + STORED, length);
    return MODE_STORED;
  }
  if (type == 1) {
    fixedCodes(state);
    return MODE_CODED;
  }
  if (type == 3) return BAD_BLOCK;
  const made = dynamicCodes(state);
  return made == DONE ? MODE_CODED : made;
}

/** Gives whole unread bytes back, so that at most 7 bits stay behind. */
function unread(): void {
  at -= bitCount >> 3;
  bitCount &= 7;
  bits &= (1 << bitCount) - 1;
}

/** Copies a match, which may overlap itself; `length` ≤ 258, and 16 bytes of slack follow the room. */
function copyMatch(out: usize, distance: usize, length: usize): void {
  const from = out - distance;
  if (distance >= 16) {
    for (let i: usize = 0; i < length; i += 16) v128.store(out + i, v128.load(from + i));
  } else if (distance == 1) {
    memory.fill(out, load<u8>(from), length);
  } else {
    for (let i: usize = 0; i < length; i++) store<u8>(out + i, load<u8>(from + i));
  }
}

/**
 * Decodes symbols of the current block until it ends (DONE), room or input run short (PAUSED), or an error. Works on
 * local copies of the reader's state, which engines keep in registers, and up to fifteen literals between refills:
 * 265 → 310 MB/s of raw bytes over a real trajectory, CRC-32 included.
 */
function codedBlock(state: usize, begin: usize, out: usize, outEnd: usize, inputEnds: i32): i32 {
  const literals = state + LITERALS;
  const distances = state + DISTANCES;
  const triples = state + TRIPLES;
  const history = <usize>load<i32>(state + HISTORY);
  const start = out;
  let window = bits;
  let count = bitCount;
  let from = at;
  let result = PAUSED;
  // A symbol with its match takes 48 bits at most; where the input ends, each symbol checks for itself.
  const lastStart = inputEnds != 0 ? end : end - 8;
  while (out + LONGEST_MATCH <= outEnd && from <= lastStart) {
    if (from + 8 <= end) {
      // Eight bytes at once: bits above count are the ones that the next refill would put there again.
      window |= load<u64>(from) << count;
      from += (63 - count) >> 3;
      count |= 56;
      let triple = load<u32>(triples + (<usize>(<u32>window & TABLE_MASK) << 2));
      if (triple != 0) {
        // Five times up to three literals take 55 of the 56 bits at hand, so none of them needs a check.
        let round = 0;
        do {
          store<u32>(out, triple >> 8);
          out += (triple >> 6) & 3;
          window >>= <u64>triple;
          count -= triple & 63;
          triple = load<u32>(triples + (<usize>(<u32>window & TABLE_MASK) << 2));
        } while (++round < 5 && triple != 0);
        continue;
      }
    } else {
      while (count <= 56 && from < end) {
        window |= (<u64>load<u8>(from)) << count;
        count += 8;
        from++;
      }
    }
    let entry = <i32>load<u16>(literals + CODE_TABLE + ((<usize>window & TABLE_MASK) << 1));
    if (entry == 0 || (entry & 15) > count) {
      entry = longCode(literals, window, count);
      if (entry == 0) {
        result = count < 15 ? TRUNCATED : BAD_SYMBOL;
        break;
      }
    }
    window >>= entry & 15;
    count -= entry & 15;
    let symbol = entry >> 4;
    if (symbol < 256) {
      store<u8>(out, <u8>symbol);
      out++;
      continue;
    }
    if (symbol == 256) {
      result = DONE;
      break;
    }
    symbol -= 257;
    if (symbol > 28) {
      result = BAD_SYMBOL;
      break;
    }
    let length: usize = symbol + 3;
    if (symbol == 28) {
      length = 258;
    } else if (symbol >= 8) {
      const extra = (symbol >> 2) - 1;
      length = 3 + ((4 + (symbol & 3)) << extra) + <i32>(window & ((1 << extra) - 1));
      window >>= extra;
      count -= extra;
    }
    entry = count < 0 ? 0 : <i32>load<u16>(distances + CODE_TABLE + ((<usize>window & TABLE_MASK) << 1));
    if (entry == 0 || (entry & 15) > count) {
      entry = longCode(distances, window, count);
      if (entry == 0) {
        result = count < 15 ? TRUNCATED : BAD_SYMBOL;
        break;
      }
    }
    window >>= entry & 15;
    count -= entry & 15;
    symbol = entry >> 4;
    if (symbol > 29) {
      result = BAD_SYMBOL;
      break;
    }
    let distance: usize = symbol + 1;
    if (symbol >= 4) {
      const extra = (symbol >> 1) - 1;
      distance = 1 + ((2 + (symbol & 1)) << extra) + <i32>(window & ((1 << extra) - 1));
      window >>= extra;
      count -= extra;
    }
    if (count < 0) {
      result = TRUNCATED;
      break;
    }
    if (distance > <usize>(out - begin) + history) {
      result = BAD_DISTANCE;
      break;
    }
    copyMatch(out, distance, length);
    out += length;
  }
  bits = window;
  bitCount = count;
  at = from;
  store<i32>(state + OUT_USED, load<i32>(state + OUT_USED) + <i32>(out - start));
  return result;
}

/**
 * Continues a stream. `inPtr` holds `inBytes` of input, all there is when `inputEnds`; room for `outBytes` at `outPtr`
 * with HISTORY bytes of earlier output before it and 16 bytes of slack behind.
 * A run that returns PAUSED made progress unless it was given under 640 bytes of input that do not end, or under 258 of room.
 */
export function inflateRun(state: usize, inPtr: usize, inBytes: i32, inputEnds: i32, outPtr: usize, outBytes: i32): i32 {
  bits = load<u64>(state + BITS);
  bitCount = load<i32>(state + BIT_COUNT);
  at = inPtr;
  end = inPtr + inBytes;
  store<i32>(state + OUT_USED, 0);
  let mode = load<i32>(state + MODE);
  let result = PAUSED;
  while (true) {
    if (mode == MODE_HEADER) {
      if (inputEnds == 0 && at + HEADER_BYTES > end) break;
      const next = blockHeader(state);
      if (next < 0) {
        result = next;
        break;
      }
      unread();
      mode = next;
    }
    const out = outPtr + load<i32>(state + OUT_USED);
    if (mode == MODE_STORED) {
      const left = load<i32>(state + STORED);
      let n = min<i32>(left, <i32>(end - at));
      n = min<i32>(n, outBytes - load<i32>(state + OUT_USED));
      memory.copy(out, at, n);
      at += n;
      store<i32>(state + OUT_USED, load<i32>(state + OUT_USED) + n);
      store<i32>(state + STORED, left - n);
      if (n < left) {
        if (inputEnds != 0 && at == end) result = TRUNCATED;
        break;
      }
    } else if (mode == MODE_CODED) {
      const coded = codedBlock(state, outPtr, out, outPtr + outBytes, inputEnds);
      unread();
      if (coded != DONE) {
        result = coded;
        break;
      }
    }
    if (mode == MODE_DONE || load<i32>(state + FINAL) != 0) {
      mode = MODE_DONE;
      result = DONE;
      break;
    }
    mode = MODE_HEADER;
  }
  unread();
  store<u64>(state + BITS, bits);
  store<i32>(state + BIT_COUNT, bitCount);
  store<i32>(state + MODE, mode);
  store<i32>(state + IN_USED, <i32>(at - inPtr));
  return result;
}
