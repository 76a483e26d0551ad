/// <reference lib="esnext.disposable" preserve="true" />
/**
 * trajport: port a fine-tune from one base network to the next. Everything the world may import stands here; the same
 * import works in Node, Deno, Bun, Workers and browsers.
 */

// Jobs
export { train } from './transfer/train.ts';
export type { Checkpoint, TrainEvent, TrainOptions, TrainResult } from './transfer/train.ts';
export { transfer } from './transfer/transfer.ts';
export type { TransferCounts, TransferEvent, TransferOptions, TransferResult, TransferStep } from './transfer/transfer.ts';
export { transferMethods } from './transfer/settings.ts';
export type { TransferChoices, TransferMethod, TransferSettings } from './transfer/settings.ts';
export { evaluate } from './transfer/evaluate.ts';
export type { EvaluateOptions, Evaluation } from './transfer/evaluate.ts';
export { evaluateEnsemble } from './transfer/ensemble.ts';
export type { EnsembleEvaluation, EvaluateEnsembleOptions } from './transfer/ensemble.ts';
export { withFreshHead, withZeroHead } from './transfer/replaced-head.ts';
export { predict } from './transfer/predict.ts';
export type { PredictOptions } from './transfer/predict.ts';
export { verify } from './transfer/verify.ts';
export type { Verification, VerifyOptions } from './transfer/verify.ts';
export { plan } from './transfer/plan.ts';
export type { PlanOptions, TransferPlan } from './transfer/plan.ts';
export { stopRules } from './transfer/stop-rule.ts';
export type { StopRule } from './transfer/stop-rule.ts';
export type { ScheduleKind } from './transfer/schedule.ts';
export { trajectoryFromStates } from './transfer/trajectory.ts';
export type { Trajectory } from './transfer/trajectory.ts';
export { stateSha256 } from './transfer/record.ts';
export type { ResultRecord } from './transfer/record.ts';
export type { JobControl, ProgressEvent } from './transfer/progress.ts';
export { decodeResumePoint } from './transfer/resume.ts';
export type { JobIdentity, ResumeOptions, ResumePoint, ResumeStore } from './transfer/resume.ts';
export type { Timings } from './transfer/timing.ts';
export { closeSharedCompute, openCompute } from './transfer/compute.ts';
export type { Compute } from './transfer/compute.ts';

// Gradients in several workers
export { openGradientWorkers } from './gradient/workers/pool.ts';
export type { EvaluatedBatch, GradientJob, GradientWorkers, PoolOptions } from './gradient/workers/pool.ts';
export type { RowWriter, StartedBatch, StartedBatchArrays } from './gradient/network-inputs.ts';
export { serveGradients } from './gradient/workers/serve.ts';
export type { NodePort, WebPort } from './gradient/workers/port.ts';

// Bundles and weights
export { TrajectoryBundle, openBundle } from './bundle/reader.ts';
export type { BundleCheckpoint, BundleVerdict, OpenBundleOptions } from './bundle/reader.ts';
export { writeBundle, writeBundleTo } from './bundle/writer.ts';
export type { BundleContent, BundleOptions, CheckpointContent } from './bundle/writer.ts';
export type { ByteSink } from './bundle/zip-writer.ts';
export type { ByteSource, SourceOptions } from './bundle/byte-source.ts';
export type { HttpOptions } from './bundle/http-source.ts';
export type { CheckpointRecord, Manifest, SeedRecord } from './bundle/manifest.ts';
export type { JsonObject, JsonValue } from './bundle/json.ts';
export type { RandomAccess } from './bundle/random-access.ts';
export { openR2 } from './bundle/r2-source.ts';
export type { R2BucketLike, R2ObjectLike, R2Options } from './bundle/r2-source.ts';
export type { Coding } from './bundle/coding.ts';
export { stateFromSafetensors, stateToSafetensors } from './bundle/network-state.ts';
export { readSafetensors, writeSafetensors } from './bundle/safetensors.ts';
export type { RawTensor, SafetensorsFile } from './bundle/safetensors.ts';
export type { StateLayout } from './bundle/network-state.ts';
export type { Dtype } from './bundle/dtype.ts';

// People's files: PyTorch, Keras, TensorFlow.js, ONNX, GGUF, numpy
export { detect, foreignFormatNames, readForeign } from './bundle/foreign/formats.ts';
export type { ForeignFileRead, ForeignFormat } from './bundle/foreign/formats.ts';
export type { ForeignCheckpoint, ForeignFile, KernelConvention, ReadBeside, ReadForeignOptions } from './bundle/foreign/checkpoint.ts';
export { writableFormatOf, writableFormats, writeForeign } from './bundle/foreign/write.ts';
export type { WritableFormat, WriteForeignOptions, WrittenFile, WrittenForeign } from './bundle/foreign/write.ts';
export { describeMisfits, mapNames, requireFit } from './bundle/foreign/map-names.ts';
export type { IgnoredKind, IgnoredTensor, MappedTensors, MappingOptions, MappingReport } from './bundle/foreign/map-names.ts';
export { parseNameRules, recordedRules, renameTensors } from './bundle/foreign/name-rules.ts';
export type { NameRule, Renamed } from './bundle/foreign/name-rules.ts';
export { isAdapter, readAdapter } from './bundle/foreign/adapter.ts';
export type { Adapter, LowRankFactors, WholeTensor } from './bundle/foreign/adapter.ts';
export { portAdapter } from './transfer/adapter.ts';
export type { AdapterOptions, PortAdapterOptions } from './transfer/adapter.ts';
export { stateFromAdapter, stateFromForeign } from './bundle/foreign/network.ts';
export { stateToForeign } from './bundle/foreign/state-to-foreign.ts';
export type { MappedState, StateFromAdapterOptions, StateFromForeignOptions } from './bundle/foreign/network.ts';

