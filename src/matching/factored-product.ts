/**
 * The similarity of two gradients that come as sums of outer products, T = Δ_Tᵀ · X_T and S = Δ_Sᵀ · X_S: T · Sᵀ = Δ_Tᵀ
 * · (X_T · X_Sᵀ) · Δ_S. Over a batch of b inputs neither gradient is multiplied out, and the largest product is b deep
 * instead of as deep as the layer has inputs. In a first layer both sides see the same images: one matrix X · Xᵀ serves
 * them.
 */
import type { Core, Scratch } from '../core/core.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { gramLeavingOutZeros, matmulLeavingOutZeros } from '../core/sparse-matmul.ts';
import type { NamedOuterProducts, OuterProducts } from '../tensor/outer-products.ts';
import { requireFinite } from '../tensor/tensor.ts';
import type { MatchingLayout, StaticTensor } from './layout.ts';

/** Gradients of one pair that are not multiplied out. */
export interface FactoredPair {
  readonly target: NamedOuterProducts;
  readonly source: NamedOuterProducts;
}

/** T · Sᵀ = leftᵀ · right on the heap, and the sums of products that matching wants to know of the pair. */
export interface FactoredProduct {
  readonly terms: number;
  /** Address of [terms, size]; nobody else reads these numbers. */
  readonly left: number;
  /** Address of [terms, size]. */
  readonly right: number;
  /** ‖T‖² */
  readonly tt: number;
  /** ‖S‖² */
  readonly ss: number;
  /** ⟨T, S⟩ */
  readonly ts: number;
  readonly flops: number;
}

/** Share of the work of whole gradients beyond which factors are not worth their overhead. */
const LARGEST_SHARE = 0.75;

/**
 * Tensors of a network whose gradients matching would rather have as outer products, `terms` of them, because that
 * takes less work than forming both gradients and multiplying them: [size, after] with its group on the rows. For 512
 * units over 784 inputs and 128 images it is a fifth.
 */
export function tensorsWorthFactoring({ statics, spec }: MatchingLayout, terms: number): readonly string[] {
  return statics.filter((tensor) => {
    const { size, after } = tensor;
    // Of rows in groups, one factor moves: the terms have a number for each of the rows.
    if (spec.tensors.get(tensor.tensor)?.shape[0] !== size) return false;
    const whole = 2 * size * size * after + 4 * terms * size * after;
    const factored = 2 * terms * terms * after + 4 * terms * terms * size + 2 * terms * size * size;
    return isFactorable(tensor) && factored <= LARGEST_SHARE * whole;
  }).map(({ tensor }) => tensor);
}

function isFactorable({ before, selection }: StaticTensor): boolean {
  return before === 1 && selection === null;
}

/**
 * The factored pair of every tensor that matching has a use for.
 * @param whole names of tensors whose gradients are given multiplied out.
 * @throws InvalidArgumentError where the two sides disagree, one is not of the tensor's size, or it is given whole too.
 */
export function factoredTensors(
  { spec, statics }: MatchingLayout,
  { target, source }: FactoredPair,
  whole: (name: string) => boolean,
): [StaticTensor, OuterProducts, OuterProducts][] {
  const names = new Set([...target.keys(), ...source.keys()]);
  for (const name of names) {
    const [t, s] = [target.get(name), source.get(name)];
    if (t === undefined || s === undefined || !spec.tensors.has(name)) {
      throw new InvalidArgumentError({
        field: name,
        expected: 'outer products on both sides, of a tensor of the permutation spec',
        got: 'others',
      });
    }
    if (whole(name)) throw new InvalidArgumentError({ field: name, expected: 'a gradient whole or as outer products', got: 'both' });
  }
  return statics.flatMap((tensor): [StaticTensor, OuterProducts, OuterProducts][] => {
    const [t, s] = [target.get(tensor.tensor), source.get(tensor.tensor)];
    if (t === undefined || s === undefined) return [];
    const fits = ({ terms, left, right }: OuterProducts): boolean =>
      left.length === terms * tensor.size && right.length === terms * tensor.after;
    if (isFactorable(tensor) && fits(t) && fits(s)) return [[tensor, t, s]];
    throw new InvalidArgumentError({
      field: tensor.tensor,
      expected: `outer products of ${tensor.size} by ${tensor.after} numbers, the group on the first`,
      got: `${t.left.length} and ${t.right.length} numbers in ${t.terms} terms, ${s.left.length} and ${s.right.length} in ${s.terms}`,
    });
  });
}

/**
 * @param scratch what the result is in.
 * @param knownSources where a source is met again: what is found out of this one joins them.
 * @throws NotFiniteError for NaN or infinities.
 */
