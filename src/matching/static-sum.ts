/**
 * The part of a group's similarity that no other permutation touches, Σ over pairs and tensors of T · Sᵀ with T and S
 * [size, rest]. Thin products (a bias, a classifier of ten classes, a gradient of low rank) are gathered as factors and
 * multiplied together, because adding one to a matrix of 64 MB costs more than the product itself.
 */
import type { Core } from '../core/core.ts';
import { matmulLeavingOutZeros } from '../core/sparse-matmul.ts';
import { takeArray } from '../tensor/named-arrays.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import { liveOffsets, liveUnits } from './layout.ts';
import type { StaticTensor } from './layout.ts';
import { factorise, largestUsefulRank } from './row-space.ts';

/** Products with so few terms are always gathered. */
const THIN = 64;

/** One pair's gradients of a tensor, and what each side is multiplied with. */
export interface StaticPair {
  readonly tensor: StaticTensor;
  readonly target: Float32Array;
  readonly source: Float32Array;
  readonly targetScale: number;
  readonly sourceScale: number;
}

/** Both sides of a product, inner axis first: left [rank, size], right [rank, size]. */
interface Factors {
  readonly left: Float32Array;
  readonly right: Float32Array;
}

/** Terms gathered before they are multiplied in. */
function mostGathered(size: number): number {
  return Math.max(THIN, size >> 3);
}

/** Bytes that a sum over a group of so many units takes at most. */
export function staticSumBytes(size: number): number {
  return 4 * size * (size + 2 * mostGathered(size));
}

export class StaticSum {
  readonly #core: Core;
  readonly #size: number;
  readonly #matrix: Float32Array;
  /** Nothing has been written to the matrix: its pages, and reading them, are spared. */
  #isZero = true;
  #gathered: Factors[] = [];
  #gatheredTerms = 0;

  constructor(core: Core, size: number) {
    this.#core = core;
    this.#size = size;
    this.#matrix = new Float32Array(size * size);
  }

  /** The sum of everything added, [size, size]. It changes with the next `add`. */
  get matrix(): Float32Array {
    this.#multiply();
    return this.#matrix;
  }

  /** Adds T · Sᵀ of one pair and tensor. @returns floating-point operations, those still to be done included. */
  add(pair: StaticPair): number {
    const { target, source, tensor } = pair;
    const offsets = liveOffsets(tensor, target, source);
    if (offsets.length === 0) return 0;
    if (offsets.length <= THIN) return this.#gather({ left: alongRest(pair.target, pair.targetScale, tensor, offsets), right: alongRest(pair.source, pair.sourceScale, tensor, offsets) });
    const factors = this.#throughRowSpace(pair);
    if (factors !== undefined) return this.#gather(factors) + 4 * tensor.after * factors.left.length;
    return this.#addWhole(pair, offsets);
  }

  /** Adds leftᵀ · right [terms, size] each, times `scale`. @returns floating-point operations, those still to be done included. */
  addFactors(left: Float32Array, right: Float32Array, scale: number): number {
    return this.#gather({ left: scaled(left, scale), right });
  }

