/**
 * The typed surface of our AssemblyScript binary: one line a kernel, as in `assembly/index.ts`.
 * Pointers are byte offsets into the shared heap, counts are in elements unless the name says bytes.
 */

/** f32 matrix products (`assembly/matmul.ts`); strides and leading dimensions in elements, tables are i32 or 0. Wrapper: `matmul.ts`. */
export interface MatmulKernels {
  matmulScratchBytes(m: number, n: number, k: number): number;
  matmulF32(
    aPtr: number, bPtr: number, cPtr: number, m: number, n: number, k: number,
    transposeA: number, transposeB: number, accumulate: number, lda: number, ldb: number, ldc: number,
    aRowsPtr: number, aInnerPtr: number, bInnerPtr: number, bColumnsPtr: number, scratchPtr: number,
  ): void;
  productF32(
    aPtr: number, aRowStride: number, aInnerStride: number, aRowsPtr: number, aRowsRun: number,
    aInnerPtr: number, aInnerRun: number, bPtr: number, bInnerStride: number, bColumnStride: number, bInnerPtr: number, bColumnsPtr: number,
    cPtr: number, ldc: number, m: number, n: number, k: number, accumulate: number, scratchPtr: number,
  ): void;
}

/** Linear sum assignment (`assembly/assignment*.ts`), each for f32 and f64 matrices. Wrapper: `matching/assignment.ts`. */
export interface AssignmentKernels {
  assignmentScratchBytes(rows: number, columns: number, elementBytes: number, sparse: number): number;
  /** `rowPricesPtr`: f64 [rows], the duals of the rows before a warm start, else 0. */
  assignmentOpen(
    scratchPtr: number, matrixPtr: number, rows: number, columns: number, elementBytes: number, sparse: number, rowPricesPtr: number,
    pricesPtr: number, columnOfRowPtr: number, rowKindsPtr: number,
  ): void;
  assignmentColumnMaximaF32(matrixPtr: number, rows: number, columns: number, maximaPtr: number, limit: number): number;
  assignmentColumnMaximaF64(matrixPtr: number, rows: number, columns: number, maximaPtr: number, limit: number): number;
  assignmentNegateF32(valuesPtr: number, count: number): void;
  assignmentNegateF64(valuesPtr: number, count: number): void;
  /** 1 while every row so far has one of its greatest columns for itself. */
  assignmentFavouritesF32(
    slicePtr: number, firstRow: number, count: number, columns: number, takenPtr: number, columnOfRowPtr: number,
  ): number;
  assignmentFavouritesF64(
    slicePtr: number, firstRow: number, count: number, columns: number, takenPtr: number, columnOfRowPtr: number,
  ): number;
  /** Over all rows, call after call with the last answer as `groups`; see `matching/assignment-constants.ts`. */
  assignmentConstantsF32(
    matrixPtr: number, firstRow: number, count: number, columns: number, rowsPtr: number, maskPtr: number, groupsPtr: number,
    groups: number,
  ): number;
  assignmentConstantsF64(
    matrixPtr: number, firstRow: number, count: number, columns: number, rowsPtr: number, maskPtr: number, groupsPtr: number,
    groups: number,
  ): number;
  assignmentSampleRowsF32(matrixPtr: number, rows: number, columns: number, samples: number, toPtr: number): void;
  assignmentSampleRowsF64(matrixPtr: number, rows: number, columns: number, samples: number, toPtr: number): void;
  /** 1: lists for all rows up to the last; 0: a value there is not finite or beyond ±limit. */
  assignmentListF32(scratchPtr: number, lastRow: number, limit: number): number;
  assignmentListF64(scratchPtr: number, lastRow: number, limit: number): number;
  assignmentLeaveOut(scratchPtr: number): void;
  /** 0: solved; 1: `budget` elements of work done and more to do; −1 − row: that row cannot have a column. */
  assignmentAdvanceF32(scratchPtr: number, budget: number): number;
  assignmentAdvanceF64(scratchPtr: number, budget: number): number;
  assignmentCertifyF32(matrixPtr: number, first: number, last: number, columns: number, pricesPtr: number, columnOfRowPtr: number): number;
  assignmentCertifyF64(matrixPtr: number, first: number, last: number, columns: number, pricesPtr: number, columnOfRowPtr: number): number;
}

