/**
 * The similarity of two gradients that come as sums of outer products, T = Δ_Tᵀ · X_T and S = Δ_Sᵀ · X_S:
 * T · Sᵀ = Δ_Tᵀ · (X_T · X_Sᵀ) · Δ_S. Over a batch of b inputs neither gradient is multiplied out, and the largest product is b deep instead
 * of as deep as the layer has inputs. In a first layer both sides see the same images: one matrix X · Xᵀ serves them.
 */
import type { Core, Scratch } from '../core/core.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { matmul } from '../core/matmul.ts';
import type { NamedOuterProducts, OuterProducts } from '../tensor/outer-products.ts';
import { requireFinite } from '../tensor/tensor.ts';
import type { MatchingLayout, StaticTensor } from './layout.ts';

/** Gradients of one pair that are not multiplied out. */
export interface FactoredPair {
  readonly target: NamedOuterProducts;
  readonly source: NamedOuterProducts;
}

/** T · Sᵀ = leftᵀ · right, and the sums of products that matching wants to know of the pair. */
export interface FactoredProduct {
  /** [terms, size] */
  readonly left: Float32Array;
  /** [terms, size] */
  readonly right: Float32Array;
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
 * Tensors of a network whose gradients matching would rather have as outer products, `terms` of them, because that takes less work than forming
 * both gradients and multiplying them: [size, after] with its group on the rows. For 512 units over 784 inputs and 128 images it is a fifth.
 */
export function tensorsWorthFactoring({ statics }: MatchingLayout, terms: number): readonly string[] {
  return statics.filter((tensor) => {
    const { size, after } = tensor;
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
 * @throws InvalidArgumentError where the two sides disagree, or one is not of the tensor's size.
 */
export function factoredTensors({ spec, statics }: MatchingLayout, { target, source }: FactoredPair): [StaticTensor, OuterProducts, OuterProducts][] {
  const names = new Set([...target.keys(), ...source.keys()]);
  for (const name of names) {
    const [t, s] = [target.get(name), source.get(name)];
    if (t !== undefined && s !== undefined && spec.tensors.has(name)) continue;
    throw new InvalidArgumentError({ field: name, expected: 'outer products on both sides, of a tensor of the permutation spec', got: 'others' });
  }
  return statics.flatMap((tensor): [StaticTensor, OuterProducts, OuterProducts][] => {
    const [t, s] = [target.get(tensor.tensor), source.get(tensor.tensor)];
    if (t === undefined || s === undefined) return [];
    const fits = ({ terms, left, right }: OuterProducts): boolean => left.length === terms * tensor.size && right.length === terms * tensor.after;
    if (isFactorable(tensor) && fits(t) && fits(s)) return [[tensor, t, s]];
    throw new InvalidArgumentError({
      field: tensor.tensor,
      expected: `outer products of ${tensor.size} by ${tensor.after} numbers, the group on the first`,
      got: `${t.left.length} and ${t.right.length} numbers in ${t.terms} terms, ${s.left.length} and ${s.right.length} in ${s.terms}`,
    });
  });
}

/** @throws NotFiniteError for NaN or infinities. */
export function factoredProduct(core: Core, { name, size, after }: StaticTensor, target: OuterProducts, source: OuterProducts): FactoredProduct {
  return core.scoped((scratch) => {
    const product = new Products(core, scratch);
    const alike = sameNumbers(target.right, source.right);
    const [deltaT, deltaS] = [scratch.upload(target.left, name), scratch.upload(source.left, name)];
    const inputsT = scratch.upload(target.right, name);
    const inputsS = alike ? inputsT : scratch.upload(source.right, name);
    const gram = product.of(inputsT, inputsS, target.terms, source.terms, after, true);
    const gramT = alike ? gram : product.of(inputsT, inputsT, target.terms, target.terms, after, true);
    const gramS = alike ? gram : product.of(inputsS, inputsS, source.terms, source.terms, after, true);
    const right = product.of(gram, deltaS, target.terms, size, source.terms, false);
    const rightT = product.of(gramT, deltaT, target.terms, size, target.terms, false);
    const rightS = alike ? right : product.of(gramS, deltaS, source.terms, size, source.terms, false);
    const read = (pointer: number, terms: number): Float32Array => core.f32(pointer, terms * size);
    const ts = inner(target.left, read(right, target.terms));
    const tt = inner(target.left, read(rightT, target.terms));
    const ss = inner(source.left, read(rightS, source.terms));
    if (!Number.isFinite(ts + tt + ss)) {
      for (const [role, { left, right: inputs }] of [['target', target], ['source', source]] as const) {
        requireFinite(role, new Map([[name, { shape: [left.length], data: left }], [`${name} (inputs)`, { shape: [inputs.length], data: inputs }]]));
      }
    }
    // A square that is zero may round to less.
    return { left: target.left, right: read(right, target.terms).slice(), tt: Math.max(0, tt), ss: Math.max(0, ss), ts, flops: product.flops };
  });
}

class Products {
  readonly #core: Core;
  readonly #scratch: Scratch;
  flops = 0;

  constructor(core: Core, scratch: Scratch) {
    this.#core = core;
    this.#scratch = scratch;
  }

  /** A [m, k] · B [k, n], or B [n, k] transposed, on the heap. */
  of(a: number, b: number, m: number, n: number, k: number, transposeB: boolean): number {
    const c = this.#scratch.f32(m * n, 'product of factors');
    matmul(this.#core, { a, b, c, m, n, k, transposeB });
    this.flops += 2 * m * n * k;
    return c;
  }
}

/** Σ aᵢ · bᵢ in f64, in four sums: one alone waits for each of its additions. */
function inner(a: Float32Array, b: Float32Array): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 4 <= a.length; i += 4) {
    s0 += (a[i] as number) * (b[i] as number);
    s1 += (a[i + 1] as number) * (b[i + 1] as number);
    s2 += (a[i + 2] as number) * (b[i + 2] as number);
    s3 += (a[i + 3] as number) * (b[i + 3] as number);
  }
  for (; i < a.length; i++) s0 += (a[i] as number) * (b[i] as number);
  return s0 + s1 + (s2 + s3);
}

function sameNumbers(a: Float32Array, b: Float32Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
