// Losses with integer labels, and the count of right answers.
import { expF64, logF64, sigmoidF64 } from "./elementary";
import { exponentials, rowMaximum, scaleRow } from "./exponential";

/**
 * From here on (a vocabulary) a row's exponentials are f32, four at a time, once for loss and gradient, added in f64:
 * as f64, twice and one by one, they took 15 % of a step of GPT-2 with 2,000 tokens. A classifier's few keep f64: below
 * 1 % of any step.
 */
const MANY_CLASSES: i32 = 256;

/** Softmax cross-entropy of a row of many logits against smoothed targets, and its gradient, which may lie over the logits. */
function manyClasses(logitsPtr: usize, label: i32, gradientPtr: usize, classes: i32, smoothing: f64, scale: f64): f64 {
  const largest = rowMaximum(logitsPtr, classes);
  const own = <f64>load<f32>(logitsPtr + ((<usize>label) << 2)) - <f64>largest;
  const share = smoothing / <f64>classes;
  let total: f64 = 0;
  if (share != 0) for (let j: i32 = 0; j < classes; j++) total += <f64>load<f32>(logitsPtr + ((<usize>j) << 2)) - <f64>largest;
  const sum = exponentials(logitsPtr, gradientPtr, classes, largest, 1);
  scaleRow(gradientPtr, classes, <f32>(scale / sum));
  const drop = <f32>(share * scale);
  if (share != 0)
    for (let j: i32 = 0; j < classes; j++) store<f32>(gradientPtr + ((<usize>j) << 2), load<f32>(gradientPtr + ((<usize>j) << 2)) - drop);
  // Probability and target may cancel here, so in f64.
  store<f32>(gradientPtr + ((<usize>label) << 2), <f32>((expF64(own) / sum - (1.0 - smoothing + share)) * scale));
  return logF64(sum) - (1.0 - smoothing) * own - share * total;
}

/**
 * Σ_i (log Σ_j exp(logits[i, j]) − logits[i, label_i]) over the rows, in f64, and
 * gradient[i, j] = (softmax(logits[i])_j − [j = label_i]) · scale. `gradientPtr` may be `logitsPtr`.
 */
export function softmaxCrossEntropyF32(
  logitsPtr: usize, labelsPtr: usize, gradientPtr: usize, rows: i32, classes: i32, scale: f64,
): f64 {
  let loss: f64 = 0;
  for (let i: i32 = 0; i < rows; i++) {
    const label = load<i32>(labelsPtr + ((<usize>i) << 2));
    if (classes >= MANY_CLASSES) {
      loss += manyClasses(logitsPtr, label, gradientPtr, classes, 0, scale);
      gradientPtr += (<usize>classes) << 2;
      logitsPtr += (<usize>classes) << 2;
      continue;
    }
    let largest = load<f32>(logitsPtr);
    for (let j: i32 = 1; j < classes; j++) largest = max(largest, load<f32>(logitsPtr + ((<usize>j) << 2)));
    let sum: f64 = 0;
    for (let j: i32 = 0; j < classes; j++) sum += expF64(<f64>load<f32>(logitsPtr + ((<usize>j) << 2)) - <f64>largest);
    loss += logF64(sum) - (<f64>load<f32>(logitsPtr + ((<usize>label) << 2)) - <f64>largest);
    for (let j: i32 = 0; j < classes; j++) {
      const probability = expF64(<f64>load<f32>(logitsPtr + ((<usize>j) << 2)) - <f64>largest) / sum;
      store<f32>(gradientPtr + ((<usize>j) << 2), <f32>((probability - (j == label ? 1.0 : 0.0)) * scale));
    }
    gradientPtr += (<usize>classes) << 2;
    logitsPtr += (<usize>classes) << 2;
  }
  return loss;
}