/** Around the products of a convolution (`assembly/convolution.ts`). */
export interface ConvolutionKernels {
  foldPatchesF32(
    patchesPtr: number, imagePtr: number, first: number, windows: number, outHeight: number, outWidth: number, height: number,
    width: number, channels: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number,
    dilationY: number, dilationX: number,
  ): void;
  placeImagesF32(
    xPtr: number, outPtr: number, count: number, height: number, width: number, channels: number, outHeight: number,
    outWidth: number, top: number, left: number, stepY: number, stepX: number, clear: number,
  ): void;
  rotateFilterF32(
    weightPtr: number, outPtr: number, kernelWidth: number, firstY: number, stepY: number, countY: number, firstX: number,
    stepX: number, countX: number, groupIn: number, outChannels: number, groups: number,
  ): void;
  tapOffsets(
    tablePtr: number, width: number, channels: number, kernelHeight: number, kernelWidth: number, groupChannels: number,
    dilationY: number, dilationX: number,
  ): void;
  windowOffsets(
    tablePtr: number, count: number, height: number, width: number, channels: number, outHeight: number, outWidth: number,
    strideY: number, strideX: number,
  ): void;
}

/** Changes of layout (`assembly/layout.ts`). */
export interface LayoutKernels {
  reverseAxesF32(fromPtr: number, toPtr: number, a: number, b: number, c: number): void;
  transposeF32(fromPtr: number, toPtr: number, count: number, rows: number, columns: number): void;
}

/** Pooling of NHWC images (`assembly/pooling.ts`). */
export interface PoolingKernels {
  averagePoolF32(
    xPtr: number, outPtr: number, count: number, height: number, width: number, channels: number, outHeight: number,
    outWidth: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number, top: number, left: number,
  ): void;
  averagePoolGradientF32(
    dyPtr: number, dxPtr: number, count: number, height: number, width: number, channels: number, outHeight: number,
    outWidth: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number, top: number, left: number,
  ): void;
  maxPoolF32(
    xPtr: number, outPtr: number, tapPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number,
    top: number, left: number,
  ): void;
  maxPoolGradientF32(
    dyPtr: number, tapPtr: number, dxPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number,
    top: number, left: number,
  ): void;
}

/** What a matching is judged by (`assembly/inner-products.ts`): f64 sums over f32 matrices, pairs of positions in i32. */
export interface InnerProductKernels {
  pairedInnersF32(
    aPtr: number, aWidth: number, bPtr: number, bWidth: number, rowsPtr: number, rowCount: number, columnsPtr: number,
    columnCount: number, sumsPtr: number,
  ): void;
  rowsTimesVectorF32(xPtr: number, rows: number, columns: number, vectorPtr: number, outPtr: number): void;
  vectorTimesRowsF32(vectorPtr: number, xPtr: number, rows: number, columns: number, outPtr: number): void;
}

/** Sums over rows in f64 (`assembly/reduction.ts`). */
export interface ReductionKernels {
  columnCrossMomentsF32(aPtr: number, bPtr: number, rows: number, columns: number, sumsPtr: number): void;
  columnMomentsF32(xPtr: number, rows: number, columns: number, sumsPtr: number): void;
  columnProductSumsF32(aPtr: number, bPtr: number, rows: number, columns: number, sumsPtr: number): void;
  columnSumsF32(xPtr: number, rows: number, columns: number, sumsPtr: number): void;
  innerF32(aPtr: number, bPtr: number, count: number): number;
}

