// Linear sum assignment: one row of the matrix is scanned for its best columns at the present prices.
//
// Two looks: `scanChunks` takes the maxima of chunks of the row without branches, `collect` opens only those chunks that
// hold a candidate and leaves the candidates, unordered, in the problem's buffer.
import { Magnitudes } from "./assignment-matrix";
import { Problem, chunksOf } from "./assignment-problem";

/** The want-th largest of `count` values in `selection`, which is left in another order. */
function kthLargest<T>(problem: Problem, count: i32, want: i32): T {
  const values = problem.selection;
  let low = 0;
  let high = count - 1;
  const k = want - 1;
  while (low < high) {
    const pivot = load<T>(values + <usize>((low + high) >> 1) * sizeof<T>());
    let i = low;
    let j = high;
    while (i <= j) {
      while (load<T>(values + <usize>i * sizeof<T>()) > pivot) i++;
      while (pivot > load<T>(values + <usize>j * sizeof<T>())) j--;
      if (i <= j) {
        const swapped = load<T>(values + <usize>i * sizeof<T>());
        store<T>(values + <usize>i * sizeof<T>(), load<T>(values + <usize>j * sizeof<T>()));
        store<T>(values + <usize>j * sizeof<T>(), swapped);
        i++;
        j--;
      }
    }
    if (k <= j) high = j;
    else if (k >= i) low = i;
    else break;
  }
  return load<T>(values + <usize>k * sizeof<T>());
}

/** Keeps the want best of the buffer, of equal ones those found first; answers the least profit kept. */
export function keepBest<T>(problem: Problem, want: i32): T {
  const count = problem.bufferCount;
  const profits = problem.bufferProfits;
  const columns = problem.bufferColumns;
  memory.copy(problem.selection, profits, <usize>count * sizeof<T>());
  const least = kthLargest<T>(problem, count, want);
  let equal = want;
  for (let k = 0; k < count; k++) equal -= <i32>(load<T>(profits + <usize>k * sizeof<T>()) > least);
  let kept = 0;
  for (let k = 0; k < count; k++) {
    const profit = load<T>(profits + <usize>k * sizeof<T>());
    if (profit < least) continue;
    if (profit === least) {
      if (equal === 0) continue;
      equal--;
    }
    store<T>(profits + <usize>kept * sizeof<T>(), profit);
    store<i32>(columns + (<usize>kept << 2), load<i32>(columns + (<usize>k << 2)));
    kept++;
  }
  problem.bufferCount = want;
  return least;
}

/** Greater and lesser lanes of a pair, as a step of a sorting network. */
function greater<T>(a: v128, b: v128): v128 {
  return sizeof<T>() === 4 ? f32x4.pmax(a, b) : f64x2.pmax(a, b);
}

function lesser<T>(a: v128, b: v128): v128 {
  return sizeof<T>() === 4 ? f32x4.pmin(a, b) : f64x2.pmin(a, b);
}

function profitsAt<T>(at: usize, prices: usize): v128 {
  return sizeof<T>() === 4 ? f32x4.sub(v128.load(at), v128.load(prices)) : f64x2.sub(v128.load(at), v128.load(prices));
}

function minus<T>(values: v128, prices: v128): v128 {
  return sizeof<T>() === 4 ? f32x4.sub(values, prices) : f64x2.sub(values, prices);
}

