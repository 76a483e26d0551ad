/**
 * What trajport uses of tfjs, prebundled by `scripts/build.mjs` into the one file `dist/tfjs.js` that every runtime and
 * every test imports as `#tfjs` (plain Node and Deno cannot load tfjs's own deep imports: they lack extensions).
 * Listed one by one: all of tfjs's kernels, operations and gradients weigh 85 KB gzip, this selection 19.
 */
// The switches that the engine reads (debugging, leak checks: all off).
import '@tensorflow/tfjs-core/dist/flags';

// The engine, its registries and its wasm backend.
export { BackendWasm } from '@tensorflow/tfjs-backend-wasm/dist/backend_wasm';
export { engine } from '@tensorflow/tfjs-core/dist/globals';
export { env } from '@tensorflow/tfjs-core/dist/environment';
export { getGradient, getKernel, getKernelsForBackend, registerGradient, registerKernel } from '@tensorflow/tfjs-core/dist/kernel_registry';
export { assertAndGetBroadcastShape } from '@tensorflow/tfjs-core/dist/ops/broadcast_util';
export { computeConv2DInfo, computePool2DInfo } from '@tensorflow/tfjs-core/dist/ops/conv_util';
export type { Tensor } from '@tensorflow/tfjs-core/dist/tensor';
export type { TensorInfo } from '@tensorflow/tfjs-core/dist/tensor_info';

// Stock kernels that are right, and quick where it matters.
export { addConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/Add';
export { avgPoolConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/AvgPool';
export { avgPoolGradConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/AvgPoolGrad';
export { castConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/Cast';
export { fusedBatchNormConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/FusedBatchNorm';
export { multiplyConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/Multiply';
export { realDivConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/RealDiv';
export { reshapeConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/Reshape';
export { subConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/Sub';
export { transposeConfig } from '@tensorflow/tfjs-backend-wasm/dist/kernels/Transpose';

// tfjs's own gradients of kernels that stay under tfjs's rules.
export { addGradConfig } from '@tensorflow/tfjs-core/dist/gradients/Add_grad';
export { avgPoolGradConfig as avgPoolGradientConfig } from '@tensorflow/tfjs-core/dist/gradients/AvgPool_grad';
export { castGradConfig } from '@tensorflow/tfjs-core/dist/gradients/Cast_grad';
export { identityGradConfig } from '@tensorflow/tfjs-core/dist/gradients/Identity_grad';
export { multiplyGradConfig } from '@tensorflow/tfjs-core/dist/gradients/Multiply_grad';
export { reshapeGradConfig } from '@tensorflow/tfjs-core/dist/gradients/Reshape_grad';
export { subGradConfig } from '@tensorflow/tfjs-core/dist/gradients/Sub_grad';
export { transposeGradConfig } from '@tensorflow/tfjs-core/dist/gradients/Transpose_grad';