/** Batch norm, and what group norm shares with it (`assembly/{batch-norm,normalisation}.ts`). */
export interface NormalisationKernels {
  batchNormByStatisticsF32(
    xPtr: number, yPtr: number, rows: number, channels: number, weightPtr: number, shiftPtr: number, epsilon: number,
    meanPtr: number, variancePtr: number, ceiling: number, slopesPtr: number,
  ): void;
  batchNormF32(
    xPtr: number, yPtr: number, rows: number, channels: number, weightPtr: number, shiftPtr: number, epsilon: number,
    statisticsPtr: number, ceiling: number, scratchPtr: number,
  ): void;
  batchNormGradientF32(
    dyPtr: number, xPtr: number, dxPtr: number, rows: number, channels: number, weightPtr: number, shiftPtr: number, epsilon: number,
    statisticsPtr: number, ceiling: number, weightGradientPtr: number, shiftGradientPtr: number, scratchPtr: number,
  ): void;
  batchNormScratchBytes(channels: number): number;
  fillRowsF32(yPtr: number, rowPtr: number, rows: number, columns: number): void;
  normaliseF32(
    xPtr: number, yPtr: number, rows: number, channels: number, meanPtr: number, scalePtr: number, shiftPtr: number, ceiling: number,
  ): void;
  normaliseGradientF32(
    dyPtr: number, xPtr: number, dxPtr: number, rows: number, channels: number, meanPtr: number, scalePtr: number,
    offsetPtr: number, slopePtr: number,
  ): void;
}

/** Element-wise maps (`assembly/{activation,gelu,smooth-map}.ts`). */
export interface ActivationKernels {
  addF32(xPtr: number, yPtr: number, count: number): void;
  leakyReluF32(xPtr: number, yPtr: number, count: number, slope: number): void;
  leakyReluGradientF32(dyPtr: number, yPtr: number, dxPtr: number, count: number, slope: number): void;
  scaleF32(xPtr: number, count: number, factor: number): void;
  smoothMapF32(kind: number, xPtr: number, yPtr: number, slopePtr: number, count: number, scratchPtr: number): void;
  smoothMapScratchBytes(): number;
}

/** Losses (`assembly/loss.ts`). */
export interface LossKernels {
  targetLossF32(
    kind: number, logitsPtr: number, labelsPtr: number, gradientPtr: number, rows: number, classes: number, smoothing: number,
    scale: number,
  ): number;
  countCorrectF32(logitsPtr: number, labelsPtr: number, rows: number, classes: number): number;
  softmaxCrossEntropyF32(
    logitsPtr: number, labelsPtr: number, gradientPtr: number, rows: number, classes: number, scale: number,
  ): number;
}

/** Parameter updates in place (`assembly/optimiser.ts`). */
export interface OptimiserKernels {
  adamwF32(
    weightPtr: number, gradientPtr: number, firstPtr: number, secondPtr: number, count: number, shrink: number,
    beta1: number, oneMinusBeta1: number, beta2: number, oneMinusBeta2: number, step: number, rootCorrection: number,
    epsilon: number,
  ): void;
  sgdF32(
    weightPtr: number, gradientPtr: number, velocityPtr: number, count: number, rate: number, momentum: number,
    decay: number,
  ): void;
}

/**
 * Gathered and scattered sums and differences, points of a trajectory (`assembly/permute.ts`); strides, counts and
 * widths in elements, tables are i32.
 */
export interface PermuteKernels {
  addGatheredF32(outPtr: number, fromPtr: number, startsPtr: number, count: number, run: number, columnsPtr: number): void;
  addGatheredMoveF32(
    outPtr: number, basePtr: number, aPtr: number, bPtr: number, c: number, startsPtr: number, count: number, run: number,
    columnsPtr: number,
  ): void;
  gatherColumnDifferencesF32(
    sourcePtr: number, sourceStride: number, nowPtr: number, beforePtr: number, count: number,
    outPtr: number, outStride: number, rows: number,
  ): void;
  gatherRowDifferencesF32(
    sourcePtr: number, nowPtr: number, beforePtr: number, count: number, outPtr: number, width: number,
  ): void;
  interpolateF32(aPtr: number, bPtr: number, c: number, outPtr: number, count: number): void;
  shiftRowsF32(
    outPtr: number, basePtr: number, addedPtr: number, c: number, startsPtr: number, count: number, width: number, columnsPtr: number,
  ): void;
  subtractF32(aPtr: number, bPtr: number, outPtr: number, count: number): void;
  scatterAddF32(
    sourcePtr: number, rowsPtr: number, rowCount: number, columnsPtr: number, columnCount: number, outPtr: number, outStride: number,
  ): void;
}

