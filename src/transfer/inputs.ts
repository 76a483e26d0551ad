/**
 * What every job checks before it computes: that network, weights and data belong together. Each refusal names the
 * field at fault, so that a wrong class count is not met as a shape error five floors below.
 */
import type { Core } from '../core/core.ts';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireMembers, requireNumber } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import type { OptionNames } from '../core/options.ts';
import { splitRows } from '../data/split.ts';
import { isImageSet, isTokenSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import type { SequenceForm, SequenceSet } from '../data/sequence-set.ts';
import type { TokenSet } from '../data/token-set.ts';
import type { NetworkOptions } from '../gradient/network.ts';
import { requireLayout } from '../gradient/parameters.ts';
import { requireOpenPool } from '../gradient/workers/pool.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import { inferShapes, labelsPerInput, outputClasses, parameterLayout, readsSequences } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { elementCount, requireFiniteState, sameShape } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { JobControl } from './progress.ts';

/** What the options of every job are made of: how it is called, and by which members it is known. */
const parts = {
  graph: ['a network: preset(), sequential(), a GraphBuilder', ['input', 'nodes', 'output']],
  state: ['weights, { parameters, buffers }', ['parameters', 'buffers']],
  data: ['a data set: imageSet(), imageSetFromIdx(), tokenSet(), sequenceSet() …', ['count', 'classes']],
  source: [
    'a trajectory: openBundle(), the `trajectory` of a training, trajectoryFromStates()',
    ['graph', 'checkpoints', 'readCheckpoint'],
  ],
} as const;

/**
 * @param wanted option → the part that it must be.
 * @throws InvalidArgumentError that names the first option missing or of another kind.
 */
export function requireParts(options: unknown, wanted: Readonly<Record<string, keyof typeof parts>>): void {
  for (const [name, part] of Object.entries(wanted)) {
    const [expected, members] = parts[part];
    requireMembers(name, (options as Readonly<Record<string, unknown>> | null | undefined)?.[name], members, expected);
  }
}

/** What every job takes besides its own. */
export const controlNames: OptionNames<JobControl> = { onProgress: true, signal: true };

/** @throws InvalidArgumentError where data and network disagree in shape or classes, or the data is empty or mislabelled. */
export function requireData(graph: ModelGraph, data: DataSet): void {
  if (data.count === 0) {
    throw new InvalidArgumentError({ field: 'data.count', expected: 'at least one input', got: '0' });
  }
  if (isTokenSet(data)) {
    requireTokens(graph, data);
    return;
  }
  if (!isImageSet(data)) {
    requireSequences(graph, data);
    return;
  }
  if (graph.vocabulary !== undefined)
    throw new InvalidArgumentError({ field: 'data', expected: 'tokens, which the network reads', got: 'images' });
  const imageShape = [data.channels, data.height, data.width];
  const fits =
    sameShape(imageShape, graph.input) || (graph.input.length === 1 && graph.input[0] === elementCount(imageShape));
  if (!fits) {
    throw new InvalidArgumentError({
      field: 'data',
      expected: `images of shape [${graph.input.join(', ')}], the input of the network`,
      got: `[${imageShape.join(', ')}]`,
    });
  }
  const classes = outputClasses(graph);
  if (data.classes !== classes || classes > limits.classes) {
    throw new InvalidArgumentError({
      field: 'data.classes',
      expected: `${classes}, the outputs of the network (at most ${limits.classes})`,
      got: `${data.classes}`,
    });
  }
  if (data.labels.length !== data.count || data.images.length !== data.count * elementCount(imageShape)) {
    throw new InvalidArgumentError({
      field: 'data',
      expected: `${data.count} labels and ${data.count * elementCount(imageShape)} bytes of images`,
      got: `${data.labels.length} and ${data.images.length}`,
    });
  }
  requireLabels(data.labels, classes);
}

function requireLabels(labels: Uint8Array, classes: number): void {
  const row = labels.findIndex((label) => label >= classes);
  if (row < 0) return;
  throw new InvalidArgumentError({ field: `data.labels[${row}]`, expected: `a class below ${classes}`, got: `${labels[row]}` });
}

function requireTokens(graph: ModelGraph, data: TokenSet): void {
  const [tokens] = graph.input;
  if (graph.vocabulary === undefined || tokens !== data.length || labelsPerInput(graph) !== data.length) {
    throw new InvalidArgumentError({
      field: 'data.length',
      expected: graph.vocabulary === undefined ? 'images: the network reads no tokens' : `windows of ${tokens} tokens, one label each`,
      got: `windows of ${data.length} tokens`,
    });
  }
  const vocabulary = Math.min(graph.vocabulary, outputClasses(graph));
  if (data.classes > vocabulary) {
    throw new InvalidArgumentError({
      field: 'data.classes',
      expected: `at most ${vocabulary}, the vocabulary of the network`,
      got: `${data.classes}`,
    });
  }
}

/** What sequences for a classifier of texts are held against as they are read, so that a token beyond is told by its place. */
export function sequenceFormOf(graph: ModelGraph): Omit<SequenceForm, 'name'> {
  const { input: [length = 1], padding, vocabulary = 1 } = graph;
  return { length, ...onlyDefined({ padding }), vocabulary, classes: outputClasses(graph) };
}

function requireSequences(graph: ModelGraph, data: SequenceSet): void {
  const [tokens] = graph.input;
  if (graph.vocabulary === undefined || !readsSequences(graph)) {
    throw new InvalidArgumentError({
      field: 'data',
      expected: graph.vocabulary === undefined ? 'images: the network reads no tokens' : 'tokens: the network has a label for each',
      got: 'labelled sequences',
    });
  }
  if (data.length !== tokens || data.padding !== graph.padding) {
    const form = (length: number | undefined, padding: number | undefined): string =>
      `${length} tokens${padding === undefined ? '' : `, of which ${padding} is padding`}`;
    throw new InvalidArgumentError({
      field: 'data.length', expected: form(tokens, graph.padding), got: form(data.length, data.padding),
    });
  }
  if (data.vocabulary > graph.vocabulary) {
    throw new InvalidArgumentError({
      field: 'data.vocabulary', expected: `at most ${graph.vocabulary}, that of the network (of one by name its \`vocabulary\`)`,
      got: `${data.vocabulary}`,
    });
  }
  const { count, starts, labels, sequences } = data;
  // A set may be a literal of the caller's.
  if (labels.length !== count || starts.length !== count + 1 || starts[0] !== 0 || starts[count] !== sequences.length) {
    throw new InvalidArgumentError({
      field: 'data',
      expected: `${count} labels and as many starts and one, from 0 to the ${sequences.length} tokens`,
      got: `${labels.length} and ${starts.length}, from ${starts[0]} to ${starts.at(-1)}`,
    });
  }
  for (let row = 0; row < count; row++) {
    const length = (starts[row + 1] as number) - (starts[row] as number);
    const least = data.padding === undefined ? data.length : 1;
    if (length >= least && length <= data.length) continue;
    const expected = `${least === data.length ? '' : `${least} to `}${data.length} tokens on`;
    throw new InvalidArgumentError({ field: `data.starts[${row + 1}]`, expected, got: `${length}` });
  }
  const classes = outputClasses(graph);
  if (data.classes !== classes)
    throw new InvalidArgumentError({ field: 'data.classes', expected: `${classes}, the outputs of the network`, got: `${data.classes}` });
  requireLabels(labels, classes);
}

/**
 * @param role what the state is called in messages: `source`, `target`, `initial` …
 * @throws InvalidArgumentError for a missing, unexpected or misshapen tensor; NotFiniteError for NaN or infinity.
 */
export function requireState(role: string, graph: ModelGraph, state: NetworkState): void {
  requireLayout(role, parameterLayout(graph), state);
  requireFiniteState(role, state);
}

/**
 * @throws InvalidArgumentError for a closed pool, also where nothing would be asked of it, and for workers that compute in another
 *   arithmetic than the core: records name one.
 */
export function requireWorkers(workers: GradientWorkers | undefined, { arithmetic }: Core): void {
  if (workers === undefined) return;
  requireOpenPool(workers);
  if (workers.arithmetic !== arithmetic) {
    throw new InvalidArgumentError({ field: 'workers', expected: `${arithmetic} arithmetic, as that of compute`, got: workers.arithmetic });
  }
}

/** Inputs a mini-batch, of trainings and transfers alike. */
export const DEFAULT_BATCH_SIZE = 128;

/** What a network is compiled with: no micro-batches where a batch is one, which batch norm has no objection to. */
export function microBatchOption(batchSize: number, microBatch: number | undefined): Pick<NetworkOptions, 'microBatch'> {
  return microBatch === undefined || microBatch >= batchSize ? {} : { microBatch };
}

/**
 * @param drawn batches that are drawn one after the other.
 * @throws InvalidArgumentError where batch norm will meet a batch with one value a channel, the last of an epoch as a
 *   rule: late in a long job.
 */
export function requireBatches(graph: ModelGraph, rows: number, batchSize: number, drawn: number): void {
  const rest = rows % batchSize;
  const [smallest, first] = rest === 0 || rows < batchSize ? [Math.min(batchSize, rows), 1] : [rest, Math.ceil(rows / batchSize)];
  if (smallest > 1 || drawn < first) return;
  const shapes = inferShapes(graph);
  const norm = graph.nodes.find(({ op, name }) => op === 'batch_norm' && elementCount(shapes.get(name)?.slice(1) ?? []) === 1);
  if (norm === undefined) return;
  throw new InvalidArgumentError({
    field: 'batchSize',
    expected: `batches of two inputs and more, because one has no variance for ${describe(norm.name)} (batch_norm)`,
    got: `${batchSize}, of which the smallest batch of ${rows} inputs is one`,
  });
}

/** Training rows and held-out rows of a seeded split; with fraction 0 nothing is held out. */
export function splitData(
  data: DataSet,
  heldOutFraction: number,
  seed: number,
): { readonly training: Int32Array; readonly heldOut: Int32Array } {
  requireNumber('heldOutFraction', heldOutFraction, 0, 0.9);
  const split = splitRows(data.count, heldOutFraction, seed);
  if (split.training.length === 0) {
    throw new InvalidArgumentError({
      field: 'data.count',
      expected: `enough images for a training part beside a held-out fraction of ${heldOutFraction}`,
      got: `${data.count}`,
    });
  }
  return split;
}