export function factoredProduct(
  core: Core,
  scratch: Scratch,
  { name, size, after }: StaticTensor,
  target: OuterProducts,
  source: OuterProducts,
  knownSources: KnownSources | undefined,
): FactoredProduct {
  const product = new Products(core, scratch);
  const own = sourceSide(product, name, source, size, after, knownSources);
  const deltaT = scratch.upload(target.left, name);
  let { gram: gramT, right } = own;
  if (!sameNumbers(target.right, source.right)) {
    const [inputsT, inputsS] = [scratch.upload(target.right, name), scratch.upload(source.right, name)];
    gramT = product.gram(inputsT, target.terms, after);
    const gram = product.of(inputsT, inputsS, target.terms, source.terms, after, true);
    right = product.of(gram, scratch.upload(source.left, name), target.terms, size, source.terms, false);
  }
  const ts = core.kernels.innerF32(deltaT, right, target.terms * size);
  // ‖Δᵀ · X‖² = ⟨X · Xᵀ, Δ · Δᵀ⟩
  const tt = core.kernels.innerF32(gramT, product.gram(deltaT, target.terms, size), target.terms * target.terms);
  if (!Number.isFinite(ts + tt + own.ss)) {
    for (const [role, { left, right: inputs }] of [
      ['target', target],
      ['source', source],
    ] as const) {
      requireFinite(
        `gradient of ${role}`,
        new Map([
          [name, { shape: [left.length], data: left }],
          [`${name} (inputs)`, { shape: [inputs.length], data: inputs }],
        ]),
      );
    }
  }
  // A square that is zero may round to less.
  return { terms: target.terms, left: deltaT, right, tt: Math.max(0, tt), ss: Math.max(0, own.ss), ts, flops: product.flops };
}

/** What a source is over its own inputs, whatever the target; as `T` holds it. */
interface SourceSide<T> {
  /** X · Xᵀ */
  readonly gram: T;
  /** X · Xᵀ · Δ */
  readonly right: T;
  /** ‖S‖² */
  readonly ss: number;
}

/** Bytes of what `KnownSources` know of a source. */
export function sourceSideBytes({ left, terms }: OuterProducts): number {
  return Float32Array.BYTES_PER_ELEMENT * terms * terms + left.byteLength;
}

/** GMT with fixed batches adds each source again at every step, with another target: two of its three products are known then. */
export type KnownSources = WeakMap<OuterProducts, SourceSide<Float32Array>>;

/** On the heap. */
function sourceSide(
  product: Products,
  name: string,
  source: OuterProducts,
  size: number,
  after: number,
  known: KnownSources | undefined,
): SourceSide<number> {
  const { core, scratch } = product;
  const { left, right: inputs, terms } = source;
  const own = known?.get(source);
  if (own !== undefined) return { gram: scratch.upload(own.gram, name), right: scratch.upload(own.right, name), ss: own.ss };
  const inputsPtr = scratch.upload(inputs, name);
  const deltaPtr = scratch.upload(left, name);
  const gram = product.gram(inputsPtr, terms, after);
  const right = product.of(gram, deltaPtr, terms, size, terms, false);
  const ss = core.kernels.innerF32(deltaPtr, right, terms * size);
  known?.set(source, { gram: core.f32(gram, terms * terms).slice(), right: core.f32(right, terms * size).slice(), ss });
  return { gram, right, ss };
}

class Products {
  readonly core: Core;
  readonly scratch: Scratch;
  flops = 0;

  constructor(core: Core, scratch: Scratch) {
    this.core = core;
    this.scratch = scratch;
  }

  /** A [m, k] · B [k, n] with Δ as B, or inputs A · inputs B [n, k] transposed, on the heap. */
  of(a: number, b: number, m: number, n: number, k: number, inputs: boolean): number {
    const c = this.scratch.f32(m * n, 'product of factors');
    matmulLeavingOutZeros(this.core, { a, b, c, m, n, k, transposeB: inputs }, [inputs ? 'a' : 'b']);
    this.flops += 2 * m * n * k;
    return c;
  }

  /** A · Aᵀ of A [m, k], on the heap. */
  gram(a: number, m: number, k: number): number {
    const c = this.scratch.f32(m * m, 'product of factors');
    gramLeavingOutZeros(this.core, { a, c, m, k });
    this.flops += m * m * k;
    return c;
  }
}

function sameNumbers(a: Float32Array, b: Float32Array): boolean {
  if (a.length !== b.length) return false;
  if (a.buffer === b.buffer && a.byteOffset === b.byteOffset) return true;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
