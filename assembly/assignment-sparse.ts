// Linear sum assignment over short candidate lists: augmenting row reduction, then lazy Dijkstra.
//
// A row lists its best columns at the prices of the moment, and a bound on s_ij − v_j over everything unlisted. Prices
// only rise, so the bound stays true; it is consulted where an unlisted column could matter, and only then the row is
// looked at again. Almost all of the n² similarities are thereby read once.
import { Problem, raisePrice } from "./assignment";
import { augmentTo } from "./assignment-dense";
import { Heap, heapClear, heapLeastKey, heapLower, heapPop } from "./indexed-heap";

/** Columns listed at first. */
export const LIST: i32 = 16;
/** A list never grows beyond this: from here on scanning the row of the matrix costs no more. */
export const LONGEST_LIST: i32 = 128;
/** Candidates that `collect` holds before it drops all but the best. */
export const BUFFER: i32 = 4 * LONGEST_LIST;

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
function keepBest<T>(problem: Problem, want: i32): T {
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

function chunkMaximum<T>(at: usize, prices: usize): v128 {
  return greater<T>(
    greater<T>(
      greater<T>(profitsAt<T>(at, prices), profitsAt<T>(at + 16, prices + 16)),
      greater<T>(profitsAt<T>(at + 32, prices + 32), profitsAt<T>(at + 48, prices + 48)),
    ),
    greater<T>(
      greater<T>(profitsAt<T>(at + 64, prices + 64), profitsAt<T>(at + 80, prices + 80)),
      greater<T>(profitsAt<T>(at + 96, prices + 96), profitsAt<T>(at + 112, prices + 112)),
    ),
  );
}

/**
 * First look at `rows` successive rows, without branches: the lane-wise maximum of every chunk of eight vectors of
 * profits, to `chunkMaxima`. Four rows at a time read the prices once and keep four streams from memory going, which
 * took 30 % off building the lists at n = 4096.
 */
function scanChunks<T>(problem: Problem, firstRow: i32, rows: i32): void {
  const bytes = <usize>problem.columns * sizeof<T>();
  const prices = sizeof<T>() === 4 ? problem.lowPrices : problem.prices;
  const first = problem.matrix + <usize>firstRow * bytes;
  const stride = <usize>chunksOf<T>(problem.columns) << 4;
  const whole = bytes & ~(<usize>127);
  for (let offset: usize = 0; offset < whole; offset += 128) {
    const to = problem.chunkMaxima + (offset >> 3);
    const at = first + offset;
    const price = prices + offset;
    if (rows === 4) {
      let a = profitsAt<T>(at, price);
      let b = profitsAt<T>(at + bytes, price);
      let c = profitsAt<T>(at + 2 * bytes, price);
      let d = profitsAt<T>(at + 3 * bytes, price);
      for (let k: usize = 16; k < 128; k += 16) {
        a = greater<T>(a, profitsAt<T>(at + k, price + k));
        b = greater<T>(b, profitsAt<T>(at + bytes + k, price + k));
        c = greater<T>(c, profitsAt<T>(at + 2 * bytes + k, price + k));
        d = greater<T>(d, profitsAt<T>(at + 3 * bytes + k, price + k));
      }
      v128.store(to, a);
      v128.store(to + stride, b);
      v128.store(to + 2 * stride, c);
      v128.store(to + 3 * stride, d);
    } else {
      v128.store(to, chunkMaximum<T>(at, price));
    }
  }
  if (whole === bytes) return;
  for (let i = 0; i < rows; i++) {
    const at = first + <usize>i * bytes;
    const to = problem.chunkMaxima + <usize>i * stride + (whole >> 3);
    let best: T = <T>-Infinity;
    for (let offset = whole; offset < bytes; offset += sizeof<T>()) {
      const profit = load<T>(at + offset) - load<T>(prices + offset);
      if (profit > best) best = profit;
    }
    v128.store(to, sizeof<T>() === 4 ? f32x4.splat(-Infinity) : f64x2.splat(-Infinity));
    store<T>(to, best);
  }
}

/**
 * A profit that at least LIST columns of the row reach. The chunk maxima fall into eight vectors, lane-wise maxima of
 * disjoint columns each; every lane then has LIST / lanes columns at or above its LIST / lanes-th largest, and the
 * least of these is the floor. Of 4096 Gaussian columns about 25 lie above it.
 */
function floorOf<T>(problem: Problem, at: usize): T {
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

/** Chunks of a row: a partial one counts. */
export function chunksOf<T>(columns: i32): i32 {
  return (columns * sizeof<T>() + 127) >> 7;
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
  for (let chunk = first; chunk < last; chunk++) {
    const maxima = v128.load(maximaPtr + (<usize>chunk << 4));
    if (!v128.any_true(sizeof<T>() === 4 ? f32x4.gt(maxima, thresholds) : f64x2.gt(maxima, thresholds))) continue;
    const base = at + (<usize>chunk << 7);
    const price = prices + (<usize>chunk << 7);
    const column = chunk * 8 * lanes;
    const left = problem.columns - column;
    let bits: u32 = 0;
    if (left >= 8 * lanes) {
      if (sizeof<T>() === 4) {
        bits = above16(base, price, thresholds) | (above16(base + 64, price + 64, thresholds) << 16);
      } else {
        for (let k = 0; k < 8; k++) bits |= i64x2.bitmask(f64x2.gt(profitsAt<T>(base + (k << 4), price + (k << 4)), thresholds)) << (k * 2);
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
 * Fills the buffer with the `want` best columns of a row (fewer where fewer are allowed) and answers the largest profit
 * that may have been left out, −Infinity when none was.
 * f32 matrices are scanned in f32 against prices rounded down, so no profit is underestimated by more than the
 * rounding of one subtraction. The scan begins at a column that depends on the row: rows with equal tastes (dead
 * units, duplicates, constants) list different columns instead of all the same sixteen.
 */
function collect<T>(problem: Problem, row: i32, want: i32, needed: T, maximaPtr: usize): T {
  const columns = problem.columns;
  const at = problem.matrix + <usize>row * <usize>columns * sizeof<T>();
  const prices = sizeof<T>() === 4 ? problem.lowPrices : problem.prices;
  const chunks = chunksOf<T>(columns);
  const turn = <i32>((<i64>row * <i64>chunks) / <i64>problem.rows);
  const turnColumn = <i32>((<i64>row * <i64>columns) / <i64>problem.rows);
  let floor = floorOf<T>(problem, maximaPtr);
  if (want > LIST && needed < floor) floor = needed;
  problem.bufferCount = 0;
  let threshold = gatherAbove<T>(problem, maximaPtr, at, prices, turn, chunks, floor, want);
  threshold = gatherAbove<T>(problem, maximaPtr, at, prices, 0, turn, threshold, want);
  if (problem.bufferCount < LIST && floor > <T>-Infinity) {
    gatherTies<T>(problem, at, prices, turnColumn, columns, floor, LIST);
    gatherTies<T>(problem, at, prices, 0, turnColumn, floor, LIST);
  }
  return threshold;
}

/** The largest s_ij − v_j over what row i does not list, in f64. */
function exactBound<T>(problem: Problem, row: i32): f64 {
  const prices = problem.prices;
  const listed = problem.listColumns + (<usize>load<i32>(problem.listStarts + (<usize>row << 2)) << 2);
  const count = load<i32>(problem.listCounts + (<usize>row << 2));
  const columns = problem.columns;
  const at = problem.matrix + <usize>row * <usize>columns * sizeof<T>();
  // Prices of +Infinity take the listed columns out of the maximum; the selection's memory keeps the true ones.
  for (let k = 0; k < count; k++) {
    const price = prices + (<usize>load<i32>(listed + (<usize>k << 2)) << 3);
    store<f64>(problem.selection + (<usize>k << 3), load<f64>(price));
    store<f64>(price, Infinity);
  }
  let bests = f64x2.splat(-Infinity);
  let j = 0;
  for (; j + 2 <= columns; j += 2) {
    const place = at + <usize>j * sizeof<T>();
    const values = sizeof<T>() === 4 ? f64x2.promote_low_f32x4(v128.load64_zero(place)) : v128.load(place);
    bests = f64x2.pmax(bests, f64x2.sub(values, v128.load(prices + (<usize>j << 3))));
  }
  let best = max<f64>(f64x2.extract_lane(bests, 0), f64x2.extract_lane(bests, 1));
  for (; j < columns; j++) {
    best = max<f64>(best, <f64>load<T>(at + <usize>j * sizeof<T>()) - load<f64>(prices + (<usize>j << 3)));
  }
  for (let k = 0; k < count; k++) {
    const price = prices + (<usize>load<i32>(listed + (<usize>k << 2)) << 3);
    store<f64>(price, load<f64>(problem.selection + (<usize>k << 3)));
  }
  return best;
}

/**
 * Makes row i's list anew at the present prices, with room for `want` columns. Only those above `floor` are needed;
 * at least LIST are listed all the same.
 */
function makeList<T>(problem: Problem, row: i32, want: i32, floor: f64): void {
  scanChunks<T>(problem, row, 1);
  listFromChunks<T>(problem, row, want, <T>floor, problem.chunkMaxima);
}

/** Writes row i's list of its `want` best columns at the present prices, best first, and the bound on the rest. */
function listFromChunks<T>(problem: Problem, row: i32, want: i32, needed: T, maximaPtr: usize): void {
  let dropped = collect<T>(problem, row, want, needed, maximaPtr);
  problem.scans++;
  let count = problem.bufferCount;
  if (count > want && count > 4 * LIST) {
    // Counting costs the square.
    dropped = keepBest<T>(problem, want);
    count = want;
  }
  const lanes = 16 / sizeof<T>();
  const profits = problem.bufferProfits;
  const start = load<i32>(problem.listStarts + (<usize>row << 2));
  const at = problem.matrix + <usize>row * <usize>problem.columns * sizeof<T>();
  let padded = count;
  for (; padded % lanes !== 0; padded++) store<T>(profits + <usize>padded * sizeof<T>(), <T>-Infinity);
  // Sorting by counting: an entry's place is the number of greater ones and of equal ones before it. No branches to
  // mispredict, which makes it faster than any comparison sort for this many.
  for (let k = 0; k < count; k++) {
    const profit = load<T>(profits + <usize>k * sizeof<T>());
    let place: i32;
    if (sizeof<T>() === 4) {
      const own = f32x4.splat(<f32>profit);
      let greaterCounts = i32x4.splat(0);
      for (let m = 0; m < padded; m += 4) {
        greaterCounts = i32x4.sub(greaterCounts, f32x4.gt(v128.load(profits + (<usize>m << 2)), own));
      }
      place = i32x4.extract_lane(greaterCounts, 0) + i32x4.extract_lane(greaterCounts, 1) +
        i32x4.extract_lane(greaterCounts, 2) + i32x4.extract_lane(greaterCounts, 3);
    } else {
      const own = f64x2.splat(<f64>profit);
      let greaterCounts = i64x2.splat(0);
      for (let m = 0; m < padded; m += 2) {
        greaterCounts = i64x2.sub(greaterCounts, f64x2.gt(v128.load(profits + (<usize>m << 3)), own));
      }
      place = <i32>(i64x2.extract_lane(greaterCounts, 0) + i64x2.extract_lane(greaterCounts, 1));
    }
    store<u8>(problem.places + k, place);
  }
  if (count > want) dropped = <T>-Infinity;
  // Equal profits claimed one place: the later ones move on to the next free one.
  memory.fill(problem.taken, 0, count);
  let cut: T = <T>-Infinity;
  for (let k = 0; k < count; k++) {
    let place = <i32>load<u8>(problem.places + k);
    while (load<u8>(problem.taken + place) !== 0) place++;
    store<u8>(problem.taken + place, 1);
    const profit = load<T>(profits + <usize>k * sizeof<T>());
    if (place >= want) {
      if (profit > cut) cut = profit;
      continue;
    }
    const column = load<i32>(problem.bufferColumns + (<usize>k << 2));
    store<i32>(problem.listColumns + (<usize>(start + place) << 2), column);
    store<T>(problem.listValues + <usize>(start + place) * sizeof<T>(), load<T>(at + <usize>column * sizeof<T>()));
    store<T>(problem.listKeys + <usize>(start + place) * sizeof<T>(), sizeof<T>() === 4 ? <T>nextUp(<f32>profit) : profit);
  }
  if (count > want) {
    dropped = cut;
    count = want;
  }
  store<i32>(problem.listCounts + (<usize>row << 2), count);
  let bound = <f64>dropped;
  if (sizeof<T>() === 4 && bound !== -Infinity) {
    // Half a unit in the last place of f32 is what the subtraction may have hidden. When the whole list ties with
    // the bound, that would make a list of equals look incomplete: then the bound is worth an exact scan.
    const best = load<T>(problem.listKeys + <usize>start * sizeof<T>());
    bound = <f32>best === nextUp(<f32>dropped) ? exactBound<T>(problem, row) : bound + abs<f64>(bound) * 5.9604644775390625e-8;
  }
  store<f64>(problem.bounds + (<usize>row << 3), bound);
}

/** The next greater f32; 0 stays 0, where differences of f32 are exact. */
function nextUp(value: f32): f32 {
  const bits = reinterpret<i32>(value);
  return value === 0 ? value : reinterpret<f32>(bits > 0 ? bits + 1 : bits - 1);
}

/** The best column of a list, a free one before others of the same profit; the second best profit; all at present prices. */
function lookAt<T>(problem: Problem, row: i32): void {
  const start = load<i32>(problem.listStarts + (<usize>row << 2));
  const count = load<i32>(problem.listCounts + (<usize>row << 2));
  let first: f64 = -Infinity;
  let second: f64 = -Infinity;
  let column = -1;
  for (let k = start; k < start + count; k++) {
    // Best first, and prices only rise: nothing from here on is better than its profit was when the list was made.
    if (second > <f64>load<T>(problem.listKeys + <usize>k * sizeof<T>())) break;
    const j = load<i32>(problem.listColumns + (<usize>k << 2));
    const profit = <f64>load<T>(problem.listValues + <usize>k * sizeof<T>()) - load<f64>(problem.prices + (<usize>j << 3));
    if (profit > first) {
      second = first;
      first = profit;
      column = j;
    } else {
      if (profit > second) second = profit;
      if (
        profit === first && column >= 0 &&
        load<i32>(problem.rowOfColumn + (<usize>column << 2)) >= 0 &&
        load<i32>(problem.rowOfColumn + (<usize>j << 2)) < 0
      ) {
        column = j;
      }
    }
  }
  problem.firstProfit = first;
  problem.secondProfit = second;
  problem.bestColumn = column;
}

/** Whether two rows of the matrix are the same, byte for byte. */
function sameRows<T>(problem: Problem, first: i32, second: i32): bool {
  const bytes = <usize>problem.columns * sizeof<T>();
  const a = problem.matrix + <usize>first * bytes;
  const b = problem.matrix + <usize>second * bytes;
  let at: usize = 0;
  for (; at + 64 <= bytes; at += 64) {
    const differences = v128.or(
      v128.or(v128.xor(v128.load(a + at), v128.load(b + at)), v128.xor(v128.load(a + at, 16), v128.load(b + at, 16))),
      v128.or(v128.xor(v128.load(a + at, 32), v128.load(b + at, 32)), v128.xor(v128.load(a + at, 48), v128.load(b + at, 48))),
    );
    if (v128.any_true(differences)) return false;
  }
  for (; at < bytes; at += 4) if (load<u32>(a + at) !== load<u32>(b + at)) return false;
  return true;
}

/**
 * Finds the first row that is the same as this one (dead units, duplicates): of such rows, one search visits the lists of
 * one only. Hashes the chunk maxima, which are at hand; the table lies in the heap's memory, which is idle by then.
 */
function classify<T>(problem: Problem, row: i32, maximaPtr: usize): void {
  let mixed = i32x4.splat(0);
  const end = maximaPtr + (<usize>chunksOf<T>(problem.columns) << 4);
  for (let at = maximaPtr; at < end; at += 16) {
    mixed = v128.xor(v128.or(i32x4.shl(mixed, 5), i32x4.shr_u(mixed, 27)), v128.load(at));
  }
  const hash = (i32x4.extract_lane(mixed, 0) * 0x9e3779b1) ^ (i32x4.extract_lane(mixed, 1) * 0x85ebca77) ^
    (i32x4.extract_lane(mixed, 2) * 0xc2b2ae3d) ^ (i32x4.extract_lane(mixed, 3) * 0x27d4eb2f);
  const table = changetype<Heap>(problem.heap).keys;
  const mask = (<u32>1 << (31 - clz<u32>(2 * problem.columns))) - 1;
  let slot = (<u32>hash ^ (<u32>hash >> 15)) & mask;
  let leader = row;
  for (let probe = 0; probe < 8; probe++) {
    const place = table + (<usize>slot << 2);
    const other = load<i32>(place);
    if (other < 0) {
      store<i32>(place, row);
      break;
    }
    if (load<i32>(problem.hashes + (<usize>other << 2)) === hash && sameRows<T>(problem, other, row)) {
      leader = other;
      break;
    }
    slot = (slot + 1) & mask;
  }
  store<i32>(problem.hashes + (<usize>row << 2), hash);
  store<i32>(problem.classes + (<usize>row << 2), leader);
}

/** First lists for rows [first, last); each takes its best column when that is free, else it joins the free rows. */
export function buildLists<T>(problem: Problem, firstRow: i32, lastRow: i32): void {
  let ahead = 0;
  let maximaPtr: usize = 0;
  for (let row = firstRow; row < lastRow; row++) {
    store<i32>(problem.listStarts + (<usize>row << 2), row * LIST);
    store<i32>(problem.listCapacities + (<usize>row << 2), LIST);
    if (ahead === 0) {
      ahead = row + 4 <= lastRow ? 4 : 1;
      scanChunks<T>(problem, row, ahead);
      maximaPtr = problem.chunkMaxima;
    }
    classify<T>(problem, row, maximaPtr);
    listFromChunks<T>(problem, row, LIST, <T>-Infinity, maximaPtr);
    maximaPtr += <usize>chunksOf<T>(problem.columns) << 4;
    ahead--;
    lookAt<T>(problem, row);
    // Rows that are the same count once: dead units tie with themselves only.
    if (problem.firstProfit === problem.secondProfit && load<i32>(problem.classes + (<usize>row << 2)) === row) problem.tiedRows++;
    takeBest<T>(problem, row);
  }
}

/** After `lookAt`: the row takes its best column when that is free and surely the best, else it joins the free rows. */
function takeBest<T>(problem: Problem, row: i32): void {
  const column = problem.bestColumn;
  if (
    column >= 0 &&
    load<i32>(problem.rowOfColumn + (<usize>column << 2)) < 0 &&
    problem.firstProfit >= load<f64>(problem.bounds + (<usize>row << 3))
  ) {
    assign<T>(problem, row, column);
  } else {
    store<i32>(problem.freeRows + (<usize>problem.freeRowCount << 2), row);
    problem.freeRowCount++;
  }
}

function assign<T>(problem: Problem, row: i32, column: i32): void {
  const at = problem.matrix + (<usize>row * <usize>problem.columns + <usize>column) * sizeof<T>();
  store<i32>(problem.rowOfColumn + (<usize>column << 2), row);
  store<i32>(problem.columnOfRow + (<usize>row << 2), column);
  store<f64>(problem.ownValues + (<usize>row << 3), <f64>load<T>(at));
}

/**
 * The step of a row's bids in the coarse round: the lead that its best column had over its unlisted ones, divided by
 * 64, then down to a power of two, with which prices of integers stay exact. Rows of small numbers take small steps.
 */
function stepOf<T>(problem: Problem, row: i32, bound: f64): f64 {
  if (bound === -Infinity) return 0;
  const key = <f64>load<T>(problem.listKeys + <usize>load<i32>(problem.listStarts + (<usize>row << 2)) * sizeof<T>());
  return reinterpret<f64>(reinterpret<i64>(max<f64>(0, key - bound) / 64) & 0x7ff0000000000000);
}

/**
 * Augmenting row reduction: a free row takes its best column, raising that column's price until the second best is as
 * good (in the coarse round by a step more than that); the row it displaced goes on at once. A chain stops at a tie;
 * everything stops when `reductionsLeft` is used up. Works through the free rows, at most `budget` steps a call, and
 * answers whether it has finished; those still free are then the free rows.
 */
export function reduceRows<T>(problem: Problem, coarse: bool, budget: i32): bool {
  const rows = problem.freeRows;
  const count = problem.freeRowCount;
  let next = problem.nextFreeRow;
  let kept = problem.keptFreeRows;
  while (next < count) {
    let row = load<i32>(rows + (<usize>next << 2));
    while (problem.reductionsLeft > 0 && problem.scans < problem.scanLimit) {
      if (budget-- <= 0) {
        store<i32>(rows + (<usize>next << 2), row);
        problem.nextFreeRow = next;
        problem.keptFreeRows = kept;
        return false;
      }
      problem.reductionsLeft--;
      problem.reductions++;
      lookAt<T>(problem, row);
      let bound = load<f64>(problem.bounds + (<usize>row << 3));
      if (problem.firstProfit < bound) {
        // An unlisted column may be the best: list anew at today's prices. (When it may only be the second best, the
        // bound stands in for it: a smaller raise, but no scan; a tenth faster on rank 10.)
        makeList<T>(problem, row, load<i32>(problem.listCapacities + (<usize>row << 2)), Infinity);
        lookAt<T>(problem, row);
        bound = load<f64>(problem.bounds + (<usize>row << 3));
      }
      const column = problem.bestColumn;
      const first = problem.firstProfit;
      if (column < 0 || first < bound) break;
      const second = max<f64>(problem.secondProfit, bound);
      const owner = load<i32>(problem.rowOfColumn + (<usize>column << 2));
      const raise = first - second + (coarse ? stepOf<T>(problem, row, bound) : 0);
      if (raise > 0) {
        // A single allowed column needs no price. (A column that is taken never becomes free again: its price may rise.)
        if (second !== -Infinity) raisePrice(problem, column, load<f64>(problem.prices + (<usize>column << 3)) + raise);
        else if (owner >= 0) break;
      } else if (owner >= 0) {
        break;
      }
      assign<T>(problem, row, column);
      row = owner;
      if (row < 0) break;
      store<i32>(problem.columnOfRow + (<usize>row << 2), -1);
    }
    if (row >= 0) {
      store<i32>(rows + (<usize>kept << 2), row);
      kept++;
    }
    next++;
  }
  problem.freeRowCount = kept;
  problem.nextFreeRow = 0;
  problem.keptFreeRows = 0;
  return true;
}

/** Frees all rows and columns; prices stay. */
export function freeAll(problem: Problem): void {
  memory.fill(problem.columnOfRow, 0xff, <usize>problem.rows << 2);
  memory.fill(problem.rowOfColumn, 0xff, <usize>problem.columns << 2);
  problem.freeRowCount = 0;
}

/** Gives each row its best column at the present prices where that is free. */
export function takeAllBest<T>(problem: Problem): void {
  for (let row = 0; row < problem.rows; row++) {
    lookAt<T>(problem, row);
    if (problem.firstProfit < load<f64>(problem.bounds + (<usize>row << 3))) {
      makeList<T>(problem, row, load<i32>(problem.listCapacities + (<usize>row << 2)), Infinity);
      lookAt<T>(problem, row);
    }
    takeBest<T>(problem, row);
  }
}

/**
 * Whether this search has looked from a row that is the same as this one. That row was no farther away (the same
 * similarities have the same price), so nothing new can be reached from here.
 */
function searched(problem: Problem, row: i32): bool {
  const leader = load<i32>(problem.classes + (<usize>row << 2));
  return load<i32>(problem.searches + (<usize>leader << 2)) === problem.nextFreeRow;
}

function markSearched(problem: Problem, row: i32): void {
  const leader = load<i32>(problem.classes + (<usize>row << 2));
  store<i32>(problem.searches + (<usize>leader << 2), problem.nextFreeRow);
}

/** A column is reached from `row` at a distance below its old one and below the sink's. */
function reach(problem: Problem, column: i32, distance: f64, row: i32): void {
  const at = problem.distances + (<usize>column << 3);
  if (load<f64>(at) === Infinity) {
    store<i32>(problem.touched + (<usize>problem.touchedCount << 2), column);
    problem.touchedCount++;
  }
  store<f64>(at, distance);
  store<i32>(problem.predecessors + (<usize>column << 2), row);
  const owner = load<i32>(problem.rowOfColumn + (<usize>column << 2));
  if (owner < 0) {
    problem.sink = column;
    problem.sinkDistance = distance;
  } else if (!searched(problem, owner)) {
    heapLower(changetype<Heap>(problem.heap), column, distance);
  }
}

/** Relaxes the listed columns of `row`, whose price plus distance is `base`; notes from where on unlisted ones count. */
function relaxList<T>(problem: Problem, row: i32, base: f64): void {
  const start = <usize>load<i32>(problem.listStarts + (<usize>row << 2));
  const count = <usize>load<i32>(problem.listCounts + (<usize>row << 2));
  const prices = problem.prices;
  const distances = problem.distances;
  let column = problem.listColumns + (start << 2);
  let value = problem.listValues + start * sizeof<T>();
  problem.pops++;
  const keyMinusValue = problem.listKeys - problem.listValues;
  const end = column + (count << 2);
  let limit = problem.sinkDistance;
  for (; column < end; column += 4, value += sizeof<T>()) {
    if (base - <f64>load<T>(value + keyMinusValue) >= limit) break;
    const j = load<i32>(column);
    const distance = load<f64>(prices + (<usize>j << 3)) - <f64>load<T>(value) + base;
    if (distance < limit && distance < load<f64>(distances + (<usize>j << 3))) {
      reach(problem, j, distance, row);
      limit = problem.sinkDistance;
    }
  }
  const event = base - load<f64>(problem.bounds + (<usize>row << 3));
  if (event < limit) {
    const k = <usize>problem.eventCount;
    problem.eventCount++;
    store<f64>(problem.eventDistances + (k << 3), event);
    store<f64>(problem.eventBases + (k << 3), base);
    store<i32>(problem.eventRows + (k << 2), row);
    if (event < problem.nearestEvent) {
      problem.nearestEvent = event;
      problem.nearestEventAt = <i32>k;
    }
  }
}

/** Relaxes every column of the matrix's row. */
function relaxRow<T>(problem: Problem, row: i32, base: f64): void {
  const columns = problem.columns;
  const prices = problem.prices;
  const distances = problem.distances;
  const at = problem.matrix + <usize>row * <usize>columns * sizeof<T>();
  problem.scans++;
  const bases = f64x2.splat(base);
  let j = 0;
  for (; j + 4 <= columns; j += 4) {
    const eight = <usize>j << 3;
    let low: v128, high: v128;
    if (sizeof<T>() === 4) {
      const values = v128.load(at + (<usize>j << 2));
      low = f64x2.promote_low_f32x4(values);
      high = f64x2.promote_low_f32x4(v128.shuffle<u64>(values, values, 1, 1));
    } else {
      low = v128.load(at + eight);
      high = v128.load(at + eight, 16);
    }
    const bounds = v128.load64_splat(changetype<usize>(problem) + offsetof<Problem>("sinkDistance"));
    low = f64x2.add(f64x2.sub(v128.load(prices + eight), low), bases);
    high = f64x2.add(f64x2.sub(v128.load(prices + eight, 16), high), bases);
    const nearerLow = f64x2.lt(low, f64x2.pmin(bounds, v128.load(distances + eight)));
    const nearerHigh = f64x2.lt(high, f64x2.pmin(bounds, v128.load(distances + eight, 16)));
    if (!v128.any_true(v128.or(nearerLow, nearerHigh))) continue;
    let bits = i64x2.bitmask(nearerLow) | (i64x2.bitmask(nearerHigh) << 2);
    do {
      const lane = ctz<i32>(bits);
      bits &= bits - 1;
      const distance = lane < 2
        ? lane === 0 ? f64x2.extract_lane(low, 0) : f64x2.extract_lane(low, 1)
        : lane === 2 ? f64x2.extract_lane(high, 0) : f64x2.extract_lane(high, 1);
      if (distance < problem.sinkDistance) reach(problem, j + lane, distance, row);
    } while (bits !== 0);
  }
  for (; j < columns; j++) {
    const distance = load<f64>(prices + (<usize>j << 3)) - <f64>load<T>(at + <usize>j * sizeof<T>()) + base;
    if (distance < problem.sinkDistance && distance < load<f64>(distances + (<usize>j << 3))) reach(problem, j, distance, row);
  }
}

/** The bound of a row is reached before any free column: list more of it, or give up on its list and scan the row. */
function extend<T>(problem: Problem): void {
  const at = problem.nearestEventAt;
  const row = load<i32>(problem.eventRows + (<usize>at << 2));
  const base = load<f64>(problem.eventBases + (<usize>at << 3));
  removeEvent(problem, at);
  const bound = load<f64>(problem.bounds + (<usize>row << 3));
  let capacity = load<i32>(problem.listCapacities + (<usize>row << 2));
  // Only what is nearer than the sink is of interest.
  const floor = problem.sinkDistance < Infinity ? base - problem.sinkDistance : -Infinity;
  const start = load<i32>(problem.listStarts + (<usize>row << 2));
  const count = load<i32>(problem.listCounts + (<usize>row << 2));
  // Entries that have fallen below the bound since the list was made are of no use: many of them, and a new list of
  // the same length will do; few, and the list is too short.
  let useful = 0;
  for (let k = start; k < start + count; k++) {
    const j = load<i32>(problem.listColumns + (<usize>k << 2));
    const profit = <f64>load<T>(problem.listValues + <usize>k * sizeof<T>()) - load<f64>(problem.prices + (<usize>j << 3));
    if (profit >= bound) useful++;
  }
  if (2 * useful <= count) {
    makeList<T>(problem, row, capacity, floor);
    if (load<f64>(problem.bounds + (<usize>row << 3)) < bound) {
      relaxList<T>(problem, row, base);
      return;
    }
  }
  if (2 * capacity > LONGEST_LIST || problem.listUsed + 2 * capacity > problem.listLimit) {
    relaxRow<T>(problem, row, base);
    return;
  }
  capacity *= 2;
  store<i32>(problem.listStarts + (<usize>row << 2), problem.listUsed);
  store<i32>(problem.listCapacities + (<usize>row << 2), capacity);
  problem.listUsed += capacity;
  makeList<T>(problem, row, capacity, floor);
  relaxList<T>(problem, row, base);
}

/** Takes an event out and finds the nearest of the others: a scan, because few events ever come to pass. */
function removeEvent(problem: Problem, at: i32): void {
  const last = problem.eventCount - 1;
  problem.eventCount = last;
  const distances = problem.eventDistances;
  store<f64>(distances + (<usize>at << 3), load<f64>(distances + (<usize>last << 3)));
  store<f64>(problem.eventBases + (<usize>at << 3), load<f64>(problem.eventBases + (<usize>last << 3)));
  store<i32>(problem.eventRows + (<usize>at << 2), load<i32>(problem.eventRows + (<usize>last << 2)));
  let nearest: f64 = Infinity;
  let nearestAt = 0;
  for (let k = 0; k < last; k++) {
    const distance = load<f64>(distances + (<usize>k << 3));
    if (distance < nearest) {
      nearest = distance;
      nearestAt = k;
    }
  }
  problem.nearestEvent = nearest;
  problem.nearestEventAt = nearestAt;
}

/**
 * One shortest augmenting path over the lists, as `densePhase` over the matrix. Answers false when there is none, or
 * when lists do not pay (`scans` has reached `scanLimit`): nothing has then changed.
 */
export function sparsePhase<T>(problem: Problem, start: i32): bool {
  const heap = changetype<Heap>(problem.heap);
  const prices = problem.prices;
  const distances = problem.distances;
  problem.sink = -1;
  problem.sinkDistance = Infinity;
  problem.touchedCount = 0;
  problem.eventCount = 0;
  problem.nearestEvent = Infinity;
  let scanned = 0;
  markSearched(problem, start);
  relaxList<T>(problem, start, 0);
  for (;;) {
    const nearest = heap.size > 0 ? heapLeastKey(heap) : Infinity;
    if (problem.nearestEvent < nearest && problem.nearestEvent < problem.sinkDistance) {
      if (problem.scans >= problem.scanLimit) {
        problem.sink = -1;
        break;
      }
      extend<T>(problem);
      continue;
    }
    if (!(nearest < problem.sinkDistance)) break;
    const id = heapPop(heap);
    // Its key may be out of date when its row needed no search any more: `reach` then only lowered the distance.
    const distance = load<f64>(distances + (<usize>id << 3));
    store<f64>(distances + (<usize>id << 3), -Infinity);
    store<i32>(problem.scannedColumns + (<usize>scanned << 2), id);
    store<f64>(problem.scannedDistances + (<usize>scanned << 3), distance);
    scanned++;
    const row = load<i32>(problem.rowOfColumn + (<usize>id << 2));
    if (searched(problem, row)) continue;
    markSearched(problem, row);
    relaxList<T>(problem, row, distance + (load<f64>(problem.ownValues + (<usize>row << 3)) - load<f64>(prices + (<usize>id << 3))));
  }
  heapClear(heap);
  for (let k = 0; k < problem.touchedCount; k++) {
    const column = load<i32>(problem.touched + (<usize>k << 2));
    const distance = load<f64>(distances + (<usize>column << 3));
    store<f64>(distances + (<usize>column << 3), Infinity);
    // Columns nearer than the sink that were not worth scanning rise as well.
    if (distance < problem.sinkDistance && distance !== -Infinity && problem.sink >= 0) {
      raisePrice(problem, column, load<f64>(prices + (<usize>column << 3)) + (problem.sinkDistance - distance));
    }
  }
  if (problem.sink < 0) return false;
  for (let k = 0; k < scanned; k++) {
    const column = load<i32>(problem.scannedColumns + (<usize>k << 2));
    const rise = problem.sinkDistance - load<f64>(problem.scannedDistances + (<usize>k << 3));
    if (rise > 0) raisePrice(problem, column, load<f64>(prices + (<usize>column << 3)) + rise);
  }
  augmentTo<T>(problem, start, problem.sink);
  return true;
}
