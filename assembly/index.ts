// The surface of the core binary: a line a kernel. Kernels see pointers and counts only; they allocate nothing and
// have no data segment, because the memory belongs to tfjs-backend-wasm's allocator.
export { matmulF32, matmulScratchBytes, productF32 } from "./matmul";
export {
  assignmentScratchBytes, assignmentOpen,
  assignmentColumnMaximaF32, assignmentColumnMaximaF64, assignmentNegateF32, assignmentNegateF64,
  assignmentStartF32, assignmentStartF64, assignmentAugmentF32, assignmentAugmentF64,
  assignmentCertifyF32, assignmentCertifyF64,
} from "./assignment";
