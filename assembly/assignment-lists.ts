// Linear sum assignment: the candidate lists of the rows.
//
// A row lists its best columns at the prices of the moment, and a bound on s_ij − v_j over everything unlisted. Prices
// only rise, so the bound stays true; it is consulted where an unlisted column could matter, and only then the row is
// looked at again. Almost all of the n² similarities are thereby read once.
import { collect, floorOf, keepBest, scanChunks, shortFloorOf } from "./assignment-candidates";
import { LIST, Problem, SHORT_LIST } from "./assignment-problem";
import { profitOf, profitsOfTwo } from "./assignment-profits";

/**
 * How far a first list reaches, in average changes of a row's price. At n = 2048 and 1 % drift lists then have 4.6 columns on rank
 * 10, where none has to be made anew, and 2.7 on rank 784, where one in 100 has.
 */
const DRIFTS: f64 = 16;

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
    bests = f64x2.pmax(bests, profitsOfTwo<T>(at, prices, j));
  }
  let best = max<f64>(f64x2.extract_lane(bests, 0), f64x2.extract_lane(bests, 1));
  for (; j < columns; j++) best = max<f64>(best, profitOf<T>(at, prices, j));
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
export function makeList<T>(problem: Problem, row: i32, want: i32, floor: f64): void {
  scanChunks<T>(problem, row, 1);
  const found = floorOf<T>(problem, problem.chunkMaxima);
  listFromChunks<T>(problem, row, want, LIST, want > LIST && <T>floor < found ? <T>floor : found, problem.chunkMaxima);
}

/**
 * Row i's first list, from its chunk maxima. Where prices are nearly right, as after a warm start, few columns will do: those whose
 * profit is within DRIFTS times the average change of a row's price. The list reaches at least a quarter of the way from the best
 * profit to the last of SHORT_LIST columns, and at most all of it.
 */
export function makeFirstList<T>(problem: Problem, row: i32, maximaPtr: usize): void {
  if (problem.rowPrices === 0) {
    listFromChunks<T>(problem, row, LIST, LIST, floorOf<T>(problem, maximaPtr), maximaPtr);
    return;
  }
  const floor = shortFloorOf<T>(problem, maximaPtr);
  const best = problem.firstProfit;
  problem.drift += abs<f64>(best - load<f64>(problem.rowPrices + (<usize>row << 3)));
  problem.driftRows++;
  const near = best - max<f64>((best - <f64>floor) / 4, DRIFTS * problem.drift / <f64>problem.driftRows);
  if (<T>near > floor) listFromChunks<T>(problem, row, LIST, 1, <T>near, maximaPtr);
  else listFromChunks<T>(problem, row, LIST, SHORT_LIST, floor, maximaPtr);
}

/** The sum of a vector of counts: of both halves at once, of f32 then of the two counts in one of them. */
function sumOfCounts<T>(counts: v128): i32 {
  const sums = i64x2.extract_lane(counts, 0) + i64x2.extract_lane(counts, 1);
  return sizeof<T>() === 4 ? <i32>sums + <i32>(sums >> 32) : <i32>sums;
}

/** Writes row i's list of its columns above the floor (see `collect`) at the present prices, best first, and the bound on the rest. */
function listFromChunks<T>(problem: Problem, row: i32, want: i32, least: i32, floor: T, maximaPtr: usize): void {
  let dropped = collect<T>(problem, row, want, least, floor, maximaPtr);
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
  const taken = problem.taken;
  for (let k = 0; k < count; k += 16) v128.store(taken + k, i32x4.splat(0));
  let cut: T = <T>-Infinity;
  for (let k = 0; k < count; k++) {
    const profit = load<T>(profits + <usize>k * sizeof<T>());
    const own = sizeof<T>() === 4 ? f32x4.splat(<f32>profit) : f64x2.splat(<f64>profit);
    let counts = i32x4.splat(0);
    for (let m = 0; m < padded; m += lanes) {
      const others = v128.load(profits + <usize>m * sizeof<T>());
      counts = sizeof<T>() === 4 ? i32x4.sub(counts, f32x4.gt(others, own)) : i64x2.sub(counts, f64x2.gt(others, own));
    }
    // Equal profits claim one place: the later ones move on to the next free one.
    let place = sumOfCounts<T>(counts);
    while (load<u8>(taken + place) !== 0) place++;
    store<u8>(taken + place, 1);
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
export function lookAt<T>(problem: Problem, row: i32): void {
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
