/**
 * What the backend that we take of tfjs-backend-wasm imports of '@tensorflow/tfjs-core', for `scripts/build.mjs` to put
 * in its place: the package's index drags in optimisers, model files, browser storage and every operation.
 */
export { DataStorage, KernelBackend } from '@tensorflow/tfjs-core/dist/backends/backend';
export { env } from '@tensorflow/tfjs-core/dist/environment';
export { deprecationWarn, engine } from '@tensorflow/tfjs-core/dist/globals';
export * as util from '@tensorflow/tfjs-core/dist/util';
