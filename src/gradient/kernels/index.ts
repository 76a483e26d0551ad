/** Registers every kernel and gradient with tfjs: stock ones that are right, ours where stock is missing, wrong or slow. */
import * as tfjs from '#tfjs';
import { registerActivations } from './activation.ts';
import { registerAdaptivePooling } from './adaptive-pooling.ts';
import { registerAttention } from './attention.ts';
import { registerBatchNorm } from './batch-norm.ts';
import { registerCombining } from './combining.ts';
import { registerConvolution } from './convolution.ts';
import { registerGroupNorm } from './group-norm.ts';
import { registerDenseRows } from './dense-rows.ts';
import { registerLayout } from './layout.ts';
import { registerLoss } from './loss.ts';
import { registerMatmul } from './matmul.ts';
import { registerPooling } from './pooling.ts';
import { registerReduction } from './reduction.ts';
import { registerTransposedConvolution } from './transposed-convolution.ts';
import { registerSequence } from './sequence.ts';

let registered = false;

/** tfjs's registry is global to its bundle and complains about repetitions: once is enough. */
export function registerKernels(): void {
  if (registered) return;
  registered = true;
  for (const config of [
    tfjs.addConfig, tfjs.avgPoolConfig, tfjs.avgPoolGradConfig, tfjs.castConfig, tfjs.fusedBatchNormConfig, tfjs.multiplyConfig,
    tfjs.realDivConfig, tfjs.reshapeConfig, tfjs.subConfig, tfjs.transposeConfig,
  ]) {
    tfjs.registerKernel(config);
  }
  for (const config of [
    tfjs.addGradConfig, tfjs.avgPoolGradientConfig, tfjs.castGradConfig, tfjs.identityGradConfig, tfjs.multiplyGradConfig,
    tfjs.reshapeGradConfig, tfjs.subGradConfig, tfjs.transposeGradConfig,
  ]) {
    tfjs.registerGradient(config);
  }
  registerMatmul();
  registerConvolution();
  registerTransposedConvolution();
  registerPooling();
  registerAdaptivePooling();
  registerActivations();
  registerCombining();
  registerBatchNorm();
  registerGroupNorm();
  registerReduction();
  registerLoss();
  registerLayout();
  registerDenseRows();
  registerSequence();
  registerAttention();
}
