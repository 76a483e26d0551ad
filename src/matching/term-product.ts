/**
 * The products behind one term of a similarity: whole, or only what a change of the other permutation changes. The
 * permutation is folded into the packing of the product (index tables), so no permuted copy of a gradient is ever made.
 */
import type { Core, Scratch } from '../core/core.ts';
import type { StoredPair } from './history.ts';
import type { PairedTensor, TermLayout } from './layout.ts';
import { identity } from './permutation.ts';

/** Elements of one operand that lie on the heap at a time (4 MiB), unless a single slice is larger. */
const CHUNK_ELEMENTS = 2 ** 20;

/** Units on the axis that is summed over. */
export function inner({ side, tensor }: TermLayout): number {
  return side === 'rows' ? tensor.columns : tensor.rows;
}

/** Units of the term's own group. */
export function outer({ side, tensor }: TermLayout): number {
  return side === 'rows' ? tensor.rows : tensor.columns;
}

/** Floating-point operations of a product over so many units of the other axis. */
export function termFlops(term: TermLayout, pairs: number, units: number): number {
  return 2 * outer(term) * outer(term) * units * term.tensor.slices * pairs;
}

/** Both operands of some slices, uploaded: `count` matrices [rows, columns] one behind the other. */
interface Chunk {
  readonly targetPtr: number;
  readonly sourcePtr: number;
  readonly count: number;
}

/** Walks over all slices of all pairs in an order that never changes, in chunks that fit the scratch memory. */
function forEachChunk(
  core: Core,
  scratch: Scratch,
  tensor: PairedTensor,
  pairs: readonly StoredPair[],
  body: (chunk: Chunk) => void,
): void {
  const sliceElements = tensor.rows * tensor.columns;
  const total = pairs.length * tensor.slices;
  const room = Math.min(total, chunkSlices(tensor));
  const targetPtr = scratch.f32(room * sliceElements, `target gradients of ${tensor.name}`);
  const sourcePtr = scratch.f32(room * sliceElements, `source gradients of ${tensor.name}`);
  for (let first = 0; first < total; first += room) {
    const count = Math.min(room, total - first);
    for (let done = 0; done < count; ) {
      const pair = pairs[Math.floor((first + done) / tensor.slices)] as StoredPair;
      const slice = (first + done) % tensor.slices;
      const run = Math.min(count - done, tensor.slices - slice);
      const [from, to] = [slice * sliceElements, (slice + run) * sliceElements];
      core.f32(targetPtr + 4 * done * sliceElements, run * sliceElements).set(pair.target.subarray(from, to));
      core.f32(sourcePtr + 4 * done * sliceElements, run * sliceElements).set(pair.source.subarray(from, to));
      done += run;
    }
    body({ targetPtr, sourcePtr, count });
  }
}

function chunkSlices({ rows, columns }: PairedTensor): number {
  return Math.max(1, Math.floor(CHUNK_ELEMENTS / (rows * columns)));
}

/** out += Σ over slices of the term's product, the other axis of the source permuted while the product packs it. */
export function addProducts(core: Core, term: TermLayout, pairs: readonly StoredPair[], other: Int32Array, outPtr: number): void {
  const { tensor, side } = term;
  const { rows, columns } = tensor;
  if (pairs.length === 0) return;
  const room = Math.min(pairs.length * tensor.slices, chunkSlices(tensor));
  core.scoped((scratch) => {
    const units = inner(term);
    const size = outer(term);
    // Joint inner axis of all slices of a chunk: unit u of slice r.
    const unit = side === 'rows' ? 1 : columns;
    const plainPtr = scratch.upload(jointOffsets(room, rows * columns, identity(units), unit), 'offsets');
    const permutedPtr = scratch.upload(jointOffsets(room, rows * columns, other, unit), 'offsets');
    const packedPtr = scratch.bytes(core.kernels.matmulScratchBytes(size, size, room * units), 'packed panels');
    const across = side === 'rows' ? columns : 1;
    forEachChunk(core, scratch, tensor, pairs, ({ targetPtr, sourcePtr, count }) => {
      // From the columns' side, and within one slice, the target's inner axis is plain: packed without a table.
      const plain = side === 'columns' || room === 1;
      core.kernels.productF32(
        targetPtr, across, side === 'columns' ? columns : 1, 0, 1, plain ? 0 : plainPtr, 1,
        sourcePtr, 1, across, permutedPtr, 0,
        outPtr, size, size, size, count * units, 1, packedPtr,
      );
    });
  });
}

/** out += Σ over slices of target[changed] · (source[now] − source[before])ᵀ along the other axis. */
export function addChanges(
  core: Core,
  term: TermLayout,
  pairs: readonly StoredPair[],
  changed: Int32Array,
  now: Int32Array,
  before: Int32Array,
  outPtr: number,
): void {
  const { tensor, side } = term;
  const { rows, columns } = tensor;
  const room = Math.min(pairs.length * tensor.slices, chunkSlices(tensor));
  const size = outer(term);
  const units = changed.length;
  core.scoped((scratch) => {
    const nowPtr = scratch.upload(changed.map((unit) => now[unit] as number), 'changed units');
    const beforePtr = scratch.upload(changed.map((unit) => before[unit] as number), 'changed units');
    const differencePtr = scratch.f32(room * units * size, 'differences');
    const unit = side === 'rows' ? 1 : columns;
    const targetPtrs = scratch.upload(jointOffsets(room, rows * columns, changed, unit), 'offsets');
    const packedPtr = scratch.bytes(core.kernels.matmulScratchBytes(size, size, room * units), 'packed panels');
    forEachChunk(core, scratch, tensor, pairs, ({ targetPtr, sourcePtr, count }) => {
      const k = count * units;
      for (let r = 0; r < count; r++) {
        const slicePtr = sourcePtr + 4 * r * rows * columns;
        if (side === 'rows') {
          // differences [rows, slice · changed]
          core.kernels.gatherColumnDifferencesF32(slicePtr, columns, nowPtr, beforePtr, units, differencePtr + 4 * r * units, k, rows);
        } else {
          // differences [slice · changed, columns]
          core.kernels.gatherRowDifferencesF32(slicePtr, nowPtr, beforePtr, units, differencePtr + 4 * r * units * columns, columns);
        }
      }
      core.kernels.productF32(
        targetPtr, side === 'rows' ? columns : 1, 1, 0, 1, targetPtrs, 1,
        differencePtr, side === 'rows' ? 1 : columns, side === 'rows' ? k : 1, 0, 0,
        outPtr, size, size, size, k, 1, packedPtr,
      );
    });
  });
}

/** Offset of unit u of slice r, for all r and then u. */
function jointOffsets(slices: number, sliceElements: number, units: Int32Array, stride: number): Int32Array {
  const offsets = new Int32Array(slices * units.length);
  let at = 0;
  for (let r = 0; r < slices; r++) {
    for (let u = 0; u < units.length; u++) offsets[at++] = r * sliceElements + (units[u] as number) * stride;
  }
  return offsets;
}