// oxlint-disable-next-line typescript/no-extraneous-class
abstract class Scan {
  /**
   * `scanChunks`, and where `checked` whether all similarities are finite and within ±limit. Inlined, as scans without
   * a check are spared its cost.
   */
  @inline
  static chunks<T>(problem: Problem, firstRow: i32, rows: i32, limit: T, checked: bool): bool {
    const bytes = <usize>problem.columns * sizeof<T>();
    const prices = sizeof<T>() === 4 ? problem.lowPrices : problem.prices;
    const first = problem.matrix + <usize>firstRow * bytes;
    const stride = <usize>chunksOf<T>(problem.columns) << 4;
    const whole = bytes & ~(<usize>127);
    const none = sizeof<T>() === 4 ? f32x4.splat(-Infinity) : f64x2.splat(-Infinity);
    const limits = sizeof<T>() === 4 ? f32x4.splat(<f32>limit) : f64x2.splat(<f64>limit);
    let seen = Magnitudes.none<T>();
    for (let offset: usize = 0; offset < whole; offset += 128) {
      const to = problem.chunkMaxima + (offset >> 3);
      const end = first + offset + 128;
      let price = prices + offset;
      let a = none;
      if (rows === 4) {
        let b = none, c = none, d = none;
        for (let at = end - 128; at < end; at += 16, price += 16) {
          const priced = v128.load(price);
          const i = v128.load(at), j = v128.load(at + bytes), k = v128.load(at + 2 * bytes), l = v128.load(at + 3 * bytes);
          a = greater<T>(a, minus<T>(i, priced));
          b = greater<T>(b, minus<T>(j, priced));
          c = greater<T>(c, minus<T>(k, priced));
          d = greater<T>(d, minus<T>(l, priced));
          if (checked) {
            seen = Magnitudes.join<T>(seen, Magnitudes.join<T>(
              Magnitudes.join<T>(Magnitudes.of<T>(i, limits), Magnitudes.of<T>(j, limits)),
              Magnitudes.join<T>(Magnitudes.of<T>(k, limits), Magnitudes.of<T>(l, limits)),
            ));
          }
        }
        v128.store(to + stride, b);
        v128.store(to + 2 * stride, c);
        v128.store(to + 3 * stride, d);
      } else {
        for (let at = end - 128; at < end; at += 16, price += 16) {
          const values = v128.load(at);
          a = greater<T>(a, minus<T>(values, v128.load(price)));
          if (checked) seen = Magnitudes.join<T>(seen, Magnitudes.of<T>(values, limits));
        }
      }
      v128.store(to, a);
    }
    let within = !checked || Magnitudes.within<T>(seen, limits);
    if (whole === bytes) return within;
    for (let i = 0; i < rows; i++) {
      const at = first + <usize>i * bytes;
      const to = problem.chunkMaxima + <usize>i * stride + (whole >> 3);
      let best: T = <T>-Infinity;
      for (let offset = whole; offset < bytes; offset += sizeof<T>()) {
        const value = load<T>(at + offset);
        const profit = value - load<T>(prices + offset);
        if (profit > best) best = profit;
        if (checked && !(abs<T>(value) <= limit)) within = false;
      }
      v128.store(to, sizeof<T>() === 4 ? f32x4.splat(-Infinity) : f64x2.splat(-Infinity));
      store<T>(to, best);
    }
    return within;
  }
}

/**
 * First look at `rows` successive rows, without branches: the lane-wise maximum of every chunk of eight vectors of
 * profits, to `chunkMaxima`. Four rows at a time read the prices once and keep four streams from memory going, which
 * took 30 % off building the lists at n = 4096.
 */
export function scanChunks<T>(problem: Problem, firstRow: i32, rows: i32): void {
  Scan.chunks<T>(problem, firstRow, rows, <T>Infinity, false);
}

/** The same for rows that nobody has looked at before: answers whether all of their values are finite and within ±limit. */
export function scanNewChunks<T>(problem: Problem, firstRow: i32, rows: i32, limit: T): bool {
  return Scan.chunks<T>(problem, firstRow, rows, limit, true);
}

/**
 * A profit that at least LIST columns of the row reach. The chunk maxima fall into eight vectors, lane-wise maxima of
 * disjoint columns each; every lane then has LIST / lanes columns at or above its LIST / lanes-th largest, and the
 * least of these is the floor. Of 4096 Gaussian columns about 25 lie above it.
 */
export function floorOf<T>(problem: Problem, at: usize): T {
  const chunks = chunksOf<T>(problem.columns);
  if (chunks < 8) return <T>-Infinity;
  let a = v128.load(at), b = v128.load(at, 16), c = v128.load(at, 32), d = v128.load(at, 48);
  let e = v128.load(at, 64), f = v128.load(at, 80), g = v128.load(at, 96), h = v128.load(at, 112);
  let k = 8;
  for (; k + 8 <= chunks; k += 8) {
    at += 128;
    a = greater<T>(a, v128.load(at));
    b = greater<T>(b, v128.load(at, 16));
    c = greater<T>(c, v128.load(at, 32));
    d = greater<T>(d, v128.load(at, 48));
    e = greater<T>(e, v128.load(at, 64));
    f = greater<T>(f, v128.load(at, 80));
    g = greater<T>(g, v128.load(at, 96));
    h = greater<T>(h, v128.load(at, 112));
  }
  at += 128;
  for (; k < chunks; k++, at += 16) a = greater<T>(a, v128.load(at));
  if (sizeof<T>() === 8) {
    const least = lesser<T>(lesser<T>(lesser<T>(a, b), lesser<T>(c, d)), lesser<T>(lesser<T>(e, f), lesser<T>(g, h)));
    return <T>min<f64>(f64x2.extract_lane(least, 0), f64x2.extract_lane(least, 1));
  }
  // The fourth largest of eight, lane by lane: sort both halves, then merge as far as needed (Batcher's bitonic merge).
  let t = greater<T>(a, b); b = lesser<T>(a, b); a = t;
  t = greater<T>(c, d); d = lesser<T>(c, d); c = t;
  t = greater<T>(a, c); c = lesser<T>(a, c); a = t;
  t = greater<T>(b, d); d = lesser<T>(b, d); b = t;
  t = greater<T>(b, c); c = lesser<T>(b, c); b = t;
  t = greater<T>(e, f); f = lesser<T>(e, f); e = t;
  t = greater<T>(g, h); h = lesser<T>(g, h); g = t;
  t = greater<T>(e, g); g = lesser<T>(e, g); e = t;
  t = greater<T>(f, h); h = lesser<T>(f, h); f = t;
  t = greater<T>(f, g); g = lesser<T>(f, g); f = t;
  const fourth = lesser<T>(
    lesser<T>(greater<T>(a, h), greater<T>(b, g)),
    lesser<T>(greater<T>(c, f), greater<T>(d, e)),
  );
  return <T>min<f32>(
    min<f32>(f32x4.extract_lane(fourth, 0), f32x4.extract_lane(fourth, 1)),
    min<f32>(f32x4.extract_lane(fourth, 2), f32x4.extract_lane(fourth, 3)),
  );
}

