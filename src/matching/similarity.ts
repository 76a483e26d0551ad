/**
 * Similarity of every unit of a group to every other, A[i, j] = Σ over pairs, tensors and axes of
 * ⟨target[i, :], source permuted on all other axes [j, :]⟩, kept up to date while other permutations change. Each term
 * (one axis of one tensor) remembers its matrix for the permutation it was last computed with, and only what has changed
 * since is multiplied again: A_now − A_before = T[:, changed] · (S[:, now] − S[:, before])ᵀ.
 */
import type { Core } from '../core/core.ts';
import { MalformedFileError, NotFiniteError } from '../core/errors.ts';
import { takeArray } from '../tensor/named-arrays.ts';
import type { NumberArray } from '../tensor/named-arrays.ts';
import type { GroupLayout, MatchingLayout, PairedTensor, TermLayout } from './layout.ts';
import type { StoredPair } from './live-slices.ts';
import { changedUnits, isIdentity } from './permutation.ts';
import { requireUnits } from './snapshot.ts';
import type { AnchorFacts, HistorySnapshot } from './snapshot.ts';
import { addChanges, addProducts, changesFlops, outer, plainFlops, productsFlops } from './term-product.ts';

/** Beyond this share of the work of a recomputation an update saves too little to be worth its rounding. */
const LARGEST_UPDATE_SHARE = 0.8;

/** What similarities are computed from: a `GradientHistory`, which holds the cache and so is not imported here. */
export interface SimilaritySource {
  readonly core: Core;
  readonly layout: MatchingLayout;
  /** Another number means other pairs: what was remembered no longer holds. */
  readonly generation: number;
  readonly pairs: number;
  /** Bytes of the budget that are left for remembered matrices. */
  readonly spareBytes: number;
  stored(tensor: PairedTensor): readonly StoredPair[];
  staticSimilarity(group: number): Float32Array | null;
}

export interface SimilarityCounts {
  /** Terms that were asked for, by how they were got. */
  readonly recomputed: number;
  readonly updated: number;
  readonly reused: number;
  /** Floating-point operations of products done, and what multiplying everything at every request would have taken. */
  readonly flops: number;
  readonly flopsWithoutReuse: number;
}

/** A term's matrix for one permutation of the other group. */
interface Anchor {
  /** [size, size], summed over the first `included` pairs. */
  readonly matrix: Float32Array;
  readonly included: number;
  readonly other: Int32Array;
  /** Updates since the matrix was computed whole: 0 when it is exact to the rounding of one product. */
  readonly updates: number;
}

/**
 * Two anchors a term. Solves that start from the identity ask for it at the beginning of every step, so its matrix is kept
 * beside the one that follows the descent: with one anchor alone each step would begin by recomputing everything.
 */
interface TermState {
  atIdentity?: Anchor;
  moving?: Anchor;
}

/** Up-to-date similarities of a history's groups, as far as the history's budget leaves room to remember them. */
export class SimilarityCache {
  readonly #history: SimilaritySource;
  #states = new Map<TermLayout, TermState>();
  #generation: number;
  #counts = { recomputed: 0, updated: 0, reused: 0, flops: 0, flopsWithoutReuse: 0 };

  constructor(history: SimilaritySource) {
    this.#history = history;
    this.#generation = history.generation;
  }

