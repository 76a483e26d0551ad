// Scaled dot-product attention and its gradient, head by head and query rows by the block: of the scores [tokens, tokens] only
// one block of rows is ever in memory (two in the backward pass, which computes them again from the largest score and the
// sum that the forward pass keeps for each row). Heads are read where they lie inside [tokens, features] by the strides of
// the tiled product, so nothing is split, transposed or copied.
import { matmulScratchBytes, productF32 } from "./matmul";
import { exponentials, rowMaximum, rowProduct, scaleRow, softmaxGradientRow } from "./exponential";

/** Query rows a block: scores of 128 × 1,024 tokens take 512 KB, which stay in the second-level cache. */
const MOST_ROWS: i32 = 128;

/** Rows a block when the tokens are divided evenly: pairs, because the product's tiles are two rows high. */
function blockRows(tokens: i32): i32 {
  const blocks = (tokens + MOST_ROWS - 1) / MOST_ROWS;
  return ((tokens + blocks - 1) / blocks + 1) & ~1;
}

/** Bytes of scratch for both directions: two blocks of scores and the panels of the largest product. */
export function attentionScratchBytes(tokens: i32, headFeatures: i32, valueFeatures: i32): i32 {
  const rows = blockRows(tokens);
  const width = max(headFeatures, valueFeatures);
  const panels = max(
    matmulScratchBytes(rows, tokens, width), max(matmulScratchBytes(rows, width, tokens), matmulScratchBytes(tokens, width, rows)),
  );
  return 2 * ((rows * tokens) << 2) + panels;
}

/** A[rows, width] · B[columns, width]ᵀ, both strided. */
function scoresOf(
  aPtr: usize, aStride: i32, bPtr: usize, bStride: i32, outPtr: usize, ld: i32, rows: i32, columns: i32, width: i32, panelsPtr: usize,
): void {
  productF32(aPtr, aStride, 1, 0, 1, 0, 1, bPtr, 1, bStride, 0, 0, outPtr, ld, rows, columns, width, false, panelsPtr);
}

/** −∞ as the score of each key whose token is `padding`: e to it is exactly 0, and so is all that comes of it in the backward pass. */
function leaveOut(rowPtr: usize, tokensPtr: usize, columns: i32, padding: i32): void {
  const end = rowPtr + ((<usize>columns) << 2);
  const paddings = i32x4.splat(padding);
  const nothing = f32x4.splat(-Infinity);
  for (; rowPtr + 16 <= end; rowPtr += 16, tokensPtr += 16) {
    v128.store(rowPtr, v128.bitselect(nothing, v128.load(rowPtr), i32x4.eq(v128.load(tokensPtr), paddings)));
  }
  for (; rowPtr < end; rowPtr += 4, tokensPtr += 4) if (load<i32>(tokensPtr) == padding) store<f32>(rowPtr, -Infinity);
}

/**
 * Softmax over a block of scores; a causal row i sees i + 1 keys, and zeros stand behind them, as they do for keys that are padding
 * (`tokensPtr` 0: none is). stats: largest score, 1 / sum.
 */
function softmaxBlock(
  scoresPtr: usize, ld: i32, first: i32, rows: i32, columns: i32, causal: bool, factor: f32, tokensPtr: usize, padding: i32,
  statsPtr: usize, known: bool,
): void {
  for (let i: i32 = 0; i < rows; i++) {
    const rowPtr = scoresPtr + ((<usize>(i * ld)) << 2);
    const statPtr = statsPtr + ((<usize>(first + i)) << 3);
    const seen = causal ? min(columns, first + i + 1) : columns;
    if (tokensPtr != 0) leaveOut(rowPtr, tokensPtr, seen, padding);
    if (!known) store<f32>(statPtr, rowMaximum(rowPtr, seen));
    const sum = exponentials(rowPtr, rowPtr, seen, load<f32>(statPtr), factor);
    if (!known) store<f32>(statPtr, <f32>(1.0 / sum), 4);
    scaleRow(rowPtr, seen, load<f32>(statPtr, 4));
    if (seen < columns) memory.fill(rowPtr + ((<usize>seen) << 2), 0, (<usize>(columns - seen)) << 2);
  }
}

/**
 * out [count, tokens, heads · valueFeatures] = softmax(q · kᵀ · factor) · v, head by head; factor > 0. Strides are those of a token, in
 * elements; head h lies at h · headFeatures of a token's queries, and shares the keys and values of head h · keyHeads / heads.
 * stats [count, heads, tokens, 2] keeps what the gradient needs. `tokensPtr`: 0, or i32 [count, tokens], of which those that are
 * `padding` are left out as keys; each row must see another. `scratchPtr`: `attentionScratchBytes`.
 */
