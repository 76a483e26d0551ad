/**
 * The gradient pairs met along the trajectory, as matching needs them. Tensors that one group alone permutes are summed
 * into that group's similarity when a pair comes (`static-sum.ts`), because no other permutation touches them; tensors that two
 * groups permute are kept, slice by slice (`stored-pairs.ts`). This file holds both to a byte budget.
 */
import { requireCore, type Core } from '../core/core.ts';
import { BudgetError } from '../core/errors.ts';
import { requireChoice, requireFlag, requireInteger } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import type { NumberArray } from '../tensor/named-arrays.ts';
import type { NamedTensors } from '../tensor/tensor.ts';
import { factoredProduct, factoredTensors } from './factored-product.ts';
import type { FactoredPair, FactoredProduct, KnownSources } from './factored-product.ts';
import { sizeOf } from './history-size.ts';
import type { HistorySize } from './history-size.ts';
import { matchingLayout } from './layout.ts';
import type { MatchingLayout, PairedTensor, StaticTensor } from './layout.ts';
import { liveSlices } from './live-slices.ts';
import type { StoredPair } from './live-slices.ts';
import { pairPieces } from './pair-pieces.ts';
import type { PairPiece } from './pair-pieces.ts';
import { pairWeights } from './pair-weights.ts';
import type { PairWeights } from './pair-weights.ts';
import { SimilarityCache } from './similarity.ts';
import type { HistorySnapshot } from './snapshot.ts';
import { StaticSum } from './static-sum.ts';
import { StoredPairs, bytesOf, codedBytesOf, codedPair } from './stored-pairs.ts';

/** What a history may hold, and how. */
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

const optionNames: OptionNames<HistoryOptions> = { budgetBytes: true, normalise: true, frozenGroups: true, coding: true };

interface WeighedProduct {
  readonly tensor: StaticTensor;
  readonly product: FactoredProduct;
  readonly weights: PairWeights;
}

const NOTHING_FACTORED: FactoredPair = { target: new Map(), source: new Map() };

