/** Batches on their way to the heap: checked against a graph, cut into rows, uploaded as kernels want them. */
import { engine, type Tensor as TfjsTensor } from '#tfjs';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireInteger } from '../core/require.ts';
import type { Batch } from '../data/batch.ts';
import { findFirstLayer, type FirstLayer } from '../model/first-layer.ts';
import { labelsPerInput, outputClasses, type ModelGraph } from '../model/graph.ts';
import { elementCount } from '../tensor/tensor.ts';
import type { HeapBackend } from './backend.ts';
import type { KnownValue } from './instruction.ts';
import { run } from './kernels/support.ts';

/** A batch whose first layer has been computed for the parameters that it goes with, along a line of them for less than a product. */
export interface StartedBatch extends Batch {
  /**
   * [count, outputs] of `findFirstLayer`'s layer, taken instead of being computed: the layer's parameters are not read then, nor the
   * inputs but as factors of its gradient.
   */
  readonly firstOutputs?: Float32Array | RowWriter | undefined;
}

/** The same in arrays, as other threads can be sent it. */
export interface StartedBatchArrays extends Batch {
  readonly firstOutputs?: Float32Array | undefined;
}

/** Writes rows `first` … of some numbers by row to an address of the heap. */
export type RowWriter = (first: number, count: number, pointer: number) => void;

export class NetworkInputs {
  readonly classes: number;
  /** 1 for a classifier, the number of tokens for a language model. */
  readonly labelsPerInput: number;
  readonly #graph: ModelGraph;
  readonly #elements: number;
  readonly #firstLayer: FirstLayer | undefined;

  constructor(graph: ModelGraph) {
    this.#firstLayer = findFirstLayer(graph);
    this.classes = outputClasses(graph);
    this.labelsPerInput = labelsPerInput(graph);
    this.#graph = graph;
    this.#elements = elementCount(graph.input);
  }

