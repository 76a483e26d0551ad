/**
 * The row space of a gradient. Over a batch of b images the gradient of a dense layer is a sum of b outer products
 * δ · xᵀ, so its rows span at most b of the layer's 784 or 4096 inputs: T · Sᵀ = (T · Qᵀ) · (S · Qᵀ)ᵀ for an orthonormal
 * basis Q of T's rows, at a fraction of the work. The basis is found from random sums of rows, as in Halko, Martinsson and
 * Tropp, "Finding structure with randomness" (2011), and then checked against sums it has not seen.
 */
import type { Core, Scratch } from '../core/core.ts';
import { matmul } from '../core/matmul.ts';
import { Random, streams } from '../tensor/random.ts';

/**
 * Share of the largest sum below which what is left of a sum is rounding. Gradients of rank 125 (MLP 4096, batch 128)
 * have nothing between 1e-4 and the 3e-7 of their own f32 rounding.
 */
const ROUNDING = 3e-6;
/**
 * Sums taken into the basis once the rounding is reached. A sum that brought little made a direction out of its
 * rounding; these make up for it (the oversampling of Halko et al.): without them the basis missed 1.8e-6, with them
 * 4e-7 to 7e-7 (the best basis of that rank: 1.6e-7).
 */
const SURPLUS_SUMS = 10;
/** Share of the largest sum below which even f64 has nothing left to normalise. */
const NOTHING = 1e-13;
/**
 * What the basis may miss, ‖T − T·Qᵀ·Q‖ ÷ ‖T‖ of T with rows of norm 1: two to three times what f32 gradients miss of
 * any basis by their own rounding.
 */
const LARGEST_RESIDUAL = 1e-6;
/** Sums that the basis is checked with. */
const CHECKING_SUMS = 16;
/** Share of the rank at which nothing is saved any more: a search in vain costs some per cent of the product. */
const LARGEST_SHARE = 0.75;
/**
 * Products below this are done before a basis is found (floating-point operations, about 15 ms): at 512 · 512 · 784 the
 * basis took 17 ms, the product 11.
 */
const SMALLEST_PRODUCT = 2 ** 29;

/** Both sides of a product in coordinates of a common basis, inner axis first: left and right [rank, rows]. */
export interface Coordinates {
  readonly left: Float32Array;
  readonly right: Float32Array;
}

/** A matrix [rows, width] on the heap, and what each of its rows is multiplied by. */
interface ScaledRows {
  readonly matrixPtr: number;
  readonly scales: Float64Array;
  readonly width: number;
}

/** The largest rank at which T [m, k] · S [n, k]ᵀ is worth doing through a basis; 0 where none is. */
export function largestUsefulRank(m: number, n: number, k: number): number {
  if (2 * m * n * k < SMALLEST_PRODUCT) return 0;
  return Math.floor((LARGEST_SHARE * m * n * k) / (m * n + (m + n) * k));
}

/**
 * The two factors of T · Sᵀ for matrices [rows, width] on the heap, or undefined where T's rank, to rounding, is above
 * `mostRank`. A function of the matrices alone.
 */
export function factorise(
  core: Core, targetPtr: number, sourcePtr: number, rows: number, width: number, mostRank: number,
): Coordinates | undefined {
  const basis = rowBasis(core, targetPtr, rows, width, mostRank);
  if (basis === undefined) return undefined;
  const rank = basis.length / width;
  return core.scoped((scratch) => {
    const a = scratch.upload(basis, 'basis of a row space');
    const c = scratch.f32(rank * rows, 'coordinates');
    const coordinates = (b: number): Float32Array => {
      matmul(core, { a, b, c, m: rank, n: rows, k: width, transposeB: true });
      return core.f32(c, rank * rows).slice();
    };
    return { left: coordinates(targetPtr), right: coordinates(sourcePtr) };
  });
}

