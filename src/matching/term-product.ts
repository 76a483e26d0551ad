/**
 * The products behind one term of a similarity: whole, or only what a change of the other permutation changes. The
 * permutation is folded into the packing of the product (index tables), so no permuted copy of a gradient is ever made,
 * and units whose gradients are all zero take no part.
 */
import type { Core, Scratch } from '../core/core.ts';
import type { TermLayout } from './layout.ts';
import { positionsOf } from './live-slices.ts';
import type { LiveSlices, StoredPair } from './live-slices.ts';

/** Elements of one operand that lie on the heap at a time (4 MiB), unless a single slice is larger. */
const CHUNK_ELEMENTS = 2 ** 20;

/** Units on the axis that is summed over. */
function inner({ side, tensor }: TermLayout): number {
  return side === 'rows' ? tensor.columns : tensor.rows;
}

/** Units of the term's own group. */
export function outer({ side, tensor }: TermLayout): number {
  return side === 'rows' ? tensor.rows : tensor.columns;
}

/** Floating-point operations of one pair's product over so many units of the other axis, dead ones not counted. */
function productFlops({ side, tensor }: TermLayout, { target, source }: StoredPair, units: number): number {
  const own = side === 'rows' ? target.rows.length * source.rows.length : target.columns.length * source.columns.length;
  return 2 * own * units * tensor.slices;
}

/** The plain size of a term, as a straightforward implementation would compute it. */
export function plainFlops(term: TermLayout, pairs: number): number {
  return 2 * outer(term) * outer(term) * inner(term) * term.tensor.slices * pairs;
}

/** Units of the inner axis that meet in one pair: positions among the target's and the source's live ones. */
interface Meeting {
  readonly target: Int32Array;
  /** −1 where the source is dead there (only in `before` and `now` of a change). */
  readonly now: Int32Array;
  readonly before?: Int32Array;
}

function otherAxis({ side }: TermLayout, slices: LiveSlices): Int32Array {
  return side === 'rows' ? slices.columns : slices.rows;
}

function ownAxis({ side }: TermLayout, slices: LiveSlices): Int32Array {
  return side === 'rows' ? slices.rows : slices.columns;
}

/** Where live units of the target meet live units of the permuted source. */
function meetings(term: TermLayout, { target, source }: StoredPair, now: Int32Array): Meeting {
  const sources = positionsOf(otherAxis(term, source), inner(term));
  const live = otherAxis(term, target);
  const at = new Int32Array(live.length);
  const to = new Int32Array(live.length);
  let count = 0;
  for (let i = 0; i < live.length; i++) {
    const position = sources[now[live[i] as number] as number] as number;
    if (position < 0) continue;
    at[count] = i;
    to[count++] = position;
  }
  return { target: at.subarray(0, count), now: to.subarray(0, count) };
}

/** The same for units whose partner has changed; those that were and are dead on either side drop out. */
function changedMeetings(
  term: TermLayout,
  { target, source }: StoredPair,
  changed: Int32Array,
  now: Int32Array,
  before: Int32Array,
): Required<Meeting> {
  const targets = positionsOf(otherAxis(term, target), inner(term));
  const sources = positionsOf(otherAxis(term, source), inner(term));
  const at = new Int32Array(changed.length);
  const to = new Int32Array(changed.length);
  const from = new Int32Array(changed.length);
  let count = 0;
  for (let i = 0; i < changed.length; i++) {
    const unit = changed[i] as number;
    const position = targets[unit] as number;
    const partner = sources[now[unit] as number] as number;
    const old = sources[before[unit] as number] as number;
    if (position < 0 || (partner < 0 && old < 0)) continue;
    at[count] = position;
    to[count] = partner;
    from[count++] = old;
  }
  return { target: at.subarray(0, count), now: to.subarray(0, count), before: from.subarray(0, count) };
}

/** Floating-point operations of `addProducts`. */
export function productsFlops(term: TermLayout, pairs: readonly StoredPair[], now: Int32Array): number {
  return pairs.reduce((sum, pair) => sum + productFlops(term, pair, meetings(term, pair, now).target.length), 0);
}

/** Floating-point operations of `addChanges`. */
export function changesFlops(
  term: TermLayout,
  pairs: readonly StoredPair[],
  changed: Int32Array,
  now: Int32Array,
  before: Int32Array,
): number {
  return pairs.reduce((sum, pair) => sum + productFlops(term, pair, changedMeetings(term, pair, changed, now, before).target.length), 0);
}

/** out [size, size] += Σ over slices and pairs of the term's product, the other axis of the source permuted by `now`. */
export function addProducts(core: Core, term: TermLayout, pairs: readonly StoredPair[], now: Int32Array, outPtr: number): void {
  for (const pair of pairs) multiplyPair(core, term, pair, meetings(term, pair, now), outPtr);
}