export function attentionF32(
  qPtr: usize, qStride: i32, kPtr: usize, kStride: i32, vPtr: usize, vStride: i32, outPtr: usize, outStride: i32, statsPtr: usize,
  count: i32, tokens: i32, heads: i32, keyHeads: i32, headFeatures: i32, valueFeatures: i32, causal: bool, factor: f32,
  tokensPtr: usize, padding: i32, scratchPtr: usize,
): void {
  const most = blockRows(tokens);
  const panelsPtr = scratchPtr + 2 * ((<usize>(most * tokens)) << 2);
  const sharing = heads / keyHeads;
  for (let n: i32 = 0; n < count; n++) {
    const row = n * tokens;
    const keysPtr = tokensPtr == 0 ? 0 : tokensPtr + ((<usize>row) << 2);
    for (let h: i32 = 0; h < heads; h++) {
      const headQ = qPtr + ((<usize>(row * qStride + h * headFeatures)) << 2);
      const headK = kPtr + ((<usize>(row * kStride + (h / sharing) * headFeatures)) << 2);
      const headV = vPtr + ((<usize>(row * vStride + (h / sharing) * valueFeatures)) << 2);
      const headOut = outPtr + ((<usize>(row * outStride + h * valueFeatures)) << 2);
      for (let first: i32 = 0; first < tokens; first += most) {
        const rows = min(most, tokens - first);
        const columns = causal ? first + rows : tokens;
        scoresOf(
          headQ + ((<usize>(first * qStride)) << 2), qStride, headK, kStride, scratchPtr, tokens, rows, columns, headFeatures, panelsPtr,
        );
        softmaxBlock(scratchPtr, tokens, first, rows, columns, causal, factor, keysPtr, padding, statsPtr, false);
        productF32(
          scratchPtr, tokens, 1, 0, 1, 0, 1, headV, vStride, 1, 0, 0,
          headOut + ((<usize>(first * outStride)) << 2), outStride, rows, valueFeatures, columns, false, panelsPtr,
        );
      }
      statsPtr += (<usize>tokens) << 3;
    }
  }
}

/**
 * Gradients of queries, keys and values, each with the strides of what it belongs to; dk and dv must hold zeros, since the heads
 * that share them, and the blocks of rows, add to them in order.
 */
export function attentionGradientF32(
  dyPtr: usize, dyStride: i32, qPtr: usize, qStride: i32, kPtr: usize, kStride: i32, vPtr: usize, vStride: i32, statsPtr: usize,
  dqPtr: usize, dkPtr: usize, dvPtr: usize, count: i32, tokens: i32, heads: i32, keyHeads: i32, headFeatures: i32, valueFeatures: i32,
  causal: bool, factor: f32, tokensPtr: usize, padding: i32, scratchPtr: usize,
): void {
  const most = blockRows(tokens);
  const changesPtr = scratchPtr + ((<usize>(most * tokens)) << 2);
  const panelsPtr = changesPtr + ((<usize>(most * tokens)) << 2);
  const sharing = heads / keyHeads;
  for (let n: i32 = 0; n < count; n++) {
    const row = n * tokens;
    const keysPtr = tokensPtr == 0 ? 0 : tokensPtr + ((<usize>row) << 2);
    for (let h: i32 = 0; h < heads; h++) {
      const atQ = (<usize>(row * qStride + h * headFeatures)) << 2;
      const atK = (<usize>(row * kStride + (h / sharing) * headFeatures)) << 2;
      const atV = (<usize>(row * vStride + (h / sharing) * valueFeatures)) << 2;
      const headDy = dyPtr + ((<usize>(row * dyStride + h * valueFeatures)) << 2);
      for (let first: i32 = 0; first < tokens; first += most) {
        const rows = min(most, tokens - first);
        const columns = causal ? first + rows : tokens;
        const blockQ = atQ + ((<usize>(first * qStride)) << 2);
        const blockDy = headDy + ((<usize>(first * dyStride)) << 2);
        scoresOf(qPtr + blockQ, qStride, kPtr + atK, kStride, scratchPtr, tokens, rows, columns, headFeatures, panelsPtr);
        softmaxBlock(scratchPtr, tokens, first, rows, columns, causal, factor, keysPtr, padding, statsPtr, true);
        // dv += pᵀ · dy
        productF32(
          scratchPtr, 1, tokens, 0, 1, 0, 1, blockDy, dyStride, 1, 0, 0,
          dvPtr + atV, vStride, columns, valueFeatures, rows, true, panelsPtr,
        );
        // dp = dy · vᵀ, and from it the change of the scores: p · (dp − Σ p · dp) · factor.
        scoresOf(blockDy, dyStride, vPtr + atV, vStride, changesPtr, tokens, rows, columns, valueFeatures, panelsPtr);
        for (let i: i32 = 0; i < rows; i++) {
          const at = (<usize>(i * tokens)) << 2;
          const centre = <f32>rowProduct(scratchPtr + at, changesPtr + at, columns);
          softmaxGradientRow(scratchPtr + at, changesPtr + at, changesPtr + at, columns, centre, factor);
        }
        // dq = ds · k, dk += dsᵀ · q
        productF32(
          changesPtr, tokens, 1, 0, 1, 0, 1, kPtr + atK, kStride, 1, 0, 0,
          dqPtr + blockQ, qStride, rows, headFeatures, columns, false, panelsPtr,
        );
        productF32(
          changesPtr, 1, tokens, 0, 1, 0, 1, qPtr + blockQ, qStride, 1, 0, 0,
          dkPtr + atK, kStride, columns, headFeatures, rows, true, panelsPtr,
        );
      }
      statsPtr += (<usize>tokens) << 3;
    }
  }
}