/**
 * The same for SHORT_LIST columns: every lane has SHORT_LIST / lanes at or above that place among its chunk maxima. Leaves the row's
 * largest profit as `firstProfit`.
 */
export function shortFloorOf<T>(problem: Problem, at: usize): T {
  const end = at + (<usize>chunksOf<T>(problem.columns) << 4);
  let a = v128.load(at), b = sizeof<T>() === 4 ? f32x4.splat(-Infinity) : f64x2.splat(-Infinity);
  let c = b, d = b;
  for (at += 16; at < end; at += 16) {
    let rest = v128.load(at);
    let kept = greater<T>(a, rest); rest = lesser<T>(a, rest); a = kept;
    if (sizeof<T>() === 4) {
      b = greater<T>(b, rest);
    } else {
      kept = greater<T>(b, rest); rest = lesser<T>(b, rest); b = kept;
      kept = greater<T>(c, rest); rest = lesser<T>(c, rest); c = kept;
      d = greater<T>(d, rest);
    }
  }
  if (sizeof<T>() === 8) {
    problem.firstProfit = max<f64>(f64x2.extract_lane(a, 0), f64x2.extract_lane(a, 1));
    return <T>min<f64>(f64x2.extract_lane(d, 0), f64x2.extract_lane(d, 1));
  }
  problem.firstProfit = <f64>max<f32>(
    max<f32>(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)), max<f32>(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
  );
  return <T>min<f32>(
    min<f32>(f32x4.extract_lane(b, 0), f32x4.extract_lane(b, 1)), min<f32>(f32x4.extract_lane(b, 2), f32x4.extract_lane(b, 3)),
  );
}

function above<T>(values: v128, thresholds: v128): v128 {
  return sizeof<T>() === 4 ? f32x4.gt(values, thresholds) : f64x2.gt(values, thresholds);
}

/** Which maxima of four chunks lie above the thresholds, four bits a chunk. */
function aboveInFour<T>(maximaPtr: usize, thresholds: v128): i32 {
  const low = i16x8.narrow_i32x4_s(above<T>(v128.load(maximaPtr), thresholds), above<T>(v128.load(maximaPtr, 16), thresholds));
  const high = i16x8.narrow_i32x4_s(above<T>(v128.load(maximaPtr, 32), thresholds), above<T>(v128.load(maximaPtr, 48), thresholds));
  return i8x16.bitmask(i8x16.narrow_i16x8_s(low, high));
}

/** Which of 16 f32 profits lie above the thresholds, a bit each. */
function above16(at: usize, prices: usize, thresholds: v128): i32 {
  const low = i16x8.narrow_i32x4_s(
    f32x4.gt(profitsAt<f32>(at, prices), thresholds), f32x4.gt(profitsAt<f32>(at + 16, prices + 16), thresholds),
  );
  const high = i16x8.narrow_i32x4_s(
    f32x4.gt(profitsAt<f32>(at + 32, prices + 32), thresholds), f32x4.gt(profitsAt<f32>(at + 48, prices + 48), thresholds),
  );
  return i8x16.bitmask(i8x16.narrow_i16x8_s(low, high));
}

/**
 * Appends the columns of chunks [first, last) with a profit above `threshold` to the buffer; when it is full it is cut
 * to the `want` best, and the threshold, which is answered, rises.
 */
