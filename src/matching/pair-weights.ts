/** What both sides of a gradient pair's tensor are multiplied with, and what they then add to the sums of a history. */

export interface PairWeights {
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

/** Sums of products of a target T and a source S. */
export interface PairSums {
  /** ‖T‖² */
  readonly tt: number;
  /** ‖S‖² */
  readonly ss: number;
  /** ⟨T, S⟩ */
  readonly ts: number;
}

/** Below this product of norms, normalising would divide noise by noise; the official code's bound. */
const SMALLEST_NORM_PRODUCT = 1e-12;

export function pairWeights({ tt, ss, ts }: PairSums, normalise: boolean): PairWeights {
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

export function pairSums(target: Float32Array, source: Float32Array): PairSums {
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
  return { tt, ss, ts };
}