/** out [size, size] += Σ over slices and pairs of target[changed] · (source[now] − source[before])ᵀ along the other axis. */
export function addChanges(
  core: Core,
  term: TermLayout,
  pairs: readonly StoredPair[],
  changed: Int32Array,
  now: Int32Array,
  before: Int32Array,
  outPtr: number,
): void {
  for (const pair of pairs) multiplyPair(core, term, pair, changedMeetings(term, pair, changed, now, before), outPtr);
}

/** One pair's product of live units, added to the rows and columns of `out` that they stand for. */
function multiplyPair(core: Core, term: TermLayout, pair: StoredPair, meeting: Meeting, outPtr: number): void {
  const { target, source } = pair;
  const size = outer(term);
  const rows = ownAxis(term, target);
  const columns = ownAxis(term, source);
  const units = meeting.target.length;
  if (rows.length === 0 || columns.length === 0 || units === 0) return;
  const whole = rows.length === size && columns.length === size;
  core.scoped((scratch) => {
    const productPtr = whole ? outPtr : scratch.f32(rows.length * columns.length, 'product of live units');
    if (!whole) core.f32(productPtr, rows.length * columns.length).fill(0);
    multiplyChunks(core, scratch, term, pair, meeting, productPtr);
    if (!whole) {
      const rowsPtr = scratch.upload(rows);
      const columnsPtr = scratch.upload(columns);
      core.kernels.scatterAddF32(productPtr, rowsPtr, rows.length, columnsPtr, columns.length, outPtr, size);
    }
  });
}

/** product [live rows, live columns] += Σ over the slices of a pair, as many at a time as fit the scratch memory. */
function multiplyChunks(core: Core, scratch: Scratch, term: TermLayout, pair: StoredPair, meeting: Meeting, productPtr: number): void {
  const { target, source } = pair;
  const { slices } = term.tensor;
  const onRows = term.side === 'rows';
  const m = ownAxis(term, target).length;
  const n = ownAxis(term, source).length;
  const units = meeting.target.length;
  const targetSlice = target.data.length / slices;
  const sourceSlice = source.data.length / slices;
  const room = Math.min(slices, Math.max(1, Math.floor(CHUNK_ELEMENTS / Math.max(targetSlice, sourceSlice))));
  const targetPtr = scratch.f32(room * targetSlice, `target gradients of ${term.tensor.name}`);
  const sourcePtr = scratch.f32(room * sourceSlice, `source gradients of ${term.tensor.name}`);
  const packedPtr = scratch.bytes(core.kernels.matmulScratchBytes(m, n, room * units), 'packed panels');

  // Element (own unit, inner position) of a slice: rows lie `width` apart, columns 1.
  const targetWidth = target.columns.length;
  const sourceWidth = source.columns.length;
  const targetTable = scratch.upload(jointOffsets(room, targetSlice, meeting.target, onRows ? 1 : targetWidth), 'offsets');
  const { before } = meeting;
  const difference = before === undefined ? undefined : differenceBuffers(scratch, meeting.now, before, room * units * n);
  const sourceTable =
    difference === undefined ? scratch.upload(jointOffsets(room, sourceSlice, meeting.now, onRows ? 1 : sourceWidth), 'offsets') : 0;

  for (let first = 0; first < slices; first += room) {
    const count = Math.min(room, slices - first);
    target.data.decode(first * targetSlice, core.f32(targetPtr, count * targetSlice));
    source.data.decode(first * sourceSlice, core.f32(sourcePtr, count * sourceSlice));
    const k = count * units;
    // One slice with every unit in place is packed without a table.
    const plain = room === 1 && units === targetSlice / m;
    const a = [targetPtr, onRows ? targetWidth : 1, plain && !onRows ? targetWidth : 1, 0, 1, plain ? 0 : targetTable, 1] as const;
    if (difference === undefined) {
      core.kernels.productF32(...a, sourcePtr, 1, onRows ? sourceWidth : 1, sourceTable, 0, productPtr, n, m, n, k, 1, packedPtr);
      continue;
    }
    for (let r = 0; r < count; r++) {
      const slicePtr = sourcePtr + 4 * r * sourceSlice;
      if (onRows) {
        // [own unit, slice · changed]
        core.kernels.gatherColumnDifferencesF32(
          slicePtr,
          sourceWidth,
          difference.nowPtr,
          difference.beforePtr,
          units,
          difference.ptr + 4 * r * units,
          k,
          n,
        );
      } else {
        // [slice · changed, own unit]
        core.kernels.gatherRowDifferencesF32(
          slicePtr,
          difference.nowPtr,
          difference.beforePtr,
          units,
          difference.ptr + 4 * r * units * n,
          n,
        );
      }
    }
    core.kernels.productF32(...a, difference.ptr, onRows ? 1 : n, onRows ? k : 1, 0, 0, productPtr, n, m, n, k, 1, packedPtr);
  }
}

function differenceBuffers(
  scratch: Scratch,
  now: Int32Array,
  before: Int32Array,
  elements: number,
): { ptr: number; nowPtr: number; beforePtr: number } {
  return { ptr: scratch.f32(elements, 'differences'), nowPtr: scratch.upload(now), beforePtr: scratch.upload(before) };
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
