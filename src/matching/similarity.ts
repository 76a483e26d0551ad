/**
 * Similarity of every unit of a group to every other, A[i, j] = Σ over pairs, tensors and axes of
 * ⟨target[i, :], source permuted on all other axes [j, :]⟩, kept up to date while other permutations change: only the
 * rows or columns that a permutation moved are multiplied again, because
 * A_now − A_before = T[:, changed] · (S[:, now] − S[:, before])ᵀ.
 */
import type { Core, Scratch } from '../core/core.ts';
import type { GradientHistory, StoredPair } from './history.ts';
import type { GroupLayout, PairedTensor, TermLayout } from './layout.ts';
import { changedUnits, identity } from './permutation.ts';

/** Elements of one operand that lie on the heap at a time (4 MiB), unless a single slice is larger. */
const CHUNK_ELEMENTS = 2 ** 20;
/** Beyond this share of the work of a recomputation an update saves too little to be worth its rounding. */
const LARGEST_UPDATE_SHARE = 0.8;

export interface SimilarityCounts {
  /** Times a group's similarity was asked for, and how it was got. */
  readonly requested: number;
  readonly recomputed: number;
  readonly updated: number;
  readonly reused: number;
  /** Floating-point operations of products done, and what recomputing at every request would have taken. */
  readonly flops: number;
  readonly flopsWithoutReuse: number;
}

interface GroupState {
  /** Sum of the group's terms [size, size] as of `included` pairs and the permutations in `others`. */
  readonly terms: Float32Array;
  included: number;
  /** For each term, the permutation of the other group that `terms` was computed with. */
  others: Int32Array[];
  /** Updates since the last recomputation: 0 when the matrix is exact to the rounding of one product. */
  updates: number;
}

/** Up-to-date similarities of a history's groups. Holds one matrix for each group that has paired tensors. */
export class SimilarityCache {
  readonly #history: GradientHistory;
  readonly #states = new Map<number, GroupState>();
  #generation: number;
  #counts = { requested: 0, recomputed: 0, updated: 0, reused: 0, flops: 0, flopsWithoutReuse: 0 };

  constructor(history: GradientHistory) {
    this.#history = history;
    this.#generation = history.generation;
  }

  get counts(): SimilarityCounts {
    return { ...this.#counts };
  }

  /** Whether the matrix of this group has been updated in place since it was last computed whole. */
  updatesSinceRecomputation(group: number): number {
    return this.#states.get(group)?.updates ?? 0;
  }

  /** Computes the group's matrix anew at the next request. */
  invalidate(group: number): void {
    this.#states.delete(group);
  }

  /** True when nothing the group's similarity depends on has changed since `write` last made it. */
  isCurrent(group: number, permutations: readonly Int32Array[]): boolean {
    this.#dropStale();
    const { terms } = this.#group(group);
    if (terms.length === 0) return false;
    const state = this.#states.get(group);
    if (state === undefined || state.included !== this.#history.pairs) return false;
    return terms.every((term, i) => sameElements(state.others[i] as Int32Array, permutations[term.other] as Int32Array));
  }

  /**
   * Writes the group's similarity [size, size] f32 to the heap at `outPtr`.
   * @param permutations of all groups, in the layout's order; the group's own does not matter unless a tensor carries it twice.
   */
  write(group: number, permutations: readonly Int32Array[], outPtr: number): void {
    this.#dropStale();
    const { core } = this.#history;
    const { size, terms } = this.#group(group);
    this.#counts.requested++;
    const fixed = this.#history.staticSimilarity(group);
    if (terms.length === 0) {
      core.f32(outPtr, size * size).set(fixed ?? new Float32Array(size * size));
      return;
    }
    this.#refresh(group, permutations, outPtr);
    if (fixed !== null) {
      const out = core.f32(outPtr, size * size);
      for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) + (fixed[i] as number);
    }
  }

  #group(group: number): GroupLayout {
    return this.#history.layout.groups[group] as GroupLayout;
  }

  #dropStale(): void {
    if (this.#generation === this.#history.generation) return;
    this.#states.clear();
    this.#generation = this.#history.generation;
  }

  /** Leaves the sum of the group's terms at `outPtr` and in its state. */
  #refresh(group: number, permutations: readonly Int32Array[], outPtr: number): void {
    const { core, pairs } = this.#history;
    const { size, terms } = this.#group(group);
    let state = this.#states.get(group);
    const whole = terms.reduce((sum, term) => sum + termFlops(term, pairs, inner(term)), 0);
    this.#counts.flopsWithoutReuse += whole;

    const changed = terms.map((term, i) =>
      state === undefined ? new Int32Array(0) : changedUnits(state.others[i] as Int32Array, permutations[term.other] as Int32Array),
    );
    const included = state?.included ?? 0;
    const update = terms.reduce(
      (sum, term, i) =>
        sum + termFlops(term, included, (changed[i] as Int32Array).length) + termFlops(term, pairs - included, inner(term)),
      0,
    );
    const recompute = state === undefined || included === 0 || update > LARGEST_UPDATE_SHARE * whole;
    if (state === undefined) {
      state = { terms: new Float32Array(size * size), included: 0, others: [], updates: 0 };
      this.#states.set(group, state);
    }
    if (!recompute && update === 0) {
      this.#counts.reused++;
      core.f32(outPtr, size * size).set(state.terms);
      return;
    }
    if (recompute) core.f32(outPtr, size * size).fill(0);
    else core.f32(outPtr, size * size).set(state.terms);
    this.#counts[recompute ? 'recomputed' : 'updated']++;
    this.#counts.flops += recompute ? whole : update;
    for (const [i, term] of terms.entries()) {
      const now = permutations[term.other] as Int32Array;
      const stored = this.#history.stored(term.tensor);
      if (recompute) {
        addProducts(core, term, stored, now, outPtr);
      } else {
        const units = changed[i] as Int32Array;
        if (units.length > 0) addChanges(core, term, stored.slice(0, included), units, now, state.others[i] as Int32Array, outPtr);
        addProducts(core, term, stored.slice(included), now, outPtr);
      }
    }
    state.terms.set(core.f32(outPtr, size * size));
    state.included = pairs;
    state.others = terms.map((term) => (permutations[term.other] as Int32Array).slice());
    state.updates = recompute ? 0 : state.updates + 1;
  }
}

/** Units on the axis that is summed over. */
function inner({ side, tensor }: TermLayout): number {
  return side === 'rows' ? tensor.columns : tensor.rows;
}

function outer({ side, tensor }: TermLayout): number {
  return side === 'rows' ? tensor.rows : tensor.columns;
}

function termFlops(term: TermLayout, pairs: number, units: number): number {
  return 2 * outer(term) * outer(term) * units * term.tensor.slices * pairs;
}

function sameElements(a: Int32Array, b: Int32Array): boolean {
  if (a === b) return true;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
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
function addProducts(core: Core, term: TermLayout, pairs: readonly StoredPair[], other: Int32Array, outPtr: number): void {
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
function addChanges(
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