function gatherAbove<T>(problem: Problem, maximaPtr: usize, at: usize, prices: usize, first: i32, last: i32, threshold: T, want: i32): T {
  const lanes = 16 / sizeof<T>();
  const profits = problem.bufferProfits;
  const found = problem.bufferColumns;
  const capacity = want * 4;
  let count = problem.bufferCount;
  let thresholds = sizeof<T>() === 4 ? f32x4.splat(<f32>threshold) : f64x2.splat(<f64>threshold);
  for (let from = first; from < last; from += 16) {
    // Which of 16 chunks hold candidates, all at once: a branch for each would be mispredicted at every other one that does.
    let open: u64 = 0;
    const chunks = min<i32>(16, last - from);
    for (let k = 0; k < chunks; k += 4) open |= <u64>aboveInFour<T>(maximaPtr + (<usize>(from + k) << 4), thresholds) << (4 * k);
    open &= <u64>-1 >> (64 - 4 * chunks);
    while (open !== 0) {
      const place = <i32>ctz<u64>(open) & ~3;
      open &= ~(<u64>15 << place);
      const chunk = from + (place >> 2);
      const base = at + (<usize>chunk << 7);
      const price = prices + (<usize>chunk << 7);
      const column = chunk * 8 * lanes;
      const left = problem.columns - column;
      let bits: u32 = 0;
      if (left >= 8 * lanes) {
        if (sizeof<T>() === 4) {
          bits = above16(base, price, thresholds) | (above16(base + 64, price + 64, thresholds) << 16);
        } else {
          for (let k = 0; k < 8; k++)
            bits |= i64x2.bitmask(f64x2.gt(profitsAt<T>(base + (k << 4), price + (k << 4)), thresholds)) << (k * 2);
        }
      } else {
        for (let k = 0; k < left; k++) {
          const profit = load<T>(base + <usize>k * sizeof<T>()) - load<T>(price + <usize>k * sizeof<T>());
          bits |= <u32>(profit > threshold) << k;
        }
      }
      while (bits !== 0) {
        const k = ctz<u32>(bits);
        bits &= bits - 1;
        const profit = load<T>(base + <usize>k * sizeof<T>()) - load<T>(price + <usize>k * sizeof<T>());
        if (!(profit > threshold)) continue;
        store<T>(profits + <usize>count * sizeof<T>(), profit);
        store<i32>(found + (<usize>count << 2), column + k);
        count++;
        if (count === capacity) {
          problem.bufferCount = count;
          threshold = keepBest<T>(problem, want);
          count = want;
          thresholds = sizeof<T>() === 4 ? f32x4.splat(<f32>threshold) : f64x2.splat(<f64>threshold);
        }
      }
    }
  }
  problem.bufferCount = count;
  return threshold;
}

/** Appends columns [j, end) of profit exactly `tie` until the buffer holds `want`. */
function gatherTies<T>(problem: Problem, at: usize, prices: usize, j: i32, end: i32, tie: T, want: i32): void {
  let count = problem.bufferCount;
  for (; j < end && count < want; j++) {
    const profit = load<T>(at + <usize>j * sizeof<T>()) - load<T>(prices + <usize>j * sizeof<T>());
    if (profit !== tie) continue;
    store<T>(problem.bufferProfits + <usize>count * sizeof<T>(), profit);
    store<i32>(problem.bufferColumns + (<usize>count << 2), j);
    count++;
  }
  problem.bufferCount = count;
}

/**
 * Fills the buffer with the columns of a row that are above `floor`, at most the `want` best, at least `least` (fewer where fewer
 * are allowed; of the others those at the floor), and answers the largest profit that may have been left out, −Infinity when none was.
 * f32 matrices are scanned in f32 against prices rounded down, so no profit is underestimated by more than the
 * rounding of one subtraction. The scan begins at a column that depends on the row: rows with equal tastes (dead
 * units, duplicates, constants) list different columns instead of all the same sixteen.
 */
export function collect<T>(problem: Problem, row: i32, want: i32, least: i32, floor: T, maximaPtr: usize): T {
  const columns = problem.columns;
  const at = problem.matrix + <usize>row * <usize>columns * sizeof<T>();
  const prices = sizeof<T>() === 4 ? problem.lowPrices : problem.prices;
  const chunks = chunksOf<T>(columns);
  const turn = <i32>((<i64>row * <i64>chunks) / <i64>problem.rows);
  const turnColumn = <i32>((<i64>row * <i64>columns) / <i64>problem.rows);
  problem.bufferCount = 0;
  let threshold = gatherAbove<T>(problem, maximaPtr, at, prices, turn, chunks, floor, want);
  threshold = gatherAbove<T>(problem, maximaPtr, at, prices, 0, turn, threshold, want);
  if (problem.bufferCount < least && floor > <T>-Infinity) {
    gatherTies<T>(problem, at, prices, turnColumn, columns, floor, least);
    gatherTies<T>(problem, at, prices, 0, turnColumn, floor, least);
  }
  return threshold;
}
