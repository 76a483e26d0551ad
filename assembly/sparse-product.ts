// C += op(A) · op(B) where A has many zeros: gradients behind a rectifier, whose units sleep for two inputs in five, and pictures, of
// which MNIST leaves four fifths black. Numbers that are not zero are listed by row of C; each meets 32 columns of B, packed side by side,
// in eight registers.
//
// Order of sums: as in the tiled product, in blocks of its KC, sequential inside; a zero left out changes no partial sum.

import { transposeBlock } from "./layout";
import { ORDERS_BYTES, putFour, squeezeLanes } from "./nonzeros";

/** Terms of a partial sum: KC of the tiled product. */
const BLOCK: i32 = 256;
/** Places of a list: four more may be written than there are. Lists that lie 2 KB apart would meet in two sets of a cache. */
const PLACES: i32 = BLOCK + 4;
/** Rows whose lists lie in the second-level cache (512 KiB) while all columns pass. */
const ROWS: i32 = 256;
const WIDTH: i32 = 32;

/** Bytes of scratch of `sparseProductF32`: lists and their lengths, a panel of B, a row of the rim, the orders of lanes. */
export function sparseProductScratchBytes(): i32 {
  return ROWS * PLACES * 8 + ROWS * 4 + BLOCK * WIDTH * 4 + WIDTH * 4 + ORDERS_BYTES;
}

/**
 * C [m, n] += op(A) [m, k] · op(B) [k, n], zeros of A left out. A is stored [m, k], or [k, m] when `transposeA`; B [k, n], or [n, k] when
 * `transposeB`. Only numbers that are not finite in B could tell that a zero was left out.
 */
export function sparseProductF32(
  aPtr: usize, bPtr: usize, cPtr: usize, m: i32, n: i32, k: i32, transposeA: bool, transposeB: bool, scratchPtr: usize,
): void {
  const lengthsPtr = scratchPtr + <usize>(ROWS * PLACES * 8);
  const panelPtr = lengthsPtr + <usize>(ROWS * 4);
  const rimPtr = panelPtr + <usize>(BLOCK * WIDTH * 4);
  const ordersPtr = rimPtr + <usize>(WIDTH * 4);
  squeezeLanes(ordersPtr);
  for (let pc: i32 = 0; pc < k; pc += BLOCK) {
    const depth = min(BLOCK, k - pc);
    for (let first: i32 = 0; first < m; first += ROWS) {
      const rows = min(ROWS, m - first);
      if (transposeA) listColumns(aPtr + ((<usize>(pc * m + first)) << 2), m, rows, depth, scratchPtr, lengthsPtr, ordersPtr);
      else listRows(aPtr + ((<usize>(first * k + pc)) << 2), k, rows, depth, scratchPtr, lengthsPtr, ordersPtr);
      for (let jc: i32 = 0; jc < n; jc += WIDTH) {
        const columns = min(WIDTH, n - jc);
        if (transposeB) packTransposedPanel(bPtr + ((<usize>(jc * k + pc)) << 2), k, columns, depth, panelPtr);
        else packPanel(bPtr + ((<usize>(pc * n + jc)) << 2), n, columns, depth, panelPtr);
        let toPtr = cPtr + ((<usize>(first * n + jc)) << 2);
        for (let row: i32 = 0; row < rows; row++) {
          const listPtr = scratchPtr + <usize>(row * PLACES * 8);
          const endPtr = listPtr + <usize>load<i32>(lengthsPtr + ((<usize>row) << 2));
          if (listPtr != endPtr) {
            if (columns == WIDTH) run(listPtr, endPtr, panelPtr, toPtr);
            else rim(listPtr, endPtr, panelPtr, toPtr, columns, rimPtr);
          }
          toPtr += (<usize>n) << 2;
        }
      }
    }
  }
}

