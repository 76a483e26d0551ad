/**
 * What the kernels of tfjs-backend-wasm import of '@tensorflow/tfjs-core', for `scripts/build.mjs` to put in its place: the
 * package's index drags in optimisers, model files, browser storage and every operation (42 KB gzip; with this 19).
 */
export { DataStorage, KernelBackend } from '@tensorflow/tfjs-core/dist/backends/backend';
export { env } from '@tensorflow/tfjs-core/dist/environment';
export { deprecationWarn, engine } from '@tensorflow/tfjs-core/dist/globals';
export * from '@tensorflow/tfjs-core/dist/kernel_names';
export * as broadcast_util from '@tensorflow/tfjs-core/dist/ops/broadcast_util';
// For tensors of strings, which nobody makes here.
export { tensor } from '@tensorflow/tfjs-core/dist/ops/tensor';
export { upcastType } from '@tensorflow/tfjs-core/dist/types';
export * as util from '@tensorflow/tfjs-core/dist/util';
import { assertAndGetBroadcastShape } from '@tensorflow/tfjs-core/dist/ops/broadcast_util';
import { computePool2DInfo } from '@tensorflow/tfjs-core/dist/ops/conv_util';

export const backend_util = { assertAndGetBroadcastShape, computePool2DInfo };
