/**
 * A compiled graph: gradients, evaluation, logits, batch-norm statistics and training. States go in and come out as
 * `NetworkState` in PyTorch's names and layouts; between calls nothing stays on the heap except open trainers.
 */
import type { Tensor as TfjsTensor } from '#tfjs';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, OutOfMemoryError, UnsupportedError } from '../core/errors.ts';
import { requireChoice, requireInteger } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import type { Batch } from '../data/batch.ts';
import { inferShapes, parameterLayout, parameterName, type ModelGraph, type ParameterLayout } from '../model/graph.ts';
import type { Segment } from '../model/segments.ts';
import { sumOfOuterProducts, type NamedOuterProducts } from '../tensor/outer-products.ts';
import type { NamedTensors, NetworkState, WrittenState } from '../tensor/tensor.ts';
import { requireOptimiser, type OptimiserSettings } from './optimiser.ts';
import { HeapParameters } from './parameters.ts';
import type { HeapBackend } from './backend.ts';
import { lossAndGradient } from './kernels/loss.ts';
import { run } from './kernels/support.ts';
import { DEFAULT_LOSS, requireLoss, type Loss } from './loss.ts';
import { GradientFits } from './memory.ts';
import { NetworkInputs, rowsOf, type StartedBatch, type StartedBatchArrays } from './network-inputs.ts';
import { compileProgram, type Program } from './program.ts';
import { halvesOf, type Block } from './summation.ts';
import { Tape, type TapeOptions } from './tape.ts';
import { StatisticsAverage, type BatchStatistics } from './batch-statistics.ts';
import { Trainer } from './trainer.ts';

/** How a graph is compiled. */
export interface NetworkOptions {
  /**
   * Most images on the heap at once. A gradient is then accumulated over parts of each batch: the same to rounding (1e-6), with
   * less memory. Refused for batch norm, whose statistics depend on the whole batch.
   */
  readonly microBatch?: number;
  /** What gradients, training and evaluation measure. Default: softmax cross-entropy without label smoothing. */
  readonly loss?: Loss;
  /**
   * Weights whose gradients stay the outer products that they are sums of (`GradientResult.factors`): of dense layers of vectors,
   * as `factorableWeights` lists them. Without effect on training.
   */
  readonly factored?: readonly string[];
}

export const networkOptionNames: OptionNames<NetworkOptions> = { microBatch: true, loss: true, factored: true };

/** Losses and mean gradient of some batches. */
export interface GradientResult {
  /** Mean loss of each batch, over all its labels. */
  readonly losses: readonly number[];
  /** Mean over the batches, in the graph's order of parameters, without those of `NetworkOptions.factored`. */
  readonly gradients: NamedTensors;
  /** The gradients of `NetworkOptions.factored`, [out, in] each, with one term an image. They may share the batch's memory. */
  readonly factors: NamedOuterProducts;
}

/** Weights that may be named in `NetworkOptions.factored`, in the graph's order. */
export function factorableWeights(graph: ModelGraph): readonly string[] {
  const shapes = inferShapes(graph);
  return graph.nodes.flatMap((node) =>
    node.op === 'dense' && node.transposed !== true && shapes.get(node.inputs[0] as string)?.length === 1
      ? [parameterName(node.name, 'weight')]
      : [],
  );
}

/** Batch-norm statistics in the making. */
export interface StatisticsEstimate {
  add(batch: Batch): void;
  /** The next batch's, where they were computed elsewhere by `batchStatistics`. @throws InvalidArgumentError for another network's. */
  addFound(statistics: readonly BatchStatistics[]): void;
  /** The state with the statistics of what was added. */
  state(): NetworkState;
}

/** Some images of a batch of `wholeCount`. */
export interface BatchPart extends StartedBatchArrays {
  readonly wholeCount: number;
}

/** Consecutive blocks of a half of a gradient's parts, or those of both halves (`summation.ts`). */
export type PartRun = readonly (readonly Block<BatchPart>[])[];

/** Scores over all labels of a data set. */
export interface Evaluation {
  /** Mean loss an image, in nats for cross-entropies. */
  readonly loss: number;
  /** Share of images classified rightly, 0 to 1. */
  readonly accuracy: number;
  /** Labels predicted rightly, and all of them. */
  readonly correct: number;
  readonly count: number;
}

/** Images at once in evaluations and logits: memory depends on it, and rounding, since zeros choose the form of a convolution. */
const EVALUATION_CHUNK = 256;

