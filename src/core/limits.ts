/**
 * Every cap of trajport: its value, its unit and its reason, in one place.
 * A cap exists so that a lying header or an absurd option costs a typed error instead of memory or time.
 */

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** The caps by name: `…Bytes` in bytes, `…Ms` in milliseconds, `…Share` as fractions of the heap's cap. */
export const limits = {
  /** Ranks above this occur in no network format; a rank of 100,000 is an attack on the parser. */
  tensorRank: 8,
  /** 2^31 − 1 elements (8 GiB of f32) is more than a wasm32 heap holds. */
  tensorElements: 2 ** 31 - 1,
  /** Longest tensor, layer or entry name. The longest in torchvision and Hugging Face checkpoints is below 150. */
  nameLength: 1024,
  /** safetensors' own cap for its JSON header is 100 MB; no trajectory needs more than a tenth of it. */
  safetensorsHeaderBytes: 10 * MiB,
  /** Tensors in one safetensors file: the largest published single files hold a few thousand. */
  safetensorsTensors: 100_000,
  /** Entries in one ZIP or tar: six times the checkpoints that a bundle may hold, one entry each; a ZIP without ZIP64 counts no further. */
  zipEntries: 65_535,
  /** Size of `trajectory.json`. */
  manifestBytes: 16 * MiB,
  /**
   * Values (objects, lists, texts, numbers) in one JSON text: an empty object is two bytes of it and 144 on the heap, so that a cap of
   * bytes alone lets a bundle of 18 KB take 245 MB. Of a manifest, one for each `bytesPerValue` that it may have: ours have 30 and more.
   */
  jsonValues: 2 ** 21,
  bytesPerValue: 8,
  /** What one ZIP entry may have, packed or expanded, unless the caller allows more. */
  entryBytes: 512 * MiB,
  /** Largest expansion factor of a deflate stream that we accept: deflate itself cannot exceed 1032. Real bundles stay below 20. */
  inflateRatio: 1032,
  /** Central directory of a ZIP: 65,535 entries with names of 150 bytes take half of this. */
  zipDirectoryBytes: 32 * MiB,
  /**
   * What all deflated entries of one ZIP may expand to: this many times the archive's own size, and at least
   * `inflateFloorBytes`. Bundles stay below 10 times; a bomb of a megabyte claims a gigabyte.
   * Tensors that are views of the same stored bytes, as tied weights are, may have as much in all.
   */
  inflateExpansion: 64,
  inflateFloorBytes: 48 * MiB,
  /** A source without random access (stream, response, server without Range) is read into memory up to this size. */
  streamedSourceBytes: 1 * GiB,
  /** A server that sends nothing for this long has stalled. */
  networkIdleMs: 30_000,
  /** Checkpoints in one bundle. */
  checkpoints: 10_000,
  /** Layers in one graph. */
  graphNodes: 10_000,
  /**
   * Stretches of axes that are looked at to derive what may be permuted, for all concatenations and slices of a graph: half a second. A
   * dense block of 64 layers takes 24,000 and one of 500 layers 1.4 million. A graph of 1.4 KB that joins an axis with itself twelve times
   * took 10 seconds, and each time more four times as long.
   */
  axisStretches: 2 ** 21,
  /**
   * Pieces in which the tensors of a network are matched, one for each stretch of their axes: DenseNet-264 has some 10,000. Weights of 440
   * stretches on both axes have 190,000 each, which took 32 s and 1 GB of a graph of 33 KB.
   */
  matchingPieces: 2 ** 16,
  /** Linear sum assignment: an n × n f32 matrix of this n takes 1 GiB, half of what a wasm32 heap of 2 GiB offers. */
  assignmentSize: 16_384,
  /** One image file after decompression: the 50,000 training images of CIFAR together take 154 MB. */
  imageFileBytes: 1 * GiB,
  /** One file of text or tokens after decompression: a few seconds to read. */
  textFileBytes: 256 * MiB,
  /** Classes of a data set (labels are one byte). */
  classes: 256,
  /**
   * Checkpoints of a real trajectory that GMT keeps in memory of those it has read: half of what an edge isolate leaves
   * beside the heap.
   */
  readCheckpointBytes: 32 * MiB,
  /**
   * Held-out rows that a job keeps as batches: ten thousand images of 14 × 14; making them anew for each step of an MLP
   * 512 was 2 % of a GMT.
   */
  keptBatchBytes: 8 * MiB,
  /**
   * Outputs of a first layer that a transfer may know beforehand, of the images of its mini-batches and as much of held-out
   * ones: 512 units of 4,096 images, three numbers each.
   */
  startedRowBytes: 24 * MiB,
  /** Share of the heap's cap that either may take: 4 MiB of an edge isolate's. Without room they are computed again for each batch. */
  startedRowShare: 1 / 8,
  /**
   * Share of the heap's cap that a line of points may take during a whole transfer: 8 MiB of the default, nothing that
   * matters of an edge isolate's.
   */
  residentLineShare: 1 / 256,
  /**
   * Probabilities that the mean of an ensemble adds up at once: five windows of 64 tokens with GPT-2's vocabulary. Of 256 windows of
   * 1,024 tokens they would be 105 GB.
   */
  meanProbabilityBytes: 128 * MiB,
  /** Mini-batches of one gradient, or of one estimate of batch-norm statistics: CIFAR's 50,000 images in batches of 5. */
  stepBatches: 10_000,
  /** Steps of a transfer schedule. */
  scheduleSteps: 10_000,
  /** The heap of the WebAssembly memory unless the caller sets another: what tfjs's binary itself can address. */
  heapBytes: 2 * GiB,
  /** The least that a cap of it may be: what tfjs's binary starts with, whatever it is told. A smaller cap was taken, and not kept to. */
  smallestHeapBytes: 16 * MiB,
} as const;