  /** The inputs of some rows as they stand in the batch. */
  slice(batch: Batch, first: number, rows: number): Batch['inputs'] {
    return batch.inputs.subarray(first * this.#elements, (first + rows) * this.#elements);
  }

  /** What the first layer makes of some rows, where the batch has it. */
  sliceOfFirst({ firstOutputs }: StartedBatch, first: number, rows: number, { core }: HeapBackend): KnownValue | undefined {
    if (firstOutputs === undefined || this.#firstLayer === undefined) return undefined;
    const { name, outputs } = this.#firstLayer;
    const write = (pointer: number): void => {
      if (typeof firstOutputs === 'function') firstOutputs(first, rows, pointer);
      else core.f32(pointer, rows * outputs).set(firstOutputs.subarray(first * outputs, (first + rows) * outputs));
    };
    return { value: name, shape: [rows, outputs], write };
  }

  /** Parameters that nothing reads of such batches. */
  unread(batches: readonly StartedBatch[]): ReadonlySet<string> {
    const { weight, bias } = this.#firstLayer ?? {};
    const started = batches.every(({ firstOutputs }) => firstOutputs !== undefined);
    return new Set(started ? [weight, bias].flatMap((name) => name ?? []) : []);
  }

  /** Inputs as [rows, height, width, channels], [rows, features] or, as integers, [rows, tokens]. */
  upload(inputs: Batch['inputs'], rows: number): TfjsTensor {
    const [channels = 1, height, width] = this.#graph.input;
    const x = engine().makeTensor(inputs, [rows, ...this.#graph.input], this.#graph.vocabulary === undefined ? 'float32' : 'int32');
    if (height === undefined || width === undefined) return x;
    const images = run('ChannelsLast', { x }, { imageShape: [height, width, channels] });
    x.dispose();
    return images;
  }

  /** Those of `inputs` that stand on the heap in the order of the batch: images of several channels are turned on their way. */
  inOrder(inputs: Batch['inputs']): Float32Array | undefined {
    const [channels = 1, height, width] = this.#graph.input;
    const turned = height !== undefined && width !== undefined && channels > 1 && height * width > 1;
    return inputs instanceof Float32Array && !turned ? inputs : undefined;
  }

  uploadLabels(batch: Batch, first: number, rows: number): TfjsTensor {
    const each = this.labelsPerInput;
    return engine().makeTensor(batch.labels.subarray(first * each, (first + rows) * each), [rows * each], 'int32');
  }

  /** @throws InvalidArgumentError as `require`, and for outputs of a first layer whose gradient would have to be multiplied out. */
  requireForGradient(batch: StartedBatch, isFactored: (name: string) => boolean): void {
    this.require(batch);
    const weight = this.#firstLayer?.weight;
    if (batch.firstOutputs === undefined || (weight !== undefined && isFactored(weight))) return;
    throw new InvalidArgumentError({
      field: 'batch.firstOutputs',
      expected: `none, unless the gradient of ${describe(weight)} stays in factors`,
      got: 'some',
    });
  }

  /** @throws InvalidArgumentError for a batch that is not the graph's. */
  require(batch: StartedBatch): void {
    requireInteger('batch.count', batch.count, 1);
    const expected = batch.count * this.#elements;
    if (batch.inputs.length !== expected) {
      throw new InvalidArgumentError({
        field: 'batch.inputs',
        expected: `${expected} values: ${batch.count} inputs of [${this.#graph.input.join(', ')}]`,
        got: `${batch.inputs.length}`,
      });
    }
    this.#requireFirstOutputs(batch);
    this.#requireTokens(batch);
    // Their bytes are read as i32 on the heap: of another width they would be taken from beyond their end.
    if (!(batch.labels instanceof Int32Array))
      throw new InvalidArgumentError({ field: 'batch.labels', expected: 'an Int32Array', got: describe(batch.labels) });
    const labels = batch.count * this.labelsPerInput;
    if (batch.labels.length !== labels) {
      throw new InvalidArgumentError({ field: 'batch.labels', expected: `${labels} labels`, got: `${batch.labels.length}` });
    }
    for (let i = 0; i < labels; i++) {
      const label = batch.labels[i] as number;
      if (label < 0 || label >= this.classes) {
        throw new InvalidArgumentError({
          field: `batch.labels[${i}]`,
          expected: `a class below ${this.classes}, the network's number of outputs`,
          got: `${label}`,
        });
      }
    }
  }

  /** With fewer numbers than the batch has outputs, the rest would be whatever lies on the heap. @throws InvalidArgumentError */
  #requireFirstOutputs({ firstOutputs, count }: StartedBatch): void {
    if (firstOutputs === undefined) return;
    const numbers = count * (this.#firstLayer?.outputs ?? 0);
    const fits = typeof firstOutputs === 'function' || (firstOutputs instanceof Float32Array && firstOutputs.length === numbers);
    if (numbers > 0 && fits) return;
    throw new InvalidArgumentError({
      field: 'batch.firstOutputs',
      expected:
        numbers === 0
          ? 'none: the first layer is no dense layer of whole inputs'
          : `${numbers} values in a Float32Array, or a function that writes them`,
      got: firstOutputs instanceof Float32Array ? `${firstOutputs.length}` : describe(firstOutputs),
    });
  }

  /** Rows of embeddings are read by these numbers, so none may lie outside; and a softmax over no key at all is no number. */
  #requireTokens({ inputs }: Batch): void {
    const { vocabulary, padding } = this.#graph;
    if (!(vocabulary === undefined ? inputs instanceof Float32Array : inputs instanceof Int32Array)) {
      throw new InvalidArgumentError({
        field: 'batch.inputs',
        expected: vocabulary === undefined ? 'a Float32Array' : 'an Int32Array of token numbers',
        got: describe(inputs),
      });
    }
    if (vocabulary === undefined) return;
    const wrong = (inputs as Int32Array).findIndex((token) => token < 0 || token >= vocabulary);
    if (wrong >= 0) {
      throw new InvalidArgumentError({ field: `batch.inputs[${wrong}]`, expected: `a token below ${vocabulary}`, got: `${inputs[wrong]}` });
    }
    if (padding === undefined) return;
    for (let first = 0; first < inputs.length; first += this.#elements) {
      if (inputs.subarray(first, first + this.#elements).some((token) => token !== padding)) continue;
      throw new InvalidArgumentError({
        field: `batch.inputs[${first}]`, expected: `a sequence with a token that is not the padding, ${padding}`, got: 'padding only',
      });
    }
  }
}

/** Consecutive [first, rows] that cover `count`. */
export function* rowsOf(count: number, size: number): Generator<readonly [number, number]> {
  for (let first = 0; first < count; first += size) yield [first, Math.min(size, count - first)];
}