/** A graph compiled for one core: `GradientEngine.compile` makes it. */
export class Network implements Disposable {
  readonly graph: ModelGraph;
  readonly layout: ParameterLayout;
  readonly classes: number;
  /** Labels an input: 1 for a classifier, the number of tokens for a language model. */
  readonly labelsPerInput: number;
  readonly #backend: HeapBackend;
  readonly #training: Program;
  readonly #evaluation: Program;
  /** What it was compiled with. */
  readonly options: NetworkOptions;
  readonly #loss: Loss;
  readonly #factored: ReadonlySet<string>;
  readonly #inputs: NetworkInputs;
  readonly #fits: GradientFits;

  constructor(backend: HeapBackend, graph: ModelGraph, options: NetworkOptions) {
    requireOptions('compile', options, networkOptionNames);
    this.#backend = backend;
    this.graph = graph;
    this.layout = parameterLayout(graph);
    this.#inputs = new NetworkInputs(graph);
    this.#fits = new GradientFits(graph);
    this.classes = this.#inputs.classes;
    this.labelsPerInput = this.#inputs.labelsPerInput;
    const trained = new Set(this.layout.parameters.map(({ name }) => name));
    this.#training = compileProgram(graph, trained, true);
    this.#evaluation = compileProgram(graph, trained, false);
    this.options = options;
    if (options.microBatch !== undefined) requireInteger('options.microBatch', options.microBatch, 1);
    this.#loss = requireLoss('options.loss', options.loss ?? DEFAULT_LOSS);
    this.#factored = new Set(options.factored);
    for (const [i, name] of (options.factored ?? []).entries()) requireChoice(`options.factored[${i}]`, name, factorableWeights(graph));
    const dependent = graph.nodes.find((node) => node.op === 'batch_norm');
    if (this.options.microBatch !== undefined && dependent !== undefined) {
      throw new UnsupportedError({
        field: 'options.microBatch',
        expected: `no micro-batches, because the statistics of ${describe(dependent.name)} (batch_norm) belong to the whole batch`,
        got: `${this.options.microBatch}`,
      });
    }
  }

