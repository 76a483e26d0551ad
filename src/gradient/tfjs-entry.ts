/**
 * What trajport uses of tfjs, prebundled by `scripts/build.mjs` into the one file `dist/tfjs.js` that every runtime and
 * every test imports as `#tfjs` (plain Node and Deno cannot load tfjs's own deep imports: they lack extensions).
 */
export * from '@tensorflow/tfjs-core/dist/base';
export * from '@tensorflow/tfjs-core/dist/register_all_gradients';
export { BackendWasm } from '@tensorflow/tfjs-backend-wasm/dist/backend_wasm';
