/**
 * What trajport uses of tfjs, prebundled by `scripts/build.mjs` into the one file `dist/tfjs.js` that every runtime and
 * every test imports as `#tfjs` (plain Node and Deno cannot load tfjs's own deep imports: they lack extensions).
 * Listed one by one: all of tfjs's kernels, operations and gradients weigh 85 KB gzip, this selection 13.
 */
// The switches that the engine reads (debugging, leak checks: all off).
import '@tensorflow/tfjs-core/dist/flags';

// The engine, its registries and its wasm backend. `getKernelsForBackend` is for a test and a bench, which look at all kernels.
export { BackendWasm } from '@tensorflow/tfjs-backend-wasm/dist/backend_wasm';
export { engine } from '@tensorflow/tfjs-core/dist/globals';
export { env } from '@tensorflow/tfjs-core/dist/environment';
export { getGradient, getKernel, getKernelsForBackend, registerGradient, registerKernel } from '@tensorflow/tfjs-core/dist/kernel_registry';
export type { Tensor } from '@tensorflow/tfjs-core/dist/tensor';
export type { TensorInfo } from '@tensorflow/tfjs-core/dist/tensor_info';