/** f64 functions without tables (`assembly/elementary.ts`). Wrapper: `elementary.ts`. */
export interface ElementaryKernels {
  cosF64(x: number): number;
  erfF64(x: number): number;
  expF64(x: number): number;
  expm1F64(x: number): number;
  logF64(x: number): number;
  powF64(base: number, exponent: number): number;
  sigmoidF64(x: number): number;
  sinF64(x: number): number;
  tanhF64(x: number): number;
}

/** Random numbers in bulk (`assembly/random.ts`). Wrapper: `tensor/random.ts`. */
export interface RandomKernels {
  fillNormalF32(
    outPtr: number, count: number, mean: number, deviation: number, firstBlock: number, index: number, stream: number,
    keyLow: number, keyHigh: number,
  ): void;
  fillUniformF32(
    outPtr: number, count: number, low: number, high: number, firstBlock: number, index: number, stream: number,
    keyLow: number, keyHigh: number,
  ): void;
}

/**
 * CRC-32, DEFLATE, byte planes and quantised steps (`assembly/{checksum,inflate,deflate,codec}.ts`). Wrapper:
 * `bundle/codec-instance.ts`.
 */
export interface CodecKernels {
  crc32Tables(tablePtr: number): void;
  crc32(tablePtr: number, ptr: number, bytes: number, before: number): number;
  inflateRun(statePtr: number, inPtr: number, inBytes: number, inputEnds: number, outPtr: number, outBytes: number): number;
  deflateBlock(statePtr: number, inPtr: number, bytes: number, final: number, outPtr: number): number;
  xorBytes(dstPtr: number, srcPtr: number, bytes: number): void;
  splitPlanes(srcPtr: number, dstPtr: number, count: number): void;
  joinPlanes(srcPtr: number, dstPtr: number, count: number): void;
  quantiseSteps(targetPtr: number, decodedPtr: number, scalesPtr: number, stepsPtr: number, count: number, levels: number): void;
  addSteps(decodedPtr: number, scalesPtr: number, stepsPtr: number, count: number): void;
  packNibbles(srcPtr: number, dstPtr: number, count: number): void;
  unpackNibbles(srcPtr: number, dstPtr: number, count: number): void;
}

/** F(2×2, 3×3) transforms (`assembly/winograd.ts`). */
export interface WinogradKernels {
  winogradInputF32(
    imagePtr: number, vPtr: number, first: number, tiles: number, tilesY: number, tilesX: number, height: number, width: number,
    channels: number, pitch: number,
  ): void;
  winogradFilterF32(weightPtr: number, uPtr: number, plane: number, pitch: number): void;
  winogradOutputF32(
    mPtr: number, yPtr: number, biasPtr: number, first: number, tiles: number, tilesY: number, tilesX: number,
    outHeight: number, outWidth: number, channels: number, pitch: number,
  ): void;
  winogradGradientF32(
    dyPtr: number, pPtr: number, first: number, tiles: number, tilesY: number, tilesX: number, outHeight: number,
    outWidth: number, channels: number, pitch: number,
  ): void;
  winogradFilterGradientF32(sPtr: number, dwPtr: number, plane: number, pitch: number): void;
}

/** Numbers that are not zero, and products that leave out the others (`assembly/nonzeros.ts`, `sparse-product.ts`). */
export interface SparseProductKernels {
  sampleNonZeroF32(dataPtr: number, images: number, count: number, elements: number, countsPtr: number): void;
  sparseProductScratchBytes(): number;
  sparseProductF32(
    aPtr: number, bPtr: number, cPtr: number, m: number, n: number, k: number, transposeA: number, transposeB: number, scratchPtr: number,
  ): void;
}

