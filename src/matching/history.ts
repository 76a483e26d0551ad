/**
 * The gradient pairs met along the trajectory, as matching needs them. Tensors that one group alone permutes are summed
 * into that group's similarity when a pair comes, because no other permutation touches them; tensors that two groups
 * permute are kept, slice by slice, under a byte budget.
 */
import type { Core } from '../core/core.ts';
import { BudgetError, InvalidArgumentError, MalformedFileError, requireChoice, requireInteger } from '../core/errors.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { getTensor, requireFinite, requireSameLayout, requireWhole, sameShape } from '../tensor/tensor.ts';
import type { NumberArray } from '../tensor/named-arrays.ts';
import type { NamedTensors } from '../tensor/tensor.ts';
import { selectPiece } from './arrangement.ts';
import { quantisedBytes, quantisedRows } from './coding.ts';
import { factoredProduct, factoredTensors } from './factored-product.ts';
import type { FactoredPair, KnownSources } from './factored-product.ts';
import { liveSlices, matchingLayout } from './layout.ts';
import type { LiveSlices, MatchingLayout, PairedTensor, StoredPair } from './layout.ts';
import { SimilarityCache } from './similarity.ts';
import { putSlices, takeSlices } from './snapshot.ts';
import type { HistoryFacts, HistorySnapshot } from './snapshot.ts';
import { StaticSum, staticSumBytes } from './static-sum.ts';

export interface HistoryOptions {
  /**
   * Bytes that the history may hold in JavaScript memory: stored gradients and summed similarities; what is left of it
   * remembers similarities between laps and steps.
   */
  readonly budgetBytes: number;
  /**
   * Divide each pair's tensor by the product of its two Frobenius norms where that is above 1e-12. Default false. Queries, keys
   * and values in one weight count as a tensor each, as if they were stored so.
   */
  readonly normalise?: boolean;
  /** Groups that must stay where they are. */
  readonly frozenGroups?: readonly string[];
  /**
   * `auto` (default): exact while the budget lasts, then every stored gradient as 8-bit codes with a scale a row, a
   * fourth of the bytes; `exact`: a BudgetError instead.
   */
  readonly coding?: 'auto' | 'exact';
}

/** What a history of `pairs` gradient pairs takes at most; rows and columns of zeros are not stored. */
export interface HistorySize {
  /** Independent of the number of pairs: the summed similarity matrices. */
  readonly fixedBytes: number;
  readonly bytesPerPair: number;
  /** When stored as 8-bit codes. */
  readonly codedBytesPerPair: number;
  readonly totalBytes: number;
}

const NOTHING_FACTORED: FactoredPair = { target: new Map(), source: new Map() };

/** Below this product of norms, normalising would divide noise by noise; the official code's bound. */
const SMALLEST_NORM_PRODUCT = 1e-12;

/** Bytes of a history, before anything is computed. @throws as `matchingLayout` does. */
export function historySize(
  spec: PermutationSpec,
  pairs: number,
  frozenGroups: readonly string[] = [],
): HistorySize {
  return sizeOf(matchingLayout(spec, frozenGroups), pairs);
}

function sizeOf(layout: MatchingLayout, pairs: number): HistorySize {
  const summed = new Set(layout.statics.map(({ group }) => group));
  let fixedBytes = 0;
  layout.groups.forEach(({ size }, index) => {
    if (summed.has(index)) fixedBytes += staticSumBytes(size);
  });
  // Target and source, 4 bytes each.
  const bytesPerPair = layout.paired.reduce((bytes, { elements }) => bytes + 8 * elements, 0);
  const codedBytesPerPair = layout.paired.reduce((bytes, { elements, rows, slices }) => bytes + 2 * (elements + 4 * rows * slices), 0);
  return { fixedBytes, bytesPerPair, codedBytesPerPair, totalBytes: fixedBytes + pairs * bytesPerPair };
}

export class GradientHistory {
  readonly core: Core;
  readonly layout: MatchingLayout;
  readonly normalise: boolean;
  readonly budgetBytes: number;
  /** What was derived from the pairs and can be brought up to date cheaply. */
  readonly similarities: SimilarityCache;
  /** Changes whenever stored pairs are taken away or coded, so that what was derived from them is known to be stale. */
  generation = 0;
  readonly #size: HistorySize;
  readonly #statics: (StaticSum | null)[];
  readonly #stored: ReadonlyMap<string, StoredPair[]>;
  readonly #mayCode: boolean;
  readonly #knownSources: KnownSources = new WeakMap();
  #coded = false;
  #pairs = 0;
  #storedBytes = 0;
  #squaredNorms = 0;
  #identityObjective = 0;
  #productFlops = 0;