  get counts(): SimilarityCounts {
    return { ...this.#counts };
  }

  /** Bytes of the remembered matrices. */
  get bytes(): number {
    let bytes = 0;
    for (const state of this.#states.values()) for (const anchor of anchorsOf(state)) bytes += anchor.matrix.byteLength;
    return bytes;
  }

  /** Forgets matrices until they take at most so many bytes: those at the identity first, in the order of the layout. */
  shrink(bytes: number): void {
    let excess = this.bytes - bytes;
    for (const slot of ['atIdentity', 'moving'] as const) {
      for (const state of this.#states.values()) {
        if (excess <= 0) return;
        excess -= state[slot]?.matrix.byteLength ?? 0;
        delete state[slot];
      }
    }
  }

  /** How often the group's remembered terms have been updated in place since they were computed whole. */
  updatesSinceRecomputation(group: number): number {
    const states = this.#group(group).terms.flatMap((term) => this.#states.get(term) ?? []);
    return Math.max(0, ...states.flatMap(anchorsOf).map(({ updates }) => updates));
  }

  /** Computes the group's terms anew at the next request. */
  invalidate(group: number): void {
    for (const term of this.#group(group).terms) this.#states.delete(term);
  }

  /** Puts the remembered matrices into `arrays`; what they are is returned, in the order in which they are forgotten. */
  snapshot(arrays: Map<string, NumberArray>): AnchorFacts[] {
    if (this.#generation !== this.#history.generation) return [];
    return [...this.#states].flatMap(([key, state]) =>
      (['atIdentity', 'moving'] as const).flatMap((slot) => {
        const anchor = state[slot];
        if (anchor === undefined) return [];
        const group = this.#history.layout.groups.findIndex(({ terms }) => terms.includes(key));
        const term = this.#group(group).terms.indexOf(key);
        arrays.set(`anchor/${group}/${term}/${slot}/matrix`, anchor.matrix);
        arrays.set(`anchor/${group}/${term}/${slot}/other`, anchor.other);
        return [{ group, term, slot, included: anchor.included, updates: anchor.updates }];
      }),
    );
  }

  /** Remembers what `snapshot` put, and nothing else. @throws MalformedFileError */
  restore({ facts, arrays }: HistorySnapshot): void {
    this.#states.clear();
    this.#generation = this.#history.generation;
    for (const { group, term, slot, included, updates } of facts.anchors) {
      const key = this.#history.layout.groups[group]?.terms[term];
      const prefix = `anchor/${group}/${term}/${slot}`;
      if (key === undefined || !(included <= facts.pairs)) {
        throw new MalformedFileError({
          field: prefix,
          expected: `a term of the network over at most ${facts.pairs} pairs`,
          got: `${included}`,
        });
      }
      const otherSize = this.#group(key.other).size;
      const other = takeArray(arrays, `${prefix}/other`, 'i32', otherSize);
      requireUnits(`${prefix}/other`, other, otherSize);
      const state = this.#states.get(key) ?? {};
      state[slot] = { matrix: takeArray(arrays, `${prefix}/matrix`, 'f32', outer(key) * outer(key)), included, other, updates };
      this.#states.set(key, state);
    }
  }

  /**
   * Writes the group's similarity [size, size] f32 to the heap at `outPtr`.
   * @param permutations of all groups, in the layout's order; the group's own only matters where a tensor carries it twice.
   * @throws NotFiniteError where products of finite gradients overflow: −∞ would be a pair that an assignment must not make.
   */
  write(group: number, permutations: readonly Int32Array[], outPtr: number): void {
    if (this.#generation !== this.#history.generation) {
      this.#states.clear();
      this.#generation = this.#history.generation;
    }
    const { core } = this.#history;
    const { id, size, terms } = this.#group(group);
    const fixed = this.#history.staticSimilarity(group);
    const out = core.f32(outPtr, size * size);
    if (fixed === null) out.fill(0);
    else out.set(fixed);
    for (const term of terms) {
      core.scoped((scratch) => {
        const termPtr = scratch.f32(size * size, `a term of ${term.tensor.name}`);
        this.#writeTerm(term, permutations[term.other] as Int32Array, termPtr);
        core.kernels.addF32(termPtr, outPtr, size * size);
      });
    }
    // In f64 the squares of f32 cannot overflow.
    if (!Number.isFinite(core.kernels.innerF32(outPtr, outPtr, size * size))) refuseOverflow(id, core.f32(outPtr, size * size), size);
  }

  #group(group: number): GroupLayout {
    return this.#history.layout.groups[group] as GroupLayout;
  }

  /** Leaves the term's matrix at `outPtr`, by the cheapest way there is, and remembers it where there is room. */
  #writeTerm(term: TermLayout, now: Int32Array, outPtr: number): void {
    const { core, pairs } = this.#history;
    const elements = outer(term) * outer(term);
    const state = this.#states.get(term) ?? {};
    const stored = this.#history.stored(term.tensor);
    const whole = productsFlops(term, stored, now);
    this.#counts.flopsWithoutReuse += plainFlops(term, pairs);

    let flops = LARGEST_UPDATE_SHARE * whole;
    let from: Anchor | undefined;
    let changed: Int32Array = new Int32Array(0);
    for (const anchor of anchorsOf(state)) {
      const units = changedUnits(anchor.other, now);
      const update =
        changesFlops(term, stored.slice(0, anchor.included), units, now, anchor.other) +
        productsFlops(term, stored.slice(anchor.included), now);
      if (from !== undefined ? update >= flops : update > flops) continue;
      [flops, from, changed] = [update, anchor, units];
    }

    const out = core.f32(outPtr, elements);
    if (from === undefined) out.fill(0);
    else out.set(from.matrix);
    if (from !== undefined && flops === 0) {
      this.#counts.reused++;
      return;
    }
    this.#counts[from === undefined ? 'recomputed' : 'updated']++;
    this.#counts.flops += from === undefined ? whole : flops;
    const included = from?.included ?? 0;
    if (from !== undefined && changed.length > 0) addChanges(core, term, stored.slice(0, included), changed, now, from.other, outPtr);
    addProducts(core, term, stored.slice(included), now, outPtr);
    this.#remember(term, state, now, outPtr, (from?.updates ?? -1) + 1);
  }

  #remember(term: TermLayout, state: TermState, now: Int32Array, outPtr: number, updates: number): void {
    const { core, pairs, spareBytes } = this.#history;
    const elements = outer(term) * outer(term);
    const slot = isIdentity(now) ? 'atIdentity' : 'moving';
    const replaced = state[slot];
    if (replaced === undefined && 4 * elements > spareBytes) return;
    const matrix = replaced?.matrix ?? new Float32Array(elements);
    matrix.set(core.f32(outPtr, elements));
    state[slot] = { matrix, included: pairs, other: now.slice(), updates };
    this.#states.set(term, state);
  }
}

function refuseOverflow(group: string, similarity: Float32Array, size: number): never {
  const at = similarity.findIndex((value) => !Number.isFinite(value));
  throw new NotFiniteError({
    field: `similarity of ${group}[${Math.floor(at / size)}, ${at % size}]`,
    expected: 'a finite number (the gradients are so large that their products overflow)',
    got: `${similarity[at]}`,
  });
}

function anchorsOf({ moving, atIdentity }: TermState): Anchor[] {
  return [moving, atIdentity].filter((anchor) => anchor !== undefined);
}