/** An orthonormal basis [rank, width] of the rows, or undefined above `mostRank`. */
function rowBasis(core: Core, matrixPtr: number, rows: number, width: number, mostRank: number): Float32Array | undefined {
  const { kernels } = core;
  return core.scoped((scratch) => {
    const matrix: ScaledRows = { matrixPtr, scales: inverseNorms(core, matrixPtr, rows, width), width };
    const sumsPtr = signedSums(core, scratch, matrix, mostRank, 0);
    const rowBytes = 8 * width;
    const norms = Float64Array.from({ length: mostRank }, (_, sum) =>
      kernels.orthogonaliseF64(sumsPtr, 0, sumsPtr + sum * rowBytes, width),
    );
    const largest = norms.reduce((a, b) => Math.max(a, b), 0);
    let rank = 0;
    let surplus = 0;
    // The basis takes the place of the sums it is made from: there are never more rows of it than sums used.
    for (let sum = 0; sum < mostRank && surplus < SURPLUS_SUMS; sum++) {
      const vectorPtr = sumsPtr + sum * rowBytes;
      const squared = kernels.orthogonaliseF64(sumsPtr, rank, vectorPtr, width);
      if (surplus > 0 || squared <= ROUNDING * ROUNDING * largest) surplus++;
      if (squared <= NOTHING * NOTHING * largest) continue;
      const vector = core.f64(vectorPtr, width);
      const length = Math.sqrt(squared);
      for (let j = 0; j < width; j++) vector[j] = (vector[j] as number) / length;
      if (rank < sum) core.u8(sumsPtr, (sum + 1) * rowBytes).copyWithin(rank * rowBytes, sum * rowBytes);
      rank++;
    }
    if (surplus < SURPLUS_SUMS) return undefined;
    return misses(core, scratch, matrix, sumsPtr, rank) ? undefined : Float32Array.from(core.f64(sumsPtr, rank * width));
  });
}

/** Whether fresh sums say that the basis leaves more of the matrix than rounding. Their squares add up to those of the rows on average. */
function misses(core: Core, scratch: Scratch, matrix: ScaledRows, basisPtr: number, rank: number): boolean {
  const { width } = matrix;
  const sumsPtr = signedSums(core, scratch, matrix, CHECKING_SUMS, 1);
  let whole = 0;
  let left = 0;
  for (let sum = 0; sum < CHECKING_SUMS; sum++) {
    const vectorPtr = sumsPtr + sum * 8 * width;
    whole += core.kernels.orthogonaliseF64(basisPtr, 0, vectorPtr, width);
    left += core.kernels.orthogonaliseF64(basisPtr, rank, vectorPtr, width);
  }
  return !(left <= LARGEST_RESIDUAL * LARGEST_RESIDUAL * whole);
}

/**
 * What brings each row to norm 1: a unit whose gradient is small is matched as one whose is large, so its row counts as
 * much. Rows of zeros stay.
 */
function inverseNorms(core: Core, matrixPtr: number, rows: number, width: number): Float64Array {
  return Float64Array.from({ length: rows }, (_, row) => {
    const pointer = matrixPtr + 4 * row * width;
    const squared = core.kernels.innerF32(pointer, pointer, width);
    return squared === 0 ? 0 : 1 / Math.sqrt(squared);
  });
}

/** Sums [count, width] f64 of the scaled rows, each row in one of them with a random sign from stream `index`. */
function signedSums(
  core: Core, scratch: Scratch, { matrixPtr, scales, width }: ScaledRows, count: number, index: number,
): number {
  const random = new Random(0, streams.rowSums, index);
  const places = random.permutation(scales.length).map((place) => place % count);
  const factors = scales.map((scale) => (random.below(2) === 0 ? scale : -scale));
  const sumsPtr = scratch.f64(count * width, 'sums of rows');
  core.f64(sumsPtr, count * width).fill(0);
  core.kernels.scaledRowSumsF32(matrixPtr, scales.length, width, scratch.upload(places), scratch.upload(factors), sumsPtr);
  return sumsPtr;
}