/** Convolutions over images that are mostly zeros (`assembly/sparse-convolution.ts`). */
export interface SparseConvolutionKernels {
  sparsePixelsScratchBytes(): number;
  sparsePixelsF32(
    dataPtr: number, images: number, count: number, height: number, width: number, channels: number, startsPtr: number, entriesPtr: number,
    scratchPtr: number,
  ): void;
  packedFilterBytes(terms: number, outChannels: number): number;
  packFilterF32(filterPtr: number, packedPtr: number, terms: number, outChannels: number, images: number): void;
  sparseConvolutionScratchBytes(): number;
  sparseConvolutionF32(
    startsPtr: number, filterPtr: number, outPtr: number, images: number, count: number, height: number, width: number, outHeight: number,
    outWidth: number, channels: number, outChannels: number, kernelHeight: number, kernelWidth: number, top: number, left: number,
    scratchPtr: number,
  ): void;
  sparseFilterGradientScratchBytes(outChannels: number): number;
  sparseFilterGradientF32(
    dyPtr: number, imagePtr: number, rowsPtr: number, outPtr: number, rows: number, outChannels: number, kernelHeight: number,
    runElements: number, rowElements: number, scratchPtr: number,
  ): void;
}

/** Orthonormal bases of row spaces (`assembly/basis.ts`); sums and bases are f64. */
export interface BasisKernels {
  orthogonaliseF64(basisPtr: number, count: number, vectorPtr: number, width: number): number;
  scaledRowSumsF32(xPtr: number, rows: number, width: number, placesPtr: number, factorsPtr: number, sumsPtr: number): void;
}

/** Adaptive pooling of NHWC images (`assembly/adaptive-pooling.ts`). */
export interface AdaptivePoolingKernels {
  adaptiveAveragePoolF32(
    xPtr: number, outPtr: number, count: number, height: number, width: number, channels: number, outHeight: number, outWidth: number,
  ): void;
  adaptiveAveragePoolGradientF32(
    dyPtr: number, dxPtr: number, count: number, height: number, width: number, channels: number, outHeight: number, outWidth: number,
  ): void;
  adaptiveMaxPoolF32(
    xPtr: number, outPtr: number, winnersPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number,
  ): void;
  adaptiveMaxPoolGradientF32(
    dyPtr: number, winnersPtr: number, dxPtr: number, count: number, pixels: number, channels: number, outPixels: number,
  ): void;
}

/** Depthwise convolution of NHWC images (`assembly/depthwise.ts`). */
export interface DepthwiseKernels {
  depthwiseScratchBytes(width: number, channels: number, kernelHeight: number): number;
  depthwiseF32(
    xPtr: number, weightPtr: number, biasPtr: number, outPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number,
    dilationY: number, dilationX: number, top: number, left: number, scratchPtr: number,
  ): void;
  depthwiseInputGradientF32(
    dyPtr: number, weightPtr: number, dxPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number,
    dilationY: number, dilationX: number, top: number, left: number,
  ): void;
  depthwiseFilterGradientF32(
    xPtr: number, dyPtr: number, sumsPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, kernelHeight: number, kernelWidth: number, strideY: number, strideX: number,
    dilationY: number, dilationX: number, top: number, left: number, scratchPtr: number,
  ): void;
}

/**
 * Depthwise 3×3 convolution without dilation, of stride 1 or 2, four channels or more, and the input gradient of stride
 * 2 (`assembly/depthwise-3x3*.ts`).
 */
export interface Depthwise3Kernels {
  depthwise3ScratchBytes(width: number, outWidth: number, outHeight: number, channels: number, stride: number): number;
  depthwise3F32(
    xPtr: number, weightPtr: number, biasPtr: number, outPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, stride: number, top: number, left: number, scratchPtr: number,
  ): void;
  depthwise3FilterGradientF32(
    xPtr: number, dyPtr: number, dwPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, stride: number, top: number, left: number, scratchPtr: number,
  ): void;
  depthwise3InputGradientF32(
    dyPtr: number, weightPtr: number, dxPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, top: number, left: number, scratchPtr: number,
  ): void;
}