/** Entries (`nonzeros.ts`) of every row, whose offsets are those of rows of a panel; rows lie one behind the other. */
function listRows(fromPtr: usize, stride: i32, rows: i32, depth: i32, listsPtr: usize, lengthsPtr: usize, ordersPtr: usize): void {
  const step = i32x4.splat(4 * WIDTH * 4);
  for (let row: i32 = 0; row < rows; row++) {
    let entryPtr = listsPtr;
    let offsets = i32x4(0, WIDTH * 4, WIDTH * 8, WIDTH * 12);
    let l: i32 = 0;
    for (; l + 4 <= depth; l += 4) {
      entryPtr = putFour(entryPtr, v128.load(fromPtr + ((<usize>l) << 2)), offsets, ordersPtr);
      offsets = i32x4.add(offsets, step);
    }
    for (; l < depth; l++) entryPtr = put(entryPtr, load<f32>(fromPtr + ((<usize>l) << 2)), l * WIDTH * 4);
    store<i32>(lengthsPtr + ((<usize>row) << 2), <i32>(entryPtr - listsPtr));
    listsPtr += PLACES * 8;
    fromPtr += (<usize>stride) << 2;
  }
}

/** The same of rows that stand as columns, four side by side at a time. */
function listColumns(fromPtr: usize, stride: i32, rows: i32, depth: i32, listsPtr: usize, lengthsPtr: usize, ordersPtr: usize): void {
  const rowBytes = (<usize>stride) << 2;
  const step = i32x4.splat(4 * WIDTH * 4);
  let row: i32 = 0;
  for (; row + 4 <= rows; row += 4) {
    const startPtr = listsPtr + <usize>(row * PLACES * 8);
    let e0 = startPtr, e1 = startPtr + PLACES * 8, e2 = startPtr + PLACES * 16, e3 = startPtr + PLACES * 24;
    let atPtr = fromPtr + ((<usize>row) << 2);
    let offsets = i32x4(0, WIDTH * 4, WIDTH * 8, WIDTH * 12);
    let l: i32 = 0;
    for (; l + 4 <= depth; l += 4) {
      const r0 = v128.load(atPtr);
      const r1 = v128.load(atPtr + rowBytes);
      const r2 = v128.load(atPtr + rowBytes * 2);
      const r3 = v128.load(atPtr + rowBytes * 3);
      const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
      const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
      const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
      const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
      e0 = putFour(e0, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5), offsets, ordersPtr);
      e1 = putFour(e1, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7), offsets, ordersPtr);
      e2 = putFour(e2, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5), offsets, ordersPtr);
      e3 = putFour(e3, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7), offsets, ordersPtr);
      offsets = i32x4.add(offsets, step);
      atPtr += rowBytes * 4;
    }
    for (; l < depth; l++) {
      const offset = l * WIDTH * 4;
      e0 = put(e0, load<f32>(atPtr), offset);
      e1 = put(e1, load<f32>(atPtr, 4), offset);
      e2 = put(e2, load<f32>(atPtr, 8), offset);
      e3 = put(e3, load<f32>(atPtr, 12), offset);
      atPtr += rowBytes;
    }
    const lengthPtr = lengthsPtr + ((<usize>row) << 2);
    store<i32>(lengthPtr, <i32>(e0 - startPtr));
    store<i32>(lengthPtr, <i32>(e1 - startPtr) - PLACES * 8, 4);
    store<i32>(lengthPtr, <i32>(e2 - startPtr) - PLACES * 16, 8);
    store<i32>(lengthPtr, <i32>(e3 - startPtr) - PLACES * 24, 12);
  }
  for (; row < rows; row++) {
    const startPtr = listsPtr + <usize>(row * PLACES * 8);
    let entryPtr = startPtr;
    let atPtr = fromPtr + ((<usize>row) << 2);
    for (let l: i32 = 0; l < depth; l++) {
      entryPtr = put(entryPtr, load<f32>(atPtr), l * WIDTH * 4);
      atPtr += rowBytes;
    }
    store<i32>(lengthsPtr + ((<usize>row) << 2), <i32>(entryPtr - startPtr));
  }
}