// Networks
export { GraphBuilder, sequential } from './model/builder.ts';
export type { Layer, LayerOf, Residual } from './model/builder.ts';
export { preset, presetNames } from './model/presets.ts';
export type { PresetName, PresetOptions } from './model/presets.ts';
export { inferShapes, outputClasses, parameterLayout, parseGraph, tiedWeights } from './model/graph.ts';
export type { GraphNode, ModelGraph, ParameterInfo, ParameterLayout } from './model/graph.ts';
export type { NodeOf, OperationName, OperationOf, Operations, ParameterRole, Shape } from './model/operation-types.ts';
export { flattenedInputs } from './model/flattened-units.ts';
export { graphFromLayersModel } from './model/layers-model.ts';
export { initialise } from './model/initialise.ts';
export type { InitialiseOptions } from './model/initialise.ts';
export { lintPermutationSpec } from './model/permutation-lint.ts';
export type { SpecProblem } from './model/permutation-lint.ts';
export { derivePermutationSpec } from './model/permutation-spec.ts';
export type { Arrangement, AxisSpec, BlockStructure, PermutationGroup, PermutationSpec, TensorSpec } from './model/permutation-spec.ts';

// Data
export { channelStatistics, imageSet, normalised, selectClasses, selectRows } from './data/image-set.ts';
export type { Batch } from './data/batch.ts';
export { normalisedAsRecorded } from './data/normalisation.ts';
export type { ImageSet, ImageSetFields } from './data/image-set.ts';
export { splitRows } from './data/split.ts';
export type { DataSet } from './data/data-set.ts';
export { sequenceSetFromJsonLines } from './bundle/json-lines.ts';
export type { JsonLinesFields } from './bundle/json-lines.ts';
export { sequenceSet } from './data/sequence-set.ts';
export type { SequenceForm, SequenceSet, SequenceSetFields } from './data/sequence-set.ts';
export { tokenSet, tokensFromBytes } from './data/token-set.ts';
export type { TokenSet, TokenSetFields } from './data/token-set.ts';
export { generateTaskPair } from './data/generated.ts';
export type { Task, TaskPairOptions } from './data/generated.ts';
export { imageSetFromArray } from './data/array-images.ts';
export type { ArrayImagesFields } from './data/array-images.ts';
export { imageSetFromIdx } from './data/idx.ts';
export type { IdxFields } from './data/idx.ts';
export { imageSetFromCifar } from './data/cifar.ts';
export type { CifarFields, CifarFormat } from './data/cifar.ts';
export { officialFiles } from './data/official-files.ts';
export type { OfficialFile } from './data/official-files.ts';

// Matching, public in its own right
export { linearSumAssignment, linearSumAssignmentAsync } from './matching/assignment.ts';
export type { AssignmentMethod } from './matching/assignment-matrix.ts';
export type { AssignmentOptions, AssignmentResult, Duals, SimilarityMatrix } from './matching/assignment.ts';
export {
  composePermutations,
  identityPermutations,
  invertPermutations,
  permuteTensors,
  randomPermutations,
} from './matching/permutation.ts';
export type { Permutations } from './matching/permutation.ts';
export { GradientHistory } from './matching/history.ts';
export type { HistoryOptions } from './matching/history.ts';
export type { HeldGroup } from './matching/held-groups.ts';
export { historySize } from './matching/history-size.ts';
export type { HistorySize } from './matching/history-size.ts';
export { solverNames } from './matching/solvers.ts';
export type { SolverName } from './matching/solvers.ts';
export { matchingSolvers } from './matching/exported-solvers.ts';
export type { MatchingOptions, MatchingSolver } from './matching/exported-solvers.ts';
export type { MatchingCounts, MatchingLap, MatchingResult, SolveOptions } from './matching/coordinate-descent.ts';

// Foundations
export { openCore } from './core/core.ts';
export type { Arithmetic, Core, CoreOptions, Scratch } from './core/core.ts';
export type { WasmMemory, WasmModule, WasmSource } from './core/webassembly.ts';
export {
  BudgetError,
  IntegrityError,
  InvalidArgumentError,
  KernelError,
  LimitError,
  LockedError,
  MalformedFileError,
  NetworkError,
  NotFiniteError,
  OutOfMemoryError,
  TrajportError,
  UnsupportedError,
} from './core/errors.ts';
export type { ErrorCode, ErrorFacts } from './core/errors.ts';
export { limits } from './core/limits.ts';
export type { NamedArrays, NumberArray } from './tensor/named-arrays.ts';
export type { NamedOuterProducts, OuterProducts } from './tensor/outer-products.ts';
export type { NamedTensors, NetworkState, Tensor, TensorWriter, WrittenState } from './tensor/tensor.ts';
export { lossKinds } from './gradient/loss.ts';
export type { Loss } from './gradient/loss.ts';
export type { Random } from './tensor/random.ts';
export type { GradientEngine } from './gradient/engine.ts';
export type { BatchStatistics } from './gradient/batch-statistics.ts';
export type { GradientResult, Network, NetworkOptions, StatisticsEstimate } from './gradient/network.ts';
export type { Trainer } from './gradient/trainer.ts';
export type { OptimiserSettings } from './gradient/optimiser.ts';