/** Depthwise 5×5 and 7×7 convolutions of stride 1 of four or more channels (`assembly/depthwise-large*.ts`). */
export interface DepthwiseLargeKernels {
  depthwiseLargeScratchBytes(kernel: number, width: number, channels: number, outHeight: number): number;
  depthwiseLargeF32(
    kernel: number, xPtr: number, weightPtr: number, biasPtr: number, outPtr: number, count: number, height: number, width: number,
    channels: number,
    outHeight: number, outWidth: number, top: number, left: number, scratchPtr: number,
  ): void;
  depthwiseLargeFilterGradientF32(
    kernel: number, xPtr: number, dyPtr: number, dwPtr: number, count: number, height: number, width: number, channels: number,
    outHeight: number, outWidth: number, top: number, left: number, scratchPtr: number,
  ): void;
}

/** Element-wise arithmetic on rows and columns (`assembly/elementwise.ts`). */
export interface ElementwiseKernels {
  addRowF32(xPtr: number, rowPtr: number, yPtr: number, rows: number, columns: number): void;
  clampF32(xPtr: number, yPtr: number, count: number, ceiling: number): void;
  clampGradientF32(dyPtr: number, yPtr: number, dxPtr: number, count: number, ceiling: number): void;
  copyBlocks(fromPtr: number, fromBytes: number, toPtr: number, toBytes: number, bytes: number, count: number): void;
  multiplyRowF32(xPtr: number, rowPtr: number, yPtr: number, rows: number, columns: number): void;
}
/** Attention, softmax, norms over features, rows of tables (`assembly/{attention,exponential,row-norm,token}.ts`); strides in elements. */
export interface SequenceKernels {
  attentionScratchBytes(tokens: number, headFeatures: number, valueFeatures: number): number;
  attentionF32(
    qPtr: number, qStride: number, kPtr: number, kStride: number, vPtr: number, vStride: number, outPtr: number, outStride: number,
    statsPtr: number, count: number, tokens: number, heads: number, keyHeads: number, headFeatures: number, valueFeatures: number,
    causal: number, factor: number, tokensPtr: number, padding: number, scratchPtr: number,
  ): void;
  attentionGradientF32(
    dyPtr: number, dyStride: number, qPtr: number, qStride: number, kPtr: number, kStride: number, vPtr: number, vStride: number,
    statsPtr: number, dqPtr: number, dkPtr: number, dvPtr: number, count: number, tokens: number, heads: number, keyHeads: number,
    headFeatures: number, valueFeatures: number, causal: number, factor: number, tokensPtr: number, padding: number,
    scratchPtr: number,
  ): void;
  /** to = e^((from − shift) · factor) over a row. @returns the sum, in f64. */
  exponentials(fromPtr: number, toPtr: number, columns: number, shift: number, factor: number): number;
  softmaxF32(xPtr: number, yPtr: number, rows: number, columns: number): void;
  softmaxGradientF32(dyPtr: number, yPtr: number, dxPtr: number, rows: number, columns: number): void;
  rowNormF32(
    xPtr: number, yPtr: number, rows: number, columns: number, scalePtr: number, shiftPtr: number, epsilon: number, centre: number,
  ): void;
  rowNormGradientF32(
    dyPtr: number, xPtr: number, dxPtr: number, rows: number, columns: number, scalePtr: number, epsilon: number, centre: number,
    sumsPtr: number,
  ): void;
  gatherRowsF32(tablePtr: number, indicesPtr: number, toPtr: number, count: number, columns: number): void;
  sumRowsScratchBytes(count: number, numbers: number, columns: number): number;
  sumRowsF32(
    rowsPtr: number, indicesPtr: number, tablePtr: number, count: number, numbers: number, columns: number, scratchPtr: number,
  ): void;
}

/** All of them. */
export interface CoreKernels extends
  MatmulKernels, AssignmentKernels, ConvolutionKernels, LayoutKernels, PoolingKernels, ReductionKernels, NormalisationKernels,
  ActivationKernels,
  LossKernels, OptimiserKernels, PermuteKernels, ElementaryKernels, RandomKernels, CodecKernels, WinogradKernels, SparseProductKernels,
  SparseConvolutionKernels, BasisKernels, AdaptivePoolingKernels, DepthwiseKernels, Depthwise3Kernels, DepthwiseLargeKernels,
  ElementwiseKernels,
  InnerProductKernels, SequenceKernels {}