/** Rows whose first largest logit is at the label. */
export function countCorrectF32(logitsPtr: usize, labelsPtr: usize, rows: i32, classes: i32): i32 {
  let correct: i32 = 0;
  for (let i: i32 = 0; i < rows; i++) {
    let best: i32 = 0;
    for (let j: i32 = 1; j < classes; j++) {
      if (load<f32>(logitsPtr + ((<usize>j) << 2)) > load<f32>(logitsPtr + ((<usize>best) << 2))) best = j;
    }
    if (best == load<i32>(labelsPtr + ((<usize>i) << 2))) correct++;
    logitsPtr += (<usize>classes) << 2;
  }
  return correct;
}

/**
 * Which loss `targetLossF32` computes, as `lossNumbers` of src/gradient/kernels/loss.ts has them
 * (test/core/two-languages.test.ts). What is none of them traps.
 */
const SOFTMAX_CROSS_ENTROPY: i32 = 0;
const BINARY_CROSS_ENTROPY: i32 = 1;
const MEAN_SQUARED_ERROR: i32 = 2;

/**
 * Σ over the rows, in f64, of a loss against targets t made from labels; gradient[i, j] = ∂(that sum)/∂logits[i, j] · scale.
 * Smoothed cross-entropy: t = (1 − smoothing) · [j = label] + smoothing / classes, −Σ_j t_j log softmax_j. Binary cross-entropy with
 * logits and squared error: t = [j = label], the mean over the classes.
 */
export function targetLossF32(
  kind: i32, logitsPtr: usize, labelsPtr: usize, gradientPtr: usize, rows: i32, classes: i32, smoothing: f64, scale: f64,
): f64 {
  let loss: f64 = 0;
  const share = smoothing / <f64>classes;
  for (let i: i32 = 0; i < rows; i++) {
    const label = load<i32>(labelsPtr + ((<usize>i) << 2));
    if (kind == SOFTMAX_CROSS_ENTROPY && classes >= MANY_CLASSES)
      loss += manyClasses(logitsPtr, label, gradientPtr, classes, smoothing, scale);
    else if (kind == SOFTMAX_CROSS_ENTROPY) {
      let largest = load<f32>(logitsPtr);
      for (let j: i32 = 1; j < classes; j++) largest = max(largest, load<f32>(logitsPtr + ((<usize>j) << 2)));
      let sum: f64 = 0;
      let total: f64 = 0;
      for (let j: i32 = 0; j < classes; j++) {
        const z = <f64>load<f32>(logitsPtr + ((<usize>j) << 2)) - <f64>largest;
        sum += expF64(z);
        total += z;
      }
      const own = <f64>load<f32>(logitsPtr + ((<usize>label) << 2)) - <f64>largest;
      loss += logF64(sum) - (1.0 - smoothing) * own - share * total;
      for (let j: i32 = 0; j < classes; j++) {
        const probability = expF64(<f64>load<f32>(logitsPtr + ((<usize>j) << 2)) - <f64>largest) / sum;
        const target = (j == label ? 1.0 - smoothing : 0.0) + share;
        store<f32>(gradientPtr + ((<usize>j) << 2), <f32>((probability - target) * scale));
      }
    } else {
      let sum: f64 = 0;
      for (let j: i32 = 0; j < classes; j++) {
        const z = <f64>load<f32>(logitsPtr + ((<usize>j) << 2));
        const target: f64 = j == label ? 1.0 : 0.0;
        let slope: f64;
        if (kind == BINARY_CROSS_ENTROPY) {
          sum += max(z, 0.0) - z * target + logF64(1.0 + expF64(-abs(z)));
          slope = sigmoidF64(z) - target;
        } else if (kind == MEAN_SQUARED_ERROR) {
          sum += (z - target) * (z - target);
          slope = 2.0 * (z - target);
        } else return unreachable();
        store<f32>(gradientPtr + ((<usize>j) << 2), <f32>(slope * (scale / <f64>classes)));
      }
      loss += sum / <f64>classes;
    }
    gradientPtr += (<usize>classes) << 2;
    logitsPtr += (<usize>classes) << 2;
  }
  return loss;
}
