/**
 * The type of `#wasm`, which package.json resolves to static imports under workerd (it forbids compiling from bytes)
 * and to inlined bytes everywhere else.
 */
import type { WasmSource } from './webassembly.ts';

/** Our own kernels, built from `assembly/`. */
export function coreWasm(): WasmSource;
/** The matrix products once more, built with relaxed SIMD; undefined where it is not packaged (workerd). */
export function relaxedWasm(): WasmSource | undefined;
/** tfjs-backend-wasm's SIMD binary. */
export function tfjsWasm(): WasmSource;
/** SHA-256 of the binaries, lower-case hex, fixed when the package was built; of tfjs's before kernels that nobody calls were taken out. */
export const coreWasmSha256: string;
export const relaxedWasmSha256: string;
export const tfjsWasmSha256: string;
