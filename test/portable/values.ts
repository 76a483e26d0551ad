/** Inputs that do not depend on the code under test. */

/** Reproducible f32 in [−1, 1), from a linear congruence. */
export function values(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0;
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = state / 2 ** 31 - 1;
  }
  return out;
}

/** The same with all but a share of them zero. */
export function sparseValues(count: number, seed: number, share: number): Float32Array<ArrayBuffer> {
  const [numbers, lots] = [values(count, seed), values(count, seed + 0x1000)];
  return numbers.map((x, i) => (((lots[i] as number) + 1) / 2 < share ? x : 0));
}
