// The surface of the relaxed binary: the kernels of `index.ts` that multiply matrices, once more, compiled with relaxed SIMD.
// Where a caller asks for it (`arithmetic: 'relaxed'`), they stand in for those of the same names.
export { matmulF32, productF32 } from "./matmul";
export { attentionF32, attentionGradientF32 } from "./attention";
