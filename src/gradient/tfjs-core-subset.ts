/**
 * What the backend and the kernel that we take of tfjs-backend-wasm import of '@tensorflow/tfjs-core', for `scripts/build.mjs` to put
 * in its place: the package's index drags in optimisers, model files, browser storage and every operation.
 */
export { DataStorage, KernelBackend } from '@tensorflow/tfjs-core/dist/backends/backend';
export { env } from '@tensorflow/tfjs-core/dist/environment';
export { deprecationWarn, engine } from '@tensorflow/tfjs-core/dist/globals';
export { FusedBatchNorm } from '@tensorflow/tfjs-core/dist/kernel_names';
export * as util from '@tensorflow/tfjs-core/dist/util';