  /** Puts the sum under `prefix`, with what is gathered and not yet multiplied: doing that now would round otherwise. */
  snapshot(arrays: Map<string, NumberArray>, prefix: string): void {
    arrays.set(`${prefix}/matrix`, this.#matrix);
    for (const side of ['left', 'right'] as const) {
      const joined = new Float32Array(this.#gatheredTerms * this.#size);
      let at = 0;
      for (const factors of this.#gathered) {
        joined.set(factors[side], at);
        at += factors[side].length;
      }
      arrays.set(`${prefix}/${side}`, joined);
    }
  }

  /** The sum that `snapshot` put, or null where there is none. @throws MalformedFileError where it does not fit `size`. */
  static restored(core: Core, size: number, arrays: NamedArrays, prefix: string): StaticSum | null {
    if (!arrays.has(`${prefix}/matrix`)) return null;
    const sum = new StaticSum(core, size);
    sum.#matrix.set(takeArray(arrays, `${prefix}/matrix`, 'f32', size * size));
    sum.#isZero = false;
    const terms = Math.ceil((arrays.get(`${prefix}/left`)?.length ?? 0) / size);
    const [left, right] = [takeArray(arrays, `${prefix}/left`, 'f32', terms * size), takeArray(arrays, `${prefix}/right`, 'f32', terms * size)];
    if (terms === 0) return sum;
    sum.#gathered.push({ left, right });
    sum.#gatheredTerms = terms;
    return sum;
  }

  #gather(factors: Factors): number {
    const terms = factors.left.length / this.#size;
    const most = mostGathered(this.#size);
    if (this.#gatheredTerms + terms > most) this.#multiply();
    this.#gathered.push(factors);
    this.#gatheredTerms += terms;
    if (terms > most) this.#multiply();
    return 2 * this.#size * this.#size * terms;
  }

  #multiply(): void {
    const [terms, size, core] = [this.#gatheredTerms, this.#size, this.#core];
    if (terms === 0) return;
    core.scoped((scratch) => {
      const c = this.#isZero ? scratch.f32(size * size, 'similarity') : scratch.upload(this.#matrix, 'similarity');
      if (this.#isZero) core.f32(c, size * size).fill(0);
      const [a, b] = [scratch.f32(terms * size, 'gathered factors'), scratch.f32(terms * size, 'gathered factors')];
      const [left, right] = [core.f32(a, terms * size), core.f32(b, terms * size)];
      let at = 0;
      for (const factors of this.#gathered) {
        left.set(factors.left, at);
        right.set(factors.right, at);
        at += factors.left.length;
      }
      matmulLeavingOutZeros(core, { a, b, c, m: size, n: size, k: terms, transposeA: true, accumulate: true }, ['a']);
      this.#matrix.set(core.f32(c, size * size));
    });
    this.#isZero = false;
    this.#gathered = [];
    this.#gatheredTerms = 0;
  }

  /** Coordinates in a basis of the target's row space, where that makes the product cheaper. */
  #throughRowSpace({ tensor: { name, before, size, after }, target, source, targetScale, sourceScale }: StaticPair): Factors | undefined {
    const mostRank = before === 1 ? largestUsefulRank(size, size, after) : 0;
    if (mostRank === 0) return undefined;
    return this.#core.scoped((scratch) => {
      const targetPtr = scratch.upload(scaled(target, targetScale), `target gradient of ${name}`);
      const sourcePtr = scratch.upload(scaled(source, sourceScale), `source gradient of ${name}`);
      return factorise(this.#core, targetPtr, sourcePtr, size, after, mostRank);
    });
  }

  /** matrix += T · Sᵀ over live units and places; no copy of a gradient in another layout is made. */
  #addWhole({ tensor, target, source, targetScale, sourceScale }: StaticPair, offsets: Int32Array): number {
    const { name, size, before, after } = tensor;
    const core = this.#core;
    const rows = liveUnits(tensor, target);
    const columns = liveUnits(tensor, source);
    const [m, n, k] = [rows.length, columns.length, offsets.length];
    core.scoped((scratch) => {
      const cPtr = scratch.upload(this.#matrix, `similarity of ${name}`);
      const aPtr = scratch.upload(scaled(target, targetScale), `target gradient of ${name}`);
      const bPtr = scratch.upload(scaled(source, sourceScale), `source gradient of ${name}`);
      const [rowsPtr, columnsPtr] = [scratch.upload(rows), scratch.upload(columns)];
      // Whole rows one behind the other are packed fastest without a table.
      const table = before === 1 && k === after ? 0 : scratch.upload(offsets);
      const whole = m === size && n === size;
      const productPtr = whole ? cPtr : scratch.f32(m * n, 'product of live units');
      const packedPtr = scratch.bytes(core.kernels.matmulScratchBytes(m, n, k), 'packed panels');
      core.kernels.productF32(
        aPtr, after, 1, whole ? 0 : rowsPtr, 1, table, 1,
        bPtr, 1, after, table, whole ? 0 : columnsPtr,
        productPtr, n, m, n, k, whole ? 1 : 0, packedPtr,
      );
      if (!whole) core.kernels.scatterAddF32(productPtr, rowsPtr, m, columnsPtr, n, cPtr, size);
      this.#matrix.set(core.f32(cPtr, size * size));
    });
    this.#isZero = false;
    return 2 * m * n * k;
  }
}

/** [before, size, after] → [places, size], times `scale`. */
function alongRest(data: Float32Array, scale: number, { size, after }: StaticTensor, offsets: Int32Array): Float32Array {
  const out = new Float32Array(offsets.length * size);
  let at = 0;
  for (const offset of offsets) {
    for (let unit = 0; unit < size; unit++) out[at++] = (data[offset + unit * after] as number) * scale;
  }
  return out;
}

function scaled(data: Float32Array, scale: number): Float32Array {
  return scale === 1 ? data : data.map((x) => x * scale);
}
