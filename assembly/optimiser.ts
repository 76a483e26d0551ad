// Parameter updates in place, in PyTorch's forms and order of operations (f32 arithmetic).

/** g' = g + decay · w; v = momentum · v + g'; w −= rate · v (torch.optim.SGD, no dampening; v starts at 0). */
export function sgdF32(
  weightPtr: usize, gradientPtr: usize, velocityPtr: usize, count: i32, rate: f32, momentum: f32, decay: f32,
): void {
  const end = weightPtr + ((<usize>count) << 2);
  const vectorEnd = weightPtr + ((<usize>(count & ~3)) << 2);
  const rates = f32x4.splat(rate), momenta = f32x4.splat(momentum), decays = f32x4.splat(decay);
  for (; weightPtr < vectorEnd; weightPtr += 16, gradientPtr += 16, velocityPtr += 16) {
    const w = v128.load(weightPtr);
    const g = f32x4.add(v128.load(gradientPtr), f32x4.mul(decays, w));
    const v = f32x4.add(f32x4.mul(momenta, v128.load(velocityPtr)), g);
    v128.store(velocityPtr, v);
    v128.store(weightPtr, f32x4.sub(w, f32x4.mul(rates, v)));
  }
  for (; weightPtr < end; weightPtr += 4, gradientPtr += 4, velocityPtr += 4) {
    const w = load<f32>(weightPtr);
    const v = momentum * load<f32>(velocityPtr) + (load<f32>(gradientPtr) + decay * w);
    store<f32>(velocityPtr, v);
    store<f32>(weightPtr, w - rate * v);
  }
}

/**
 * w *= shrink (1 − rate · decay); m = β1 · m + (1 − β1) · g; v = β2 · v + (1 − β2) · g²;
 * w −= step · m / (√v / rootCorrection + ε), with step = rate / (1 − β1^t) and rootCorrection = √(1 − β2^t) (torch.optim.AdamW).
 */
export function adamwF32(
  weightPtr: usize, gradientPtr: usize, firstPtr: usize, secondPtr: usize, count: i32,
  shrink: f32, beta1: f32, oneMinusBeta1: f32, beta2: f32, oneMinusBeta2: f32, step: f32, rootCorrection: f32, epsilon: f32,
): void {
  const end = weightPtr + ((<usize>count) << 2);
  const vectorEnd = weightPtr + ((<usize>(count & ~3)) << 2);
  for (; weightPtr < vectorEnd; weightPtr += 16, gradientPtr += 16, firstPtr += 16, secondPtr += 16) {
    const g = v128.load(gradientPtr);
    const first = f32x4.add(f32x4.mul(f32x4.splat(beta1), v128.load(firstPtr)), f32x4.mul(f32x4.splat(oneMinusBeta1), g));
    const square = f32x4.mul(f32x4.mul(f32x4.splat(oneMinusBeta2), g), g);
    const second = f32x4.add(f32x4.mul(f32x4.splat(beta2), v128.load(secondPtr)), square);
    v128.store(firstPtr, first);
    v128.store(secondPtr, second);
    const divisor = f32x4.add(f32x4.div(f32x4.sqrt(second), f32x4.splat(rootCorrection)), f32x4.splat(epsilon));
    const w = f32x4.mul(v128.load(weightPtr), f32x4.splat(shrink));
    v128.store(weightPtr, f32x4.sub(w, f32x4.div(f32x4.mul(f32x4.splat(step), first), divisor)));
  }
  for (; weightPtr < end; weightPtr += 4, gradientPtr += 4, firstPtr += 4, secondPtr += 4) {
    const g = load<f32>(gradientPtr);
    const first = beta1 * load<f32>(firstPtr) + oneMinusBeta1 * g;
    const second = beta2 * load<f32>(secondPtr) + oneMinusBeta2 * g * g;
    store<f32>(firstPtr, first);
    store<f32>(secondPtr, second);
    const divisor = sqrt(second) / rootCorrection + epsilon;
    store<f32>(weightPtr, load<f32>(weightPtr) * shrink - (step * first) / divisor);
  }
}
