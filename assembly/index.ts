// The surface of the core binary: a line a kernel. Kernels see pointers and counts only; they allocate nothing and
// have no data segment, because the memory belongs to tfjs-backend-wasm's allocator.
export { matmulF32, matmulScratchBytes, productF32 } from "./matmul";
export { assignmentScratchBytes } from "./assignment-problem";
export {
  assignmentColumnMaximaF32, assignmentColumnMaximaF64, assignmentNegateF32, assignmentNegateF64,
  assignmentSampleRowsF32, assignmentSampleRowsF64,
} from "./assignment-matrix";
export {
  assignmentAdvanceF32, assignmentAdvanceF64, assignmentLeaveOut, assignmentListF32, assignmentListF64, assignmentOpen,
} from "./assignment";
export { assignmentConstantsF32, assignmentConstantsF64 } from "./assignment-constants";
export { assignmentFavouritesF32, assignmentFavouritesF64 } from "./assignment-favourites";
export { assignmentCertifyF32, assignmentCertifyF64 } from "./assignment-certificate";
export { foldPatchesF32, placeImagesF32, rotateFilterF32, tapOffsets, windowOffsets } from "./convolution";
export {
  sparseConvolutionF32, sparseConvolutionScratchBytes, sparseFilterGradientF32, sparseFilterGradientScratchBytes,
  packFilterF32, packedFilterBytes, sparsePixelsF32, sparsePixelsScratchBytes,
} from "./sparse-convolution";
export { sampleNonZeroF32 } from "./nonzeros";
export { sparseProductF32, sparseProductScratchBytes } from "./sparse-product";
export { reverseAxesF32, transposeF32 } from "./layout";
export { averagePoolF32, averagePoolGradientF32, maxPoolF32, maxPoolGradientF32 } from "./pooling";
export { columnCrossMomentsF32, columnMomentsF32, columnProductSumsF32, columnSumsF32, innerF32 } from "./reduction";
export { pairedInnersF32, rowsTimesVectorF32, vectorTimesRowsF32 } from "./inner-products";
export { batchNormByStatisticsF32, batchNormF32, batchNormGradientF32, batchNormScratchBytes } from "./batch-norm";
export { normaliseF32, normaliseGradientF32 } from "./normalisation";
export { addF32, leakyReluF32, leakyReluGradientF32, scaleF32 } from "./activation";
export { smoothMapF32, smoothMapScratchBytes } from "./smooth-map";
export { countCorrectF32, softmaxCrossEntropyF32, targetLossF32 } from "./loss";
export {
  adaptiveAveragePoolF32, adaptiveAveragePoolGradientF32, adaptiveMaxPoolF32, adaptiveMaxPoolGradientF32,
} from "./adaptive-pooling";
export { depthwise3F32, depthwise3ScratchBytes } from "./depthwise-3x3";
export { depthwise3FilterGradientF32 } from "./depthwise-3x3-filter-gradient";
export { depthwise3InputGradientF32 } from "./depthwise-3x3-input-gradient";
export { depthwiseLargeF32, depthwiseLargeFilterGradientF32, depthwiseLargeScratchBytes } from "./depthwise-large";
export { depthwiseF32, depthwiseFilterGradientF32, depthwiseInputGradientF32, depthwiseScratchBytes } from "./depthwise";
export { addRowF32, clampF32, clampGradientF32, copyBlocks, fillRowsF32, multiplyRowF32 } from "./elementwise";
export { adamwF32, sgdF32 } from "./optimiser";
export { orthogonaliseF64, scaledRowSumsF32 } from "./basis";
export {
  addGatheredF32, addGatheredMoveF32, gatherColumnDifferencesF32, gatherRowDifferencesF32, interpolateF32, scatterAddF32, shiftRowsF32,
  subtractF32,
} from "./permute";
export { cosF64, erfF64, expF64, expm1F64, logF64, powF64, sigmoidF64, sinF64, tanhF64 } from "./elementary";
export { fillNormalF32, fillUniformF32 } from "./random";
export { crc32, crc32Tables } from "./checksum";
export { inflateRun } from "./inflate";
export { deflateBlock } from "./deflate";
export { xorBytes, splitPlanes, joinPlanes, quantiseSteps, addSteps, packNibbles, unpackNibbles } from "./codec";
export {
  winogradFilterF32, winogradFilterGradientF32, winogradGradientF32, winogradInputF32, winogradOutputF32,
} from "./winograd";
export { attentionF32, attentionGradientF32, attentionScratchBytes } from "./attention";
export { exponentials, softmaxF32, softmaxGradientF32 } from "./exponential";
export { rowNormF32, rowNormGradientF32 } from "./row-norm";
export { gatherRowsF32, sumRowsF32, sumRowsScratchBytes } from "./token";
