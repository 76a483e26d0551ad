/** Softmax cross-entropy with integer labels, and the count of right answers. */
import { defineGradient, defineKernel, required, run } from './support.ts';

export function registerLoss(): void {
  // {logits [rows, classes], labels [rows] int32}, {scale} → [scale · Σ losses, its gradient by the logits]
  defineKernel('SparseSoftmaxCrossEntropy', (call) => {
    const { backend } = call;
    const logits = required(call, 'logits');
    const [rows = 0, classes = 0] = logits.shape;
    const scale = call.attrs['scale'] as number;
    const loss = backend.makeOutput([], 'float32');
    const gradient = backend.makeOutput(logits.shape, 'float32');
    const sum = backend.core.kernels.softmaxCrossEntropyF32(
      backend.pointer(logits), backend.pointer(required(call, 'labels')), backend.pointer(gradient), rows, classes, scale,
    );
    backend.core.f32(backend.pointer(loss), 1)[0] = sum * scale;
    return [loss, gradient];
  });
  defineGradient('SparseSoftmaxCrossEntropy', {
    outputs: [false, true],
    gradient: (dy, [gradient]) => ({ logits: () => run('Multiply', { a: gradient, b: dy }) }),
  });
  // {logits, labels} → number of rows whose first largest logit is at the label, int32
  defineKernel('CountCorrect', (call) => {
    const { backend } = call;
    const logits = required(call, 'logits');
    const [rows = 0, classes = 0] = logits.shape;
    const count = backend.makeOutput([], 'int32');
    backend.core.i32(backend.pointer(count), 1)[0] = backend.core.kernels.countCorrectF32(
      backend.pointer(logits), backend.pointer(required(call, 'labels')), rows, classes,
    );
    return count;
  });
}