  /**
   * The gradient of the mean over `batches` of the mean loss; batch norm in training mode, state unchanged.
   * @param into a result of this network that is not to be read any more: its arrays are taken where they fit, those
   *   that lie in a batch apart.
   * @throws InvalidArgumentError for no batches, a wrong size, a label out of range, or a state that is not the graph's.
   * @throws OutOfMemoryError; everything is freed then and the next call works.
   */
  gradient(state: NetworkState | WrittenState, batches: readonly StartedBatch[], into?: GradientResult): GradientResult {
    if (batches.length === 0) throw new InvalidArgumentError({ field: 'batches', expected: 'at least one batch', got: 'none' });
    return this.#backend.scope(() => {
      const parameters = new HeapParameters(this.#backend, this.layout, state, this.#factored, into?.factors, this.#inputs.unread(batches));
      try {
        const losses = this.accumulateGradient(parameters, batches);
        if (batches.length > 1) parameters.scaleGradients(1 / batches.length);
        return { losses, gradients: parameters.readGradients(into?.gradients), factors: meanFactors(parameters, batches.length) };
      } finally {
        parameters.clearGradients();
      }
    });
  }

  /**
   * What each of some runs of `gradient`'s parts adds up to, one by one. For workers.
   * @param arrays gradients are read into these, a run each, as long as there are some; `state`'s own may be among them.
   * @throws as `gradient`.
   */
  eachRun(
    state: NetworkState,
    runs: readonly PartRun[],
    arrays: readonly NamedTensors[],
    visit: (losses: readonly number[], gradients: NamedTensors, factors: NamedOuterProducts) => void,
  ): void {
    this.#backend.scope(() => {
      const unread = this.#inputs.unread(runs.flat(3));
      const parameters = new HeapParameters(this.#backend, this.layout, state, this.#factored, undefined, unread);
      try {
        for (const [i, own] of runs.entries()) {
          for (const part of own.flat(2)) this.#inputs.requireForGradient(part, (name) => parameters.isFactored(name));
          const losses = this.#whereThereIsRoom(parameters, own.flat().length, (segmentsOf) => {
            const found: number[] = [];
            addInOrder(parameters, own, (part) => {
              found.push(this.#accumulatePart(parameters, part, 0, part.count, segmentsOf(part.count)));
            });
            return found;
          });
          visit(losses, parameters.readGradients(arrays[i]), meanFactors(parameters, 1));
          parameters.clearGradients();
        }
      } finally {
        parameters.clearGradients();
      }
    });
  }

  /**
   * Loss and accuracy over all images of all batches; batch norm by its running statistics.
   * @param onLogits called with the scores of some images after the other, as `logits` gives them, to be read during the call.
   * @throws as `gradient`.
   */
  evaluate(state: NetworkState, batches: Iterable<StartedBatch>, onLogits?: (scores: Float32Array) => void): Evaluation {
    return this.#backend.scope(() => {
      const unread = Array.isArray(batches) ? this.#inputs.unread(batches as StartedBatch[]) : undefined;
      const parameters = new HeapParameters(this.#backend, this.layout, state, undefined, undefined, unread);
      let loss = 0;
      let correct = 0;
      let count = 0;
      for (const batch of batches) {
        this.#inputs.require(batch);
        for (const [first, rows] of rowsOf(batch.count, this.#evaluationChunk)) {
          const logits = this.#forward(parameters, batch, first, rows);
          onLogits?.(logits.dataSync() as Float32Array);
          const labels = this.#inputs.uploadLabels(batch, first, rows);
          const [sum, gradient] = lossAndGradient(this.#loss, logits, labels, 1);
          const right = run('CountCorrect', { logits, labels });
          loss += sum.dataSync()[0] as number;
          correct += right.dataSync()[0] as number;
          for (const tensor of [logits, labels, sum, gradient, right]) tensor.dispose();
        }
        count += batch.labels.length;
      }
      if (count === 0) throw new InvalidArgumentError({ field: 'batches', expected: 'at least one input', got: 'none' });
      return { loss: loss / count, accuracy: correct / count, correct, count };
    });
  }

  /** Scores [count, classes], or [count, tokens, vocabulary] of a language model, in evaluation mode. @throws as `gradient`. */
  logits(state: NetworkState, batch: Batch): Float32Array {
    this.#inputs.require(batch);
    const scores = new Float32Array(batch.count * this.labelsPerInput * this.classes);
    this.#backend.scope(() => {
      const parameters = new HeapParameters(this.#backend, this.layout, state);
      for (const [first, rows] of rowsOf(batch.count, this.#evaluationChunk)) {
        const logits = this.#forward(parameters, batch, first, rows);
        scores.set(logits.dataSync(), first * this.labelsPerInput * this.classes);
        logits.dispose();
      }
    });
    return scores;
  }

  /**
   * Begins to estimate batch-norm statistics anew: the cumulative average, over the batches added, of batch mean and unbiased batch
   * variance (PyTorch's reset followed by momentum None). Batch by batch, so that the caller may let its event loop turn between two.
   * @throws as `gradient`.
   */
  estimateStatistics(state: NetworkState): StatisticsEstimate {
    const average = new StatisticsAverage(this.layout);
    return {
      add: (batch) => average.add(this.batchStatistics(state, batch)),
      addFound: (statistics) => average.add(statistics),
      state: () => ({ parameters: state.parameters, buffers: average.buffers() }),
    };
  }

  /** Every batch norm's statistics of this batch, in the order of the graph. @throws as `gradient`. */
  batchStatistics(state: NetworkState, batch: Batch): BatchStatistics[] {
    this.#inputs.require(batch);
    const found: BatchStatistics[] = [];
    this.#backend.scope(() => {
      const parameters = new HeapParameters(this.#backend, this.layout, state);
      const tape = this.#tape(this.#training, parameters, { record: false }, (statistics) => void found.push(statistics));
      tape.forward(this.#inputs.upload(batch.inputs, batch.count)).dispose();
    });
    return found;
  }

  /**
   * A trainer that holds the parameters on the heap until it is disposed.
   * @throws InvalidArgumentError for settings out of range or a state that is not the graph's.
   */
  trainer(state: NetworkState, optimiser: OptimiserSettings): Trainer {
    return new Trainer(this, this.#backend, state, requireOptimiser(optimiser));
  }

  /** The sum over `batches` of the gradients of their mean losses goes into `parameters`; returns those losses. For `Trainer`. */
  accumulateGradient(
    parameters: HeapParameters,
    batches: readonly StartedBatch[],
    onStatistics?: (statistics: BatchStatistics) => void,
  ): number[] {
    for (const batch of batches) this.#inputs.requireForGradient(batch, (name) => parameters.isFactored(name));
    const parts = batches.flatMap((batch, index) =>
      [...rowsOf(batch.count, this.options.microBatch ?? batch.count)].map(([first, rows]) => ({ index, batch, first, rows })),
    );
    return this.#whereThereIsRoom(parameters, parts.length, (segmentsOf) => {
      const losses = batches.map(() => 0);
      const told: BatchStatistics[] = [];
      const tell = onStatistics === undefined ? undefined : (statistics: BatchStatistics): void => void told.push(statistics);
      addInOrder(parameters, halvesOf(parts), ({ index, batch, first, rows }) => {
        const part = { ...batch, wholeCount: batch.count };
        losses[index] = (losses[index] as number) + this.#accumulatePart(parameters, part, first, rows, segmentsOf(rows), tell);
      });
      for (const statistics of told) onStatistics?.(statistics);
      return losses;
    });
  }

  /**
   * Adds what some rows of a batch contribute to the gradient of the mean loss over `batch.wholeCount` images to the open
   * block; returns theirs to the loss.
   */
  #accumulatePart(
    parameters: HeapParameters,
    batch: StartedBatch & Pick<BatchPart, 'wholeCount'>,
    first: number,
    rows: number,
    segments: readonly Segment[],
    onStatistics?: (statistics: BatchStatistics) => void,
  ): number {
    const inputs = this.#inputs.slice(batch, first, rows);
    const known = this.#inputs.sliceOfFirst(batch, first, rows, this.#backend);
    const inputNumbers = known === undefined ? this.#inputs.inOrder(inputs) : (inputs as Float32Array);
    const tape = this.#tape(this.#training, parameters, { record: true, segments, inputNumbers }, onStatistics);
    const logits = known === undefined ? tape.forward(this.#inputs.upload(inputs, rows)) : tape.forwardFrom(known);
    const labels = this.#inputs.uploadLabels(batch, first, rows);
    const [part, gradient] = lossAndGradient(this.#loss, logits, labels, 1 / (batch.wholeCount * this.labelsPerInput));
    const loss = part.dataSync()[0] as number;
    for (const tensor of [logits, labels, part]) tensor.dispose();
    tape.backward(gradient);
    return loss;
  }

  /**
   * What `accumulate` gives, a gradient of `parts`. Told of some rows what of it is to be computed anew: nothing where the heap has room
   * for every value, and more of it, from the start, where what was reckoned found no room.
   */
  #whereThereIsRoom<T>(
    parameters: HeapParameters, parts: number, accumulate: (segmentsOf: (rows: number) => readonly Segment[]) => T,
  ): T {
    const { core } = this.#backend;
    const heapBytes = core.heapLimitBytes - (core.liveBytes - parameters.heapBytes);
    for (;;) {
      let tried: { readonly rows: number; readonly bytes: number } | undefined;
      try {
        return this.#backend.scope(() =>
          accumulate((rows) => {
            const { bytes, segments } = this.#fits.of(rows, parts, heapBytes);
            tried = { rows, bytes };
            return segments;
          }),
        );
      } catch (error) {
        parameters.clearGradients();
        if (!(error instanceof OutOfMemoryError) || tried === undefined) throw error;
        this.#fits.tighten(tried.bytes, heapBytes);
        if (this.#fits.of(tried.rows, parts, heapBytes).bytes >= tried.bytes) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    // A network holds no heap of its own.
  }

  #tape(
    program: Program,
    parameters: HeapParameters,
    options: TapeOptions,
    onStatistics?: (statistics: BatchStatistics) => void,
  ): Tape {
    const report: TapeOptions['onSideOutputs'] = ({ attrs }, x, [statistics]) => {
      if (attrs['node'] === undefined || onStatistics === undefined) return;
      const channels = x.shape.at(-1) ?? 1;
      const both = this.#backend.core.f32(this.#backend.pointer(statistics as TfjsTensor), 2 * channels).slice();
      onStatistics({
        node: attrs['node'] as string, rows: x.size / channels, mean: both.subarray(0, channels), variance: both.subarray(channels),
      });
    };
    return new Tape(this.#backend, program, parameters, { ...options, onSideOutputs: report });
  }

  /** Logits [rows, classes] in evaluation mode. */
  #forward(parameters: HeapParameters, batch: StartedBatch, first: number, rows: number): TfjsTensor {
    const tape = this.#tape(this.#evaluation, parameters, { record: false });
    const known = this.#inputs.sliceOfFirst(batch, first, rows, this.#backend);
    if (known !== undefined) return tape.forwardFrom(known);
    return tape.forward(this.#inputs.upload(this.#inputs.slice(batch, first, rows), rows));
  }

  get #evaluationChunk(): number {
    const { vocabulary, input: [tokens = 1] } = this.graph;
    const labelsOrTokens = vocabulary === undefined ? this.labelsPerInput : Math.max(this.labelsPerInput, tokens);
    return this.options.microBatch ?? Math.max(1, Math.floor(EVALUATION_CHUNK / Math.max(1, labelsOrTokens / 16)));
  }
}

/** Adds what `accumulate` contributes for each part to the gradients. */
function addInOrder<Part>(parameters: HeapParameters, halves: readonly (readonly Block<Part>[])[], accumulate: (part: Part) => void): void {
  for (const half of halves) {
    for (const block of half) {
      for (const part of block) accumulate(part);
      parameters.endBlock();
    }
    parameters.endHalf();
  }
}

function meanFactors(parameters: HeapParameters, batches: number): NamedOuterProducts {
  return new Map([...parameters.factors].map(([name, parts]) => [name, sumOfOuterProducts(parts, 1 / batches)]));
}

