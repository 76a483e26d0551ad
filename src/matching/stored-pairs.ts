/**
 * Gradients of the tensors that two groups permute, kept pair by pair: exact, or all of them as 8-bit codes with a scale a row,
 * a fourth of the bytes. Never some of each, so that no similarity is made of both.
 */
import { MalformedFileError } from '../core/errors.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import { quantisedBytes, quantisedRows } from './coding.ts';
import type { PairedTensor } from './layout.ts';
import type { LiveSlices, StoredPair } from './live-slices.ts';
import { putSlices, takeSlices } from './snapshot.ts';
import type { HistoryFacts } from './snapshot.ts';

export class StoredPairs {
  readonly #tensors: readonly PairedTensor[];
  readonly #pairs: ReadonlyMap<string, StoredPair[]>;
  #coded = false;
  #bytes = 0;

  constructor(tensors: readonly PairedTensor[]) {
    this.#tensors = tensors;
    this.#pairs = new Map(tensors.map(({ name }) => [name, []]));
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** True once they are codes. */
  get coded(): boolean {
    return this.#coded;
  }

  /** What they take as codes. */
  get codedBytes(): number {
    return [...this.#pairs.values()].reduce((bytes, pairs) => bytes + codedBytesOf(pairs), 0);
  }

  /** Σ over them of what coding can change a permutation's objective by, at most; 0 while exact. */
  get objectiveErrorBound(): number {
    let bound = 0;
    for (const pairs of this.#pairs.values()) {
      for (const { target, source } of pairs) {
        const [t, s] = [target.data.errorNorm, source.data.errorNorm];
        bound += t * source.norm + s * target.norm + t * s;
      }
    }
    return bound;
  }

  /** By how much coding has changed the sum of their squared norms; 0 while exact. */
  get squaredNormsChange(): number {
    if (!this.#coded) return 0;
    let change = 0;
    for (const pairs of this.#pairs.values()) {
      for (const { target, source } of pairs) for (const { data, norm } of [target, source]) change += data.squaredNorm() - norm * norm;
    }
    return change;
  }

  /** One entry a pair. */
  of({ name }: PairedTensor): readonly StoredPair[] {
    return this.#pairs.get(name) as StoredPair[];
  }

  /** Adds one pair, an entry a tensor in their order, coded where the others are. */
  add(pair: readonly StoredPair[]): void {
    pair.forEach((entry, i) => this.#pairs.get((this.#tensors[i] as PairedTensor).name)?.push(entry));
    this.#bytes += bytesOf(pair);
  }

  /** From exact gradients to codes. */
  code(): void {
    this.#coded = true;
    this.#bytes = 0;
    for (const pairs of this.#pairs.values()) {
      pairs.forEach((pair, i) => {
        pairs[i] = codedPair(pair);
      });
      this.#bytes += bytesOf(pairs);
    }
  }

  clear(): void {
    for (const pairs of this.#pairs.values()) pairs.length = 0;
    this.#bytes = 0;
    this.#coded = false;
  }

  /** Puts them into `arrays`; their norms are returned. */
  snapshot(arrays: Map<string, NumberArray>): HistoryFacts['norms'] {
    const norms: Record<string, [number, number, number, number][]> = {};
    for (const [name, pairs] of this.#pairs) {
      norms[name] = pairs.map(({ target, source }, i) => {
        putSlices(arrays, `pair/${name}/${i}/target`, target);
        putSlices(arrays, `pair/${name}/${i}/source`, source);
        return [target.norm, target.data.errorNorm, source.norm, source.data.errorNorm];
      });
    }
    return norms;
  }

  /** Takes what `snapshot` put, where nothing is stored. @throws MalformedFileError, after which some of it may be. */
  restore(facts: HistoryFacts, arrays: NamedArrays): void {
    this.#coded = facts.coded;
    for (const tensor of this.#tensors) {
      const { name } = tensor;
      const pairs = (facts.norms[name] ?? []).map(([targetNorm, targetError, sourceNorm, sourceError], i): StoredPair => ({
        target: takeSlices(arrays, `pair/${name}/${i}/target`, tensor, targetNorm, targetError),
        source: takeSlices(arrays, `pair/${name}/${i}/source`, tensor, sourceNorm, sourceError),
      }));
      if (pairs.length !== facts.pairs)
        throw new MalformedFileError({ field: name, expected: `${facts.pairs} pairs`, got: `${pairs.length}` });
      this.#pairs.get(name)?.push(...pairs);
      this.#bytes += bytesOf(pairs);
    }
  }
}

export function bytesOf(pairs: readonly StoredPair[]): number {
  return pairs.reduce((sum, { target, source }) => sum + target.data.byteLength + source.data.byteLength, 0);
}

/** Of codes, whether they are or not. */
export function codedBytesOf(pairs: readonly StoredPair[]): number {
  const coded = ({ data, columns }: LiveSlices): number => quantisedBytes(data, columns.length);
  return pairs.reduce((sum, { target, source }) => sum + coded(target) + coded(source), 0);
}

export function codedPair({ target, source }: StoredPair): StoredPair {
  const coded = (side: LiveSlices): LiveSlices => ({ ...side, data: quantisedRows(side.data, side.columns.length) });
  return { target: coded(target), source: coded(source) };
}
