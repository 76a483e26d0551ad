/** Losses with integer labels, and the count of right answers. */
import type { Tensor, TensorInfo } from '#tfjs';
import type { Loss } from '../loss.ts';
import { defineKernel, required, runAll, sizeOf, type KernelCall } from './support.ts';

/** Numbers of the losses in `assembly/loss.ts`. */
export const lossNumbers = {
  'softmax-cross-entropy': 0,
  'binary-cross-entropy': 1,
  'mean-squared-error': 2,
} as const satisfies Record<Loss['kind'], number>;

/** What the kernel `TargetLoss` is told. */
type TargetLossAttributes = { readonly kind: Loss['kind']; readonly smoothing: number; readonly scale: number };

/** `scale` · Σ of the images' losses, and its gradient by the logits. */
export function lossAndGradient(
  loss: Loss, logits: TensorInfo, labels: TensorInfo, scale: number,
): readonly [sum: Tensor, gradient: Tensor] {
  const smoothing = loss.kind === 'softmax-cross-entropy' ? loss.labelSmoothing : 0;
  const plain = loss.kind === 'softmax-cross-entropy' && smoothing === 0;
  const results = plain
    ? runAll('SparseSoftmaxCrossEntropy', { logits, labels }, { scale })
    : runAll('TargetLoss', { logits, labels }, { kind: loss.kind, smoothing, scale } satisfies TargetLossAttributes);
  return results as [Tensor, Tensor];
}

/** Writes the gradient and answers with the sum of the losses. All but the call and the last two are pointers. */
type LossSum = (call: KernelCall, logits: number, labels: number, gradient: number, rows: number, classes: number) => number;

/** {logits [.., classes], labels [rows] int32}, {scale} → [scale · Σ losses, its gradient by the logits] */
function defineLoss(kernelName: string, sumOf: LossSum): void {
  defineKernel(kernelName, (call) => {
    const { backend } = call;
    const logits = required(call, 'logits');
    const classes = logits.shape.at(-1) ?? 1;
    const loss = backend.makeOutput([], 'float32');
    const gradient = backend.makeOutput(logits.shape, 'float32');
    const pointers = [logits, required(call, 'labels'), gradient].map((tensor) => backend.pointer(tensor)) as [number, number, number];
    const sum = sumOf(call, ...pointers, sizeOf(logits) / classes, classes);
    backend.core.f32(backend.pointer(loss), 1)[0] = sum * (call.attrs['scale'] as number);
    return [loss, gradient];
  });
}

export function registerLoss(): void {
  defineLoss('SparseSoftmaxCrossEntropy', ({ backend: { core }, attrs }, logits, labels, gradient, rows, classes) =>
    core.kernels.softmaxCrossEntropyF32(logits, labels, gradient, rows, classes, attrs['scale'] as number),
  );
  // Also {kind, smoothing}.
  defineLoss('TargetLoss', ({ backend: { core }, attrs }, logits, labels, gradient, rows, classes) => {
    const { kind, smoothing, scale } = attrs as TargetLossAttributes;
    return core.kernels.targetLossF32(lossNumbers[kind], logits, labels, gradient, rows, classes, smoothing, scale);
  });
  // {logits, labels} → number of rows whose first largest logit is at the label, int32
  defineKernel('CountCorrect', (call) => {
    const { backend } = call;
    const logits = required(call, 'logits');
    const classes = logits.shape.at(-1) ?? 1;
    const rows = sizeOf(logits) / classes;
    const count = backend.makeOutput([], 'int32');
    backend.core.i32(backend.pointer(count), 1)[0] = backend.core.kernels.countCorrectF32(
      backend.pointer(logits), backend.pointer(required(call, 'labels')), rows, classes,
    );
    return count;
  });
}