/** One number, written whatever it is, and kept by moving on. */
function put(entryPtr: usize, value: f32, offset: i32): usize {
  store<f32>(entryPtr, value);
  store<i32>(entryPtr, offset, 4);
  return entryPtr + ((<usize>(value != 0)) << 3);
}

/** `columns` numbers of [depth, ·] side by side, [depth][32], zeros behind them. */
function packPanel(fromPtr: usize, stride: i32, columns: i32, depth: i32, panelPtr: usize): void {
  for (let l: i32 = 0; l < depth; l++) {
    if (columns == WIDTH) {
      for (let at: usize = 0; at < <usize>(WIDTH * 4); at += 16) v128.store(panelPtr + at, v128.load(fromPtr + at));
    } else {
      memory.fill(panelPtr, 0, WIDTH * 4);
      memory.copy(panelPtr, fromPtr, (<usize>columns) << 2);
    }
    fromPtr += (<usize>stride) << 2;
    panelPtr += WIDTH * 4;
  }
}

/** The same from rows of [n, ·]. */
function packTransposedPanel(fromPtr: usize, stride: i32, columns: i32, depth: i32, panelPtr: usize): void {
  if (columns < WIDTH) memory.fill(panelPtr, 0, (<usize>(depth * WIDTH)) << 2);
  transposeBlock(fromPtr, (<usize>stride) << 2, panelPtr, WIDTH * 4, columns, depth);
}

/**
 * 32 numbers += Σ of entries times rows of the panel. At least one entry. The exit in the middle of the loop is never taken; it
 * keeps the sums in registers (see `addWindow` in sparse-convolution.ts).
 */
function run(entryPtr: usize, endPtr: usize, panelPtr: usize, toPtr: usize): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), c2 = f32x4.splat(0), c3 = f32x4.splat(0);
  let c4 = f32x4.splat(0), c5 = f32x4.splat(0), c6 = f32x4.splat(0), c7 = f32x4.splat(0);
  do {
    const value = v128.load32_splat(entryPtr);
    const rowPtr = panelPtr + load<u32>(entryPtr, 4);
    c0 = f32x4.add(c0, f32x4.mul(value, v128.load(rowPtr)));
    c1 = f32x4.add(c1, f32x4.mul(value, v128.load(rowPtr, 16)));
    c2 = f32x4.add(c2, f32x4.mul(value, v128.load(rowPtr, 32)));
    c3 = f32x4.add(c3, f32x4.mul(value, v128.load(rowPtr, 48)));
    if (entryPtr == endPtr) break;
    c4 = f32x4.add(c4, f32x4.mul(value, v128.load(rowPtr, 64)));
    c5 = f32x4.add(c5, f32x4.mul(value, v128.load(rowPtr, 80)));
    c6 = f32x4.add(c6, f32x4.mul(value, v128.load(rowPtr, 96)));
    c7 = f32x4.add(c7, f32x4.mul(value, v128.load(rowPtr, 112)));
    entryPtr += 8;
  } while (entryPtr < endPtr);
  v128.store(toPtr, f32x4.add(v128.load(toPtr), c0));
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 16), c1), 16);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 32), c2), 32);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 48), c3), 48);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 64), c4), 64);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 80), c5), 80);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 96), c6), 96);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 112), c7), 112);
}

/** The same for fewer columns. */
function rim(listPtr: usize, endPtr: usize, panelPtr: usize, toPtr: usize, columns: i32, rimPtr: usize): void {
  memory.fill(rimPtr, 0, WIDTH * 4);
  run(listPtr, endPtr, panelPtr, rimPtr);
  for (let j: usize = 0; j < ((<usize>columns) << 2); j += 4) store<f32>(toPtr + j, load<f32>(toPtr + j) + load<f32>(rimPtr + j));
}
