/** Registers every kernel and gradient with tfjs, all of which are ours. */
import { registerActivations } from './activation.ts';
import { registerAdaptivePooling } from './adaptive-pooling.ts';
import { registerAttention } from './attention.ts';
import { registerBatchNorm } from './batch-norm.ts';
import { registerColumnSums } from './column-sums.ts';
import { registerCombining } from './combining.ts';
import { registerConvolution } from './convolution.ts';
import { registerDense } from './dense.ts';
import { registerGroupNorm } from './group-norm.ts';
import { registerLayout } from './layout.ts';
import { registerLoss } from './loss.ts';
import { registerPooling } from './pooling.ts';
import { registerSequence } from './sequence.ts';
import { registerTransposedConvolution } from './transposed-convolution.ts';

let registered = false;

/** tfjs's registry is global to its bundle and complains about repetitions: once is enough. */
export function registerKernels(): void {
  if (registered) return;
  registered = true;
  registerDense();
  registerConvolution();
  registerTransposedConvolution();
  registerPooling();
  registerAdaptivePooling();
  registerActivations();
  registerCombining();
  registerBatchNorm();
  registerGroupNorm();
  registerColumnSums();
  registerLoss();
  registerLayout();
  registerSequence();
  registerAttention();
}