  /**
   * @throws InvalidArgumentError for a bad option, UnsupportedError for a tensor with three permuted axes.
   * @throws BudgetError where not even the summed similarities fit.
   */
  constructor(core: Core, spec: PermutationSpec, options: HistoryOptions) {
    this.core = core;
    this.budgetBytes = requireInteger('budgetBytes', options.budgetBytes, 0);
    this.normalise = options.normalise ?? false;
    this.#mayCode = requireChoice('coding', options.coding ?? 'auto', ['auto', 'exact']) === 'auto';
    this.layout = matchingLayout(spec, options.frozenGroups);
    this.#size = sizeOf(this.layout, 1);
    this.#statics = this.layout.groups.map(() => null);
    this.#stored = new Map(this.layout.paired.map(({ name }) => [name, []]));
    this.#requireRoom(0, 0);
    this.similarities = new SimilarityCache(this);
  }

  /** Pairs added since the last `clear`. */
  get pairs(): number {
    return this.#pairs;
  }

  /** Bytes accounted to the budget now. */
  get bytes(): number {
    return this.#size.fixedBytes + this.#storedBytes + this.similarities.bytes;
  }

  /** What the budget has left. */
  get spareBytes(): number {
    return this.budgetBytes - this.bytes;
  }

  /** How many pairs the budget holds at least; Infinity where every tensor is summed as it comes. */
  get capacity(): number {
    if (this.#size.bytesPerPair === 0) return Infinity;
    const room = this.budgetBytes - this.#size.fixedBytes;
    if (this.#mayCode) return Math.floor(room / this.#size.codedBytesPerPair);
    return this.#pairs + Math.floor((room - this.#storedBytes) / this.#size.bytesPerPair);
  }

  /** True once the budget has made the stored gradients 8-bit codes. */
  get coded(): boolean {
    return this.#coded;
  }

  /**
   * No permutation's objective is further than this from that of the exact gradients (Cauchy–Schwarz); 0 while exact.
   * The true difference is far smaller, because coding errors are unrelated.
   */
  get objectiveErrorBound(): number {
    let bound = 0;
    for (const pairs of this.#stored.values()) {
      for (const { target, source } of pairs) {
        const [t, s] = [target.data.errorNorm, source.data.errorNorm];
        bound += t * source.norm + s * target.norm + t * s;
      }
    }
    return bound;
  }

  /** Σ over pairs and permutable tensors of ‖target‖² + ‖source‖² (of the normalised tensors where `normalise`). */
  get squaredNorms(): number {
    return this.#squaredNorms;
  }

  /** Σ⟨target, source⟩ with nothing permuted. */
  get identityObjective(): number {
    return this.#identityObjective;
  }

  /** Floating-point operations spent on similarity products by `add`. */
  get productFlops(): number {
    return this.#productFlops;
  }

  /** Stored gradients of a tensor that two groups permute, one entry a pair. */
  stored(tensor: PairedTensor): readonly StoredPair[] {
    return this.#stored.get(tensor.name) as StoredPair[];
  }

  /** The summed similarity [size, size] of the tensors that this group alone permutes, or null where there are none yet. */
  staticSimilarity(group: number): Float32Array | null {
    return this.#statics[group]?.matrix ?? null;
  }

  /**
   * Adds one gradient pair; `factored` holds what of it is not multiplied out. Tensors that no group permutes are ignored, and so are
   * tensors of the spec that neither side has (buffers have no gradients).
   * @throws InvalidArgumentError where the two disagree, a shape is not the spec's or data are not of their shape; NotFiniteError for NaN or infinities.
   * @throws BudgetError where the pair does not fit even coded; `requiredBytes` is the budget that would do.
   * After these nothing has been added. @throws OutOfMemoryError of the WebAssembly heap, after which the history is empty.
   */
  add(target: NamedTensors, source: NamedTensors, factored: FactoredPair = NOTHING_FACTORED): void {
    requireSameLayout('source', target, source);
    this.#requireKnownShapes(target);
    for (const [role, tensors] of [['target', target], ['source', source]] as const) requireWhole(role, tensors);
    const sides = new Map(
      [...this.layout.statics, ...this.layout.paired].flatMap(({ name, tensor, selection }) => {
        const t = target.get(tensor)?.data;
        if (t === undefined) return [];
        return [[name, { target: selectPiece(selection, t), source: selectPiece(selection, getTensor(source, tensor).data) }]];
      }),
    );
    const scales = new Map([...sides].map(([name, side]) => [name, weigh(side.target, side.source, this.normalise)]));
    // A sum of squares of f32 in f64 is finite exactly when every element is: the elements are only looked at to name one.
    if (![...scales.values()].every(({ squaredNorms }) => Number.isFinite(squaredNorms))) {
      requireFinite('target', target);
      requireFinite('source', source);
    }
    const products = factoredTensors(this.layout, factored).map(([tensor, t, s]) => {
      const product = factoredProduct(this.core, tensor, t, s, this.#knownSources);
      return { tensor, product, weights: weightsOf(product, this.normalise) };
    });
    const exact = this.layout.paired.map((tensor): StoredPair => {
      const { targetScale, sourceScale, targetNorm, sourceNorm } = scales.get(tensor.name) as Weights;
      const side = sides.get(tensor.name) as { target: Float32Array; source: Float32Array };
      return {
        target: liveSlices(tensor, side.target, targetScale, targetNorm),
        source: liveSlices(tensor, side.source, sourceScale, sourceNorm),
      };
    });
    const code = this.#coded || (this.#mayCode && this.#size.fixedBytes + this.#storedBytes + bytesOf(exact) > this.budgetBytes);
    // Before anything is coded: a pair that is refused leaves the others as they were.
    this.#requireRoom(code ? this.#codedBytes() : this.#storedBytes, code ? codedBytesOf(exact) : bytesOf(exact));
    if (code && !this.#coded) this.#code();
    const entries = code ? exact.map(codedPair) : exact;
    const bytes = bytesOf(entries);
    this.similarities.shrink(this.budgetBytes - this.#size.fixedBytes - this.#storedBytes - bytes);
    try {
      for (const tensor of this.layout.statics) {
        const weights = scales.get(tensor.name);
        const side = sides.get(tensor.name);
        if (weights === undefined || side === undefined) continue;
        const sum = (this.#statics[tensor.group] ??= new StaticSum(this.core, tensor.size));
        this.#productFlops += sum.add({ ...weights, tensor, ...side });
      }
      for (const { tensor, product, weights } of products) {
        const sum = (this.#statics[tensor.group] ??= new StaticSum(this.core, tensor.size));
        this.#productFlops += product.flops + sum.addFactors(product.left, product.right, weights.targetScale * weights.sourceScale);
      }
    } catch (error) {
      // Out of heap between two tensors: a history with half a pair would be silently wrong.
      this.clear();
      throw error;
    }
    entries.forEach((entry, i) => this.#stored.get((this.layout.paired[i] as PairedTensor).name)?.push(entry));
    for (const { squaredNorms, inner } of [...scales.values(), ...products.map(({ weights }) => weights)]) {
      this.#squaredNorms += squaredNorms;
      this.#identityObjective += inner;
    }
    this.#storedBytes += bytes;
    this.#pairs++;
  }

  /** Forgets all pairs (GMT gathers them anew at every step). */
  clear(): void {
    this.#statics.fill(null);
    for (const pairs of this.#stored.values()) pairs.length = 0;
    this.#pairs = 0;
    this.#storedBytes = 0;
    this.#coded = false;
    this.#squaredNorms = 0;
    this.#identityObjective = 0;
    this.generation++;
  }

  /** The whole history as numbers: `restore` on a history of the same spec and options goes on with the same bytes. */
  snapshot(): HistorySnapshot {
    const arrays = new Map<string, NumberArray>();
    this.#statics.forEach((sum, group) => sum?.snapshot(arrays, `static/${group}`));
    const norms: Record<string, [number, number, number, number][]> = {};
    for (const [name, pairs] of this.#stored) {
      norms[name] = pairs.map(({ target, source }, i) => {
        putSlices(arrays, `pair/${name}/${i}/target`, target);
        putSlices(arrays, `pair/${name}/${i}/source`, source);
        return [target.norm, target.data.errorNorm, source.norm, source.data.errorNorm];
      });
    }
    const facts: HistoryFacts = {
      pairs: this.#pairs, coded: this.#coded, squaredNorms: this.#squaredNorms, identityObjective: this.#identityObjective,
      productFlops: this.#productFlops, norms, anchors: this.similarities.snapshot(arrays),
    };
    return { facts, arrays };
  }

  /**
   * Becomes what `snapshot` was taken of. The arrays are the history's from then on.
   * @throws MalformedFileError where they do not fit the spec; the history is empty then.
   */
  restore(snapshot: HistorySnapshot): void {
    const { facts, arrays } = snapshot;
    this.clear();
    try {
      this.layout.groups.forEach(({ size }, group) => {
        this.#statics[group] = StaticSum.restored(this.core, size, arrays, `static/${group}`);
      });
      for (const tensor of this.layout.paired) {
        const pairs = (facts.norms[tensor.name] ?? []).map(([targetNorm, targetError, sourceNorm, sourceError], i): StoredPair => ({
          target: takeSlices(arrays, `pair/${tensor.name}/${i}/target`, tensor, targetNorm, targetError),
          source: takeSlices(arrays, `pair/${tensor.name}/${i}/source`, tensor, sourceNorm, sourceError),
        }));
        if (pairs.length !== facts.pairs) throw new MalformedFileError({ field: tensor.name, expected: `${facts.pairs} pairs`, got: `${pairs.length}` });
        this.#stored.get(tensor.name)?.push(...pairs);
        this.#storedBytes += bytesOf(pairs);
      }
      this.#pairs = facts.pairs;
      this.#coded = facts.coded;
      this.#squaredNorms = facts.squaredNorms;
      this.#identityObjective = facts.identityObjective;
      this.#productFlops = facts.productFlops;
      this.similarities.restore(snapshot);
    } catch (error) {
      this.clear();
      throw error;
    }
  }

  /** From exact gradients to codes, all at once, so that no similarity is made of both. */
  #code(): void {
    this.#coded = true;
    this.#storedBytes = 0;
    for (const pairs of this.#stored.values()) {
      pairs.forEach((pair, i) => {
        pairs[i] = codedPair(pair);
      });
      this.#storedBytes += bytesOf(pairs);
    }
    this.generation++;
  }

  #requireKnownShapes(tensors: NamedTensors): void {
    for (const [name, { shape }] of tensors) {
      const known = this.layout.spec.tensors.get(name);
      if (known === undefined || !sameShape(known.shape, shape)) {
        throw new InvalidArgumentError({
          field: name,
          expected: known === undefined ? 'a tensor of the permutation spec' : `shape [${known.shape.join(', ')}]`,
          got: known === undefined ? 'one it lacks' : `[${shape.join(', ')}]`,
        });
      }
    }
    for (const { tensor } of this.layout.paired) getTensor(tensors, tensor);
  }

  /** What the stored gradients take as codes. */
  #codedBytes(): number {
    return [...this.#stored.values()].reduce((bytes, pairs) => bytes + codedBytesOf(pairs), 0);
  }

  /** @param bytes of another pair beside those that are stored. */
  #requireRoom(storedBytes: number, bytes: number): void {
    const requiredBytes = this.#size.fixedBytes + storedBytes + bytes;
    if (requiredBytes <= this.budgetBytes) return;
    const pairs = bytes === 0 ? 'the summed similarities alone' : `${this.#pairs + 1} gradient pairs (${this.#size.fixedBytes} for similarities, ${this.#size.bytesPerPair} a pair without dead units)`;
    throw new BudgetError({
      field: 'budgetBytes',
      expected: `at least ${requiredBytes} bytes for ${pairs}`,
      got: `${this.budgetBytes}${bytes === 0 ? '' : `, which is enough for ${this.#pairs}`}`,
      requiredBytes,
    });
  }
}

/** What both sides of a pair's tensor are multiplied with, and what they then add to the sums of the history. */
interface Weights {
  readonly targetScale: number;
  readonly sourceScale: number;
  /** After scaling. */
  readonly targetNorm: number;
  readonly sourceNorm: number;
  /** ‖target‖² + ‖source‖² */
  readonly squaredNorms: number;
  /** ⟨target, source⟩ */
  readonly inner: number;
}

function weigh(target: Float32Array, source: Float32Array, normalise: boolean): Weights {
  let tt = 0;
  let ss = 0;
  let ts = 0;
  for (let i = 0; i < target.length; i++) {
    const t = target[i] as number;
    const s = source[i] as number;
    tt += t * t;
    ss += s * s;
    ts += t * s;
  }
  return weightsOf({ tt, ss, ts }, normalise);
}

function weightsOf({ tt, ss, ts }: { readonly tt: number; readonly ss: number; readonly ts: number }, normalise: boolean): Weights {
  const divide = normalise && Math.sqrt(tt) * Math.sqrt(ss) > SMALLEST_NORM_PRODUCT;
  const targetScale = divide ? 1 / Math.sqrt(tt) : 1;
  const sourceScale = divide ? 1 / Math.sqrt(ss) : 1;
  return {
    targetScale,
    sourceScale,
    targetNorm: Math.sqrt(tt) * targetScale,
    sourceNorm: Math.sqrt(ss) * sourceScale,
    squaredNorms: tt * targetScale * targetScale + ss * sourceScale * sourceScale,
    inner: ts * targetScale * sourceScale,
  };
}

function bytesOf(pairs: readonly StoredPair[]): number {
  return pairs.reduce((sum, { target, source }) => sum + target.data.byteLength + source.data.byteLength, 0);
}

/** Of codes, whether they are or not. */
function codedBytesOf(pairs: readonly StoredPair[]): number {
  const coded = ({ data, columns }: LiveSlices): number => quantisedBytes(data, columns.length);
  return pairs.reduce((sum, { target, source }) => sum + coded(target) + coded(source), 0);
}

function codedPair({ target, source }: StoredPair): StoredPair {
  const coded = (side: LiveSlices): LiveSlices => ({ ...side, data: quantisedRows(side.data, side.columns.length) });
  return { target: coded(target), source: coded(source) };
}
