/**
 * The f32 matrix product where an operand may be mostly zeros: pictures with black around them, gradients behind a
 * rectifier. Whether zeros are left out (`assembly/sparse-product.ts`) or multiplied (`matmul.ts`) changes the time and
 * no byte, in strict arithmetic: there is no relaxed form of the former.
 */
import type { Core } from './core.ts';
import { matmul, type MatmulOptions } from './matmul.ts';
import { shareOfNonZero } from './nonzeros.ts';

/** A whole product: no strides of its own, no tables, no batch. */
export type PlainProduct = Pick<MatmulOptions, 'a' | 'b' | 'c' | 'm' | 'n' | 'k' | 'transposeA' | 'transposeB' | 'accumulate'>;

/**
 * Share of an operand that is not zero up to which its zeros are left out: what is left costs 1.4 times what the tiled
 * product takes for it. Behind a rectifier it is 0.5 to 0.63; a tenth of the time of an MLP 4096's pairs.
 */
const LARGEST_SHARE = 0.65;

/** Below so many columns, listing the zeros costs as much as they do. */
const FEWEST_COLUMNS = 64;

/**
 * C (+)= op(A) · op(B) without the zeros of `a` or, where the product is not added to C, of `b`, if a sample says that
 * there are enough of them. An infinity or NaN in the other operand is not multiplied by a zero that is left out.
 * @throws OutOfMemoryError where there is no room for the scratch: 0.6 MB, and for zeros of `b` another C.
 */
export function matmulLeavingOutZeros(core: Core, product: PlainProduct, operands: readonly ('a' | 'b')[]): void {
  const { a, b, c, m, n, k, accumulate = false, transposeA = false, transposeB = false } = product;
  const share = (operand: 'a' | 'b'): number => {
    const [pointer, elements, columns] = operand === 'a' ? [a, m * k, n] : [b, k * n, m];
    return !operands.includes(operand) || columns < FEWEST_COLUMNS || elements === 0 ? 1 : shareOfNonZero(core, pointer, elements);
  };
  const [ofA, ofB] = [share('a'), accumulate ? 1 : share('b')];
  if (Math.min(ofA, ofB) > LARGEST_SHARE) return matmul(core, product);
  core.scoped((scratch) => {
    const scratchPtr = scratch.bytes(core.kernels.sparseProductScratchBytes(), 'numbers of a product that are not zero');
    if (ofA <= ofB) {
      if (!accumulate) core.f32(c, m * n).fill(0);
      core.kernels.sparseProductF32(a, b, c, m, n, k, Number(transposeA), Number(transposeB), scratchPtr);
      return;
    }
    // Cᵀ = op(B)ᵀ · op(A)ᵀ
    const transposed = scratch.f32(n * m, 'transposed product');
    core.f32(transposed, n * m).fill(0);
    core.kernels.sparseProductF32(b, a, transposed, n, m, k, Number(!transposeB), Number(!transposeA), scratchPtr);
    core.kernels.transposeF32(transposed, c, 1, n, m);
  });
}

/** As `LARGEST_SHARE`, beside five eighths of the whole. */
const LARGEST_SHARE_OF_GRAM = 0.4;

/** Rows of a square product of one operand that are computed together, up to their last column: five eighths of 128 × 128. */
const GRAM_ROWS = 32;

/**
 * C [m, m] = A · Aᵀ with A [m, k], to the bytes of the whole product: in blocks up to the diagonal, or without zeros where
 * there are enough. @throws as `matmulLeavingOutZeros`.
 */
export function gramLeavingOutZeros(core: Core, { a, c, m, k }: Pick<PlainProduct, 'a' | 'c' | 'm' | 'k'>): void {
  if (m >= FEWEST_COLUMNS && shareOfNonZero(core, a, m * k) <= LARGEST_SHARE_OF_GRAM)
    return matmulLeavingOutZeros(core, { a, b: a, c, m, n: m, k, transposeB: true }, ['a']);
  for (let first = 0; first < m; first += GRAM_ROWS) {
    const end = Math.min(m, first + GRAM_ROWS);
    matmul(core, { a: a + 4 * first * k, b: a, c: c + 4 * first * m, m: end - first, n: end, k, transposeB: true, ldc: m });
  }
  const gram = core.f32(c, m * m);
  for (let row = 0; row < m; row++) {
    for (let column = row + 1; column < m; column++) gram[row * m + column] = gram[column * m + row] as number;
  }
}