/** Gradient pairs (target, source) within a budget of bytes: what `matchingSolvers` match. */
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
  readonly #stored: StoredPairs;
  readonly #mayCode: boolean;
  #pairs = 0;
  #squaredNorms = 0;
  #identityObjective = 0;
  #productFlops = 0;

  /**
   * @throws InvalidArgumentError for a bad option.
   * @throws BudgetError where not even the summed similarities fit.
   */
  constructor(core: Core, spec: PermutationSpec, options: HistoryOptions) {
    requireCore(core);
    requireOptions('GradientHistory', options, optionNames);
    this.core = core;
    this.budgetBytes = requireInteger('budgetBytes', options.budgetBytes, 0);
    this.normalise = requireFlag('normalise', options.normalise ?? false);
    this.#mayCode = requireChoice('coding', options.coding ?? 'auto', ['auto', 'exact']) === 'auto';
    this.layout = matchingLayout(spec, options.frozenGroups);
    this.#size = sizeOf(this.layout, 1);
    this.#statics = this.layout.groups.map(() => null);
    this.#stored = new StoredPairs(this.layout.paired);
    this.#requireRoom(0, 0);
    this.similarities = new SimilarityCache(this);
  }

  /** Pairs added since the last `clear`. */
  get pairs(): number {
    return this.#pairs;
  }

  /** Bytes accounted to the budget now. */
  get bytes(): number {
    return this.#size.fixedBytes + this.#stored.bytes + this.similarities.bytes;
  }

  /** What the budget has left. */
  get spareBytes(): number {
    return this.budgetBytes - this.bytes;
  }

  /** True once the budget has made the stored gradients 8-bit codes. */
  get coded(): boolean {
    return this.#stored.coded;
  }

  /**
   * No permutation's objective is further than this from that of the exact gradients (Cauchy–Schwarz); 0 while exact.
   * The true difference is far smaller, because coding errors are unrelated.
   */
  get objectiveErrorBound(): number {
    return this.#stored.objectiveErrorBound;
  }

  /**
   * Σ over pairs and permutable tensors of ‖target‖² + ‖source‖² (of the normalised tensors where `normalise`), as they
   * are stored: once coded, of the codes.
   */
  get squaredNorms(): number {
    return this.#squaredNorms + this.#stored.squaredNormsChange;
  }

  /** Σ⟨target, source⟩ with nothing permuted, of the gradients as they were added: once coded, `matchingObjective` is of the codes. */
  get identityObjective(): number {
    return this.#identityObjective;
  }

  /** Floating-point operations spent on similarity products by `add`. */
  get productFlops(): number {
    return this.#productFlops;
  }

  /** Stored gradients of a tensor that two groups permute, one entry a pair. */
  stored(tensor: PairedTensor): readonly StoredPair[] {
    return this.#stored.of(tensor);
  }

  /**
   * The summed similarity [size, size] of the tensors that this group alone permutes, or null where there are none yet: the history's own
   * numbers, to be read before the next `add`, and not to be written to.
   */
  staticSimilarity(group: number): Float32Array | null {
    return this.#statics[group]?.matrix ?? null;
  }

  /**
   * Adds one gradient pair, of which nothing is needed afterwards; `factored` holds what of it is not multiplied out. Buffers and
   * tensors that no group permutes are ignored, and so is what one group alone permutes where neither side has it.
   * @param knownSources of the caller, where factored sources come again: what is found out of this one joins them.
   * @throws InvalidArgumentError where the two disagree, a shape is not the spec's, data are not of their shape, or a tensor is
   *   given whole and in factors; NotFiniteError for NaN or infinities.
   * @throws BudgetError where the pair does not fit even coded; `requiredBytes` is the budget that would do.
   * After these nothing has been added. @throws OutOfMemoryError of the WebAssembly heap, after which the history is empty.
   */
  add(target: NamedTensors, source: NamedTensors, factored: FactoredPair = NOTHING_FACTORED, knownSources?: KnownSources): void {
    const pieces = pairPieces(this.layout, target, source, this.normalise);
    // Factors stay on the heap from their products to the sum that they join.
    this.core.scoped((scratch) => {
      const products = factoredTensors(this.layout, factored, (name) => target.has(name) || source.has(name)).map(([tensor, t, s]) => {
        const product = factoredProduct(this.core, scratch, tensor, t, s, knownSources);
        return { tensor, product, weights: pairWeights(product, this.normalise) };
      });
      this.#add(pieces, products);
    });
  }

  #add(pieces: ReadonlyMap<string, PairPiece>, products: readonly WeighedProduct[]): void {
    const entries = this.#makeRoom(this.layout.paired.map((tensor): StoredPair => {
      const { target: t, source: s, weights } = pieces.get(tensor.name) as PairPiece;
      return {
        target: liveSlices(tensor, t, weights.targetScale, weights.targetNorm),
        source: liveSlices(tensor, s, weights.sourceScale, weights.sourceNorm),
      };
    }));
    try {
      for (const tensor of this.layout.statics) {
        const piece = pieces.get(tensor.name);
        if (piece === undefined) continue;
        this.#productFlops += this.#staticSum(tensor).add({ tensor, target: piece.target, source: piece.source, ...piece.weights });
      }
      for (const { tensor, product, weights } of products) {
        const scale = weights.targetScale * weights.sourceScale;
        this.#productFlops += product.flops + this.#staticSum(tensor).addFactors(product, scale);
      }
    } catch (error) {
      // Out of heap between two tensors: a history with half a pair would be silently wrong.
      this.clear();
      throw error;
    }
    this.#stored.add(entries);
    for (const { weights } of [...pieces.values(), ...products]) {
      this.#squaredNorms += weights.squaredNorms;
      this.#identityObjective += weights.inner;
    }
    this.#pairs++;
  }

  /** Forgets all pairs (GMT gathers them anew at every step); the memory of sums serves again. */
  clear(): void {
    for (const sum of this.#statics) sum?.clear();
    this.#stored.clear();
    this.#pairs = 0;
    this.#squaredNorms = 0;
    this.#identityObjective = 0;
    this.generation++;
  }

  /** The whole history as numbers: `restore` on a history of the same spec and options goes on with the same bytes. */
  snapshot(): HistorySnapshot {
    const arrays = new Map<string, NumberArray>();
    this.#statics.forEach((sum, group) => sum?.snapshot(arrays, `static/${group}`));
    const norms = this.#stored.snapshot(arrays);
    const facts = {
      pairs: this.#pairs, coded: this.coded, squaredNorms: this.#squaredNorms, identityObjective: this.#identityObjective,
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
      this.#stored.restore(facts, arrays);
      this.#pairs = facts.pairs;
      this.#squaredNorms = facts.squaredNorms;
      this.#identityObjective = facts.identityObjective;
      this.#productFlops = facts.productFlops;
      this.similarities.restore(snapshot);
    } catch (error) {
      this.clear();
      throw error;
    }
  }

  /** The group's sum, opened with its first tensor. */
  #staticSum({ group, size }: StaticTensor): StaticSum {
    return (this.#statics[group] ??= new StaticSum(this.core, size));
  }

  /**
   * Codes and forgets what it must for another pair, which comes back as it is to be stored. @throws BudgetError, with
   * everything as it was.
   */
  #makeRoom(exact: readonly StoredPair[]): readonly StoredPair[] {
    const code = this.coded || (this.#mayCode && this.#size.fixedBytes + this.#stored.bytes + bytesOf(exact) > this.budgetBytes);
    this.#requireRoom(code ? this.#stored.codedBytes : this.#stored.bytes, code ? codedBytesOf(exact) : bytesOf(exact));
    if (code && !this.coded) {
      this.#stored.code();
      this.generation++;
    }
    const entries = code ? exact.map(codedPair) : exact;
    this.similarities.shrink(this.budgetBytes - this.#size.fixedBytes - this.#stored.bytes - bytesOf(entries));
    return entries;
  }

  /** @param bytes of another pair beside those that are stored. */
  #requireRoom(storedBytes: number, bytes: number): void {
    const { fixedBytes, bytesPerPair } = this.#size;
    const requiredBytes = fixedBytes + storedBytes + bytes;
    if (requiredBytes <= this.budgetBytes) return;
    const pairs = bytes === 0
      ? 'the summed similarities alone'
      : `${this.#pairs + 1} gradient pairs (${fixedBytes} for similarities, ${bytesPerPair} a pair without dead units)`;
    throw new BudgetError({
      field: 'budgetBytes',
      expected: `at least ${requiredBytes} bytes for ${pairs}`,
      got: `${this.budgetBytes}${bytes === 0 ? '' : `, which is enough for ${this.#pairs}`}`,
      requiredBytes,
    });
  }
}
