/**
 * The part of a group's similarity that no other permutation touches, Σ over pairs and tensors of T · Sᵀ with T and S
 * [size, rest]. Thin products (a bias, a classifier of ten classes, a gradient of low rank) are gathered as factors and
 * multiplied together, because adding one to a matrix of 64 MB costs more than the product itself.
 */
import type { Core, Scratch } from '../core/core.ts';
import { matmulLeavingOutZeros } from '../core/sparse-matmul.ts';
import { takeArray } from '../tensor/named-arrays.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import type { StaticTensor } from './layout.ts';
import { liveOffsets, liveUnits } from './live-slices.ts';
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

/** Both sides of a product, inner axis first, each [terms, size]. */
interface Factors {
  readonly left: Float32Array;
  readonly right: Float32Array;
}

/** Such factors on the heap, by address. */
export interface HeapFactors {
  readonly left: number;
  readonly right: number;
  readonly terms: number;
}

/** Most terms gathered before they are multiplied in. */
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
  /** Nothing has been added to the matrix: what it holds is of no account, and its pages, and reading them, are spared. */
  #isZero = true;
  /** Room for `mostGathered` terms, taken with the first of them. */
  #gathered: Factors | undefined;
  #gatheredTerms = 0;

  constructor(core: Core, size: number) {
    this.#core = core;
    this.#size = size;
    this.#matrix = new Float32Array(size * size);
  }

  /** The sum of everything added, [size, size], or null where nothing was. It changes with the next `add`. */
  get matrix(): Float32Array | null {
    this.#multiply();
    return this.#isZero ? null : this.#matrix;
  }

  /** Becomes zero; its memory serves again. */
  clear(): void {
    this.#isZero = true;
    this.#gatheredTerms = 0;
  }

  /** Adds T · Sᵀ of one pair and tensor. @returns floating-point operations, those still to be done included. */
  add(pair: StaticPair): number {
    const { target, source, tensor } = pair;
    const offsets = liveOffsets(tensor, target, source);
    const terms = offsets.length;
    if (terms === 0) return 0;
    if (terms <= THIN) {
      const { left, right } = this.#gather(terms);
      copyAlongRest(target, pair.targetScale, tensor, offsets, left);
      copyAlongRest(source, pair.sourceScale, tensor, offsets, right);
      return this.#flops(terms);
    }
    const factors = this.#throughRowSpace(pair);
    if (factors === undefined) return this.#addWhole(pair, offsets);
    return this.#addArrays(factors) + 4 * tensor.after * factors.left.length;
  }

  /**
   * Adds leftᵀ · right; `left` is multiplied by `scale` where it lies. @returns floating-point operations, those still
   * to be done included.
   */
  addFactors(factors: HeapFactors, scale: number): number {
    const { left, right, terms } = factors;
    const count = terms * this.#size;
    if (scale !== 1) scaleInPlace(this.#core.f32(left, count), scale);
    if (terms > mostGathered(this.#size)) this.#multiply(factors);
    else {
      const room = this.#gather(terms);
      room.left.set(this.#core.f32(left, count));
      room.right.set(this.#core.f32(right, count));
    }
    return this.#flops(terms);
  }

  /** Puts the sum under `prefix`, with what is gathered and not yet multiplied: doing that now would round otherwise. */
  snapshot(arrays: Map<string, NumberArray>, prefix: string): void {
    const gathered = this.#gatheredTerms * this.#size;
    if (this.#isZero && gathered === 0) return;
    arrays.set(`${prefix}/matrix`, this.#isZero ? this.#matrix.fill(0) : this.#matrix);
    for (const side of ['left', 'right'] as const)
      arrays.set(`${prefix}/${side}`, this.#gathered?.[side].slice(0, gathered) ?? new Float32Array(0));
  }

  /** The sum that `snapshot` put, or null where there is none. @throws MalformedFileError where it does not fit `size`. */
  static restored(core: Core, size: number, arrays: NamedArrays, prefix: string): StaticSum | null {
    if (!arrays.has(`${prefix}/matrix`)) return null;
    const sum = new StaticSum(core, size);
    sum.#matrix.set(takeArray(arrays, `${prefix}/matrix`, 'f32', size * size));
    sum.#isZero = false;
    const terms = Math.ceil((arrays.get(`${prefix}/left`)?.length ?? 0) / size);
    const [left, right] = [
      takeArray(arrays, `${prefix}/left`, 'f32', terms * size),
      takeArray(arrays, `${prefix}/right`, 'f32', terms * size),
    ];
    if (terms > 0) sum.#addArrays({ left, right });
    return sum;
  }

  #flops(terms: number): number {
    return 2 * this.#size * this.#size * terms;
  }

  /** Where to write so many terms more, of at most `mostGathered`. */
  #gather(terms: number): Factors {
    const most = mostGathered(this.#size);
    if (this.#gatheredTerms + terms > most) this.#multiply();
    this.#gathered ??= { left: new Float32Array(most * this.#size), right: new Float32Array(most * this.#size) };
    const at = this.#gatheredTerms * this.#size;
    this.#gatheredTerms += terms;
    const end = this.#gatheredTerms * this.#size;
    return { left: this.#gathered.left.subarray(at, end), right: this.#gathered.right.subarray(at, end) };
  }

  #addArrays({ left, right }: Factors): number {
    return this.#core.scoped((scratch) =>
      this.addFactors(
        { left: scratch.upload(left, 'factors'), right: scratch.upload(right, 'factors'), terms: left.length / this.#size },
        1,
      ),
    );
  }

  /** Multiplies what is gathered, and then `factors`. */
  #multiply(factors?: HeapFactors): void {
    const [gathered, terms, core] = [this.#gathered, this.#gatheredTerms, this.#core];
    if (terms === 0 && factors === undefined) return;
    core.scoped((scratch) => {
      const c = this.#upload(scratch, 'similarity');
      if (gathered !== undefined && terms > 0) {
        const upload = (side: Float32Array): number => scratch.upload(side.subarray(0, terms * this.#size), 'gathered factors');
        this.#multiplyInto(c, { left: upload(gathered.left), right: upload(gathered.right), terms });
      }
      if (factors !== undefined) this.#multiplyInto(c, factors);
      this.#matrix.set(core.f32(c, this.#matrix.length));
    });
    this.#isZero = false;
    this.#gatheredTerms = 0;
  }

  #multiplyInto(c: number, { left, right, terms }: HeapFactors): void {
    matmulLeavingOutZeros(
      this.#core,
      { a: left, b: right, c, m: this.#size, n: this.#size, k: terms, transposeA: true, accumulate: true },
      ['a'],
    );
  }

  /** The matrix on the heap. */
  #upload(scratch: Scratch, purpose: string): number {
    if (!this.#isZero) return scratch.upload(this.#matrix, purpose);
    const pointer = scratch.f32(this.#matrix.length, purpose);
    this.#core.f32(pointer, this.#matrix.length).fill(0);
    return pointer;
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
      const cPtr = this.#upload(scratch, `similarity of ${name}`);
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
function copyAlongRest(data: Float32Array, scale: number, { size, after }: StaticTensor, offsets: Int32Array, out: Float32Array): void {
  let at = 0;
  for (const offset of offsets) {
    for (let unit = 0; unit < size; unit++) out[at++] = (data[offset + unit * after] as number) * scale;
  }
}

function scaleInPlace(data: Float32Array, scale: number): void {
  for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * scale;
}

function scaled(data: Float32Array, scale: number): Float32Array {
  return scale === 1 ? data : data.map((x) => x * scale);
}
