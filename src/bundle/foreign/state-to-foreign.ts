/**
 * A network's state as another file has its own: under that file's names, in its layouts, split where it splits, and with
 * what its framework keeps beside weights. The way back from `stateFromForeign`.
 *
 * Nothing is inverted by hand. Tensors that come in with their elements in another order are brought in once more as
 * their elements' numbers, and where each number arrives is where its value is to be taken from: whatever rules, views
 * and orders of flattened images did, this undoes.
 */
import { listed } from '../../core/describe.ts';
import { InvalidArgumentError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { requireMembers } from '../../core/require.ts';
import { parameterLayout } from '../../model/graph.ts';
import type { ModelGraph } from '../../model/graph.ts';
import { findHead } from '../../model/head.ts';
import { elementCount, sameShape } from '../../tensor/tensor.ts';
import type { NetworkState, Tensor } from '../../tensor/tensor.ts';
import { type RawTensor, rawF32 } from '../safetensors.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';
import { mapNames, mappingOptions, requireFit } from './map-names.ts';
import type { MappingReport } from './map-names.ts';
import type { NameRule } from './name-rules.ts';
import { fitsWithoutHead } from './network.ts';

/**
 * @param given a checkpoint of the same network, say the target's own file. Its last layer may have another number of classes,
 *   where no rule says in which extents to read it.
 * @param rules those with which that is read.
 * @param field what messages call it.
 * @returns by its names and in its order, weights as F32: what it has for the network, and counts, masks and copies of weights
 *   beside; nothing that belongs to no network, such as an optimiser's state. Names are without the dictionaries in which
 *   PyTorch's checkpoints keep them (`state_dict`).
 * @throws MalformedFileError where the file does not hold the network, InvalidArgumentError where `state` does not;
 *   UnsupportedError for a copy of a weight in another layout than the network's.
 */
export function stateToForeign(
  graph: ModelGraph, state: NetworkState, given: ForeignCheckpoint, rules: readonly NameRule[] = [], field = 'like',
): ReadonlyMap<string, RawTensor> {
  requireMembers('state', state, ['parameters', 'buffers'], 'weights, { parameters, buffers }');
  requireMembers('like', given, ['tensors', 'convention'], 'what readForeign gives');
  const layout = parameterLayout(graph);
  const mapping = mappingOptions(graph, given.convention, rules);
  const fits = mapNames(given.tensors, layout, rules, mapping).report;
  const like = fits.fits ? given : withHeadOf(graph, given, rules, fits);
  const { report } = like === given ? { report: fits } : mapNames(like.tensors, layout, rules, mapping);
  if (!report.fits) requireHeadIn(field, graph, given, rules, fits);
  requireFit(field, report.fits ? report : fits);

  const shapes = new Map([...layout.parameters, ...layout.buffers].map(({ name, shape }) => [name, shape]));
  const tensorOf = (name: string): Tensor =>
    requireTensor(name, state.parameters.get(name) ?? state.buffers.get(name), shapes.get(name) as readonly number[]);
  const arrivals = arrivalsOf(like, report, (numbered) => mapNames(numbered, layout, rules, mapping).tensors);
  const written = new Map<string, RawTensor>();
  for (const item of report.mapped) {
    const { data } = tensorOf(item.to);
    const arrival = arrivals.get(item.to);
    let values = arrival === undefined ? data : backInOrder(data, arrival);
    for (const name of sourcesOf(item)) {
      const { shape } = like.tensors.get(name) as RawTensor;
      const count = elementCount(shape);
      written.set(name, rawF32(shape, values.subarray(0, count)));
      values = values.subarray(count);
    }
  }
  for (const { from, belongs, copyOf } of report.ignored) {
    if (!belongs) continue;
    const tensor = like.tensors.get(from) as RawTensor;
    written.set(from, copyOf === undefined ? tensor : asCopy(from, tensor, tensorOf(copyOf)));
  }
  const container = containerOf([...written.keys()], like.containers ?? new Set());
  return new Map([...like.tensors.keys()].flatMap((name) => {
    const tensor = written.get(name);
    return tensor === undefined ? [] : [[name.slice(container.length), tensor]];
  }));
}

const sourcesOf = ({ from, parts }: MappingReport['mapped'][number]): readonly string[] => parts ?? [from];

/** For each tensor whose elements come in another order than in the file: the place in the file of every element. */
function arrivalsOf(
  like: ForeignCheckpoint, { mapped }: MappingReport, bringIn: (tensors: ReadonlyMap<string, RawTensor>) => ReadonlyMap<string, RawTensor>,
): ReadonlyMap<string, RawTensor> {
  const turned = mapped.filter((item) => item.turned);
  if (turned.length === 0) return new Map();
  const arrived = bringIn(new Map([...like.tensors, ...turned.flatMap((item) => numberedSources(like, sourcesOf(item)))]));
  return new Map(turned.map(({ to }) => [to, arrived.get(to) as RawTensor]));
}

/**
 * `like` with the network's number of classes in its last layer, where only that differs and no rule says in which extents
 * it is read; else itself. Its numbers there are of no account.
 */
function withHeadOf(
  graph: ModelGraph, like: ForeignCheckpoint, rules: readonly NameRule[], { misshapen }: MappingReport,
): ForeignCheckpoint {
  if (!fitsWithoutHead(graph, like, rules) || rules.some(({ view, shape }) => view !== undefined || shape !== undefined)) return like;
  const resized = misshapen.map(({ from, expected: [classes] }): readonly [string, RawTensor] | undefined => {
    const shape = [...(like.tensors.get(from)?.shape ?? [])];
    if (shape.length === 0 || classes === undefined) return undefined;
    shape[like.convention === 'keras' ? shape.length - 1 : 0] = classes;
    return [from, rawF32(shape, new Float32Array(elementCount(shape)))];
  });
  return { ...like, tensors: new Map([...like.tensors, ...resized.filter((item) => item !== undefined)]) };
}

/** @throws MalformedFileError where all but the last layer is there, whose names in the file nobody knows then. */
function requireHeadIn(
  field: string, graph: ModelGraph, given: ForeignCheckpoint, rules: readonly NameRule[], { missing }: MappingReport,
): void {
  const head = findHead(graph);
  const lacking = missing.filter(({ name }) => head?.has(name) === true).map(({ name }) => name);
  if (lacking.length === 0 || !fitsWithoutHead(graph, given, rules)) return;
  throw new MalformedFileError({
    field, expected: "a file with the network's last layer, as that of the fine-tune has it", got: `one without ${listed(lacking)}`,
  });
}

/** What a copy of a weight that the network uses twice becomes. @throws UnsupportedError where it is laid out otherwise. */
function asCopy(name: string, { shape }: RawTensor, weight: Tensor): RawTensor {
  if (sameShape(shape, weight.shape)) return rawF32(shape, weight.data);
  throw new UnsupportedError({
    field: name, expected: `a copy laid out as the weight, [${weight.shape.join(', ')}]`, got: `[${shape.join(', ')}]`,
  });
}

/** Tensors that are joined to one, or one, with the numbers of their elements instead of values. */
function numberedSources(like: ForeignCheckpoint, names: readonly string[]): [string, RawTensor][] {
  let next = 0;
  return names.map((name) => {
    const { shape } = like.tensors.get(name) as RawTensor;
    const numbers = new Int32Array(elementCount(shape));
    for (let i = 0; i < numbers.length; i++) numbers[i] = next++;
    return [name, { dtype: 'I32', shape, bytes: new Uint8Array(numbers.buffer) }];
  });
}

/** Values in the order of the file, from those of the network and the number in the file of each. */
function backInOrder(values: Float32Array, { bytes }: RawTensor): Float32Array {
  const numbers = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) result[numbers.getInt32(4 * i, true)] = values[i] as number;
  return result;
}

function requireTensor(name: string, tensor: Tensor | undefined, shape: readonly number[]): Tensor {
  if (tensor !== undefined && sameShape(tensor.shape, shape) && tensor.data.length === elementCount(shape)) return tensor;
  throw new InvalidArgumentError({
    field: `state.${name}`,
    expected: `shape [${shape.join(', ')}]`,
    got: tensor === undefined ? 'none of that name' : `[${tensor.shape.join(', ')}] of ${tensor.data.length} numbers`,
  });
}

/** The longest of the containers that all names lie in; empty where there is none. */
function containerOf(names: readonly string[], containers: ReadonlySet<string>): string {
  const shared = [...containers].filter((container) => names.every((name) => name.startsWith(container)));
  return shared.toSorted((a, b) => b.length - a.length)[0] ?? '';
}
