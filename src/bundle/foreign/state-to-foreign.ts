/**
 * A network's state as another file has its own: under that file's names, in its layouts, split where it splits, and with
 * what its framework keeps beside weights. The way back from `stateFromForeign`.
 *
 * Nothing is inverted by hand. Tensors that come in with their elements in another order are brought in once more as
 * their elements' numbers, and where each number arrives is where its value is to be taken from: whatever rules, views
 * and orders of flattened images did, this undoes.
 */
import { InvalidArgumentError } from '../../core/errors.ts';
import { requireMembers } from '../../core/require.ts';
import { parameterLayout } from '../../model/graph.ts';
import type { ModelGraph } from '../../model/graph.ts';
import { headParameters } from '../../model/head.ts';
import { elementCount, sameShape } from '../../tensor/tensor.ts';
import type { NetworkState, Tensor } from '../../tensor/tensor.ts';
import type { RawTensor } from '../safetensors.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';
import { mapNames, mappingOptions, requireFit } from './map-names.ts';
import type { MappingReport } from './map-names.ts';
import type { NameRule } from './name-rules.ts';
import { lacksHeadOnly } from './network.ts';

/**
 * @param like a checkpoint of the same network, say the target's own file. Its last layer may be of another size: the state's
 *   then takes its name, where no rule and no framework's convention turns it.
 * @param rules those with which `like` is read.
 * @param field what messages call `like`.
 * @returns by the names of `like` and in its order, weights as F32: what it has for the network, and counts, masks and copies
 *   of weights beside; nothing that belongs to no network, such as an optimiser's state. Names are without the
 *   dictionaries in which PyTorch's checkpoints keep them (`state_dict`).
 * @throws MalformedFileError where `like` does not hold the network; InvalidArgumentError where `state` does not.
 */
export function stateToForeign(
  graph: ModelGraph, state: NetworkState, like: ForeignCheckpoint, rules: readonly NameRule[] = [], field = 'like',
): ReadonlyMap<string, RawTensor> {
  requireMembers('state', state, ['parameters', 'buffers'], 'weights, { parameters, buffers }');
  requireMembers('like', like, ['tensors', 'convention'], 'what readForeign gives');
  const layout = parameterLayout(graph);
  const mapping = mappingOptions(graph, like.convention, rules);
  const first = mapNames(like.tensors, layout, rules, mapping).report;
  const heads = otherHead(graph, like, rules, first);
  const report = heads === undefined ? first : mapNames(like.tensors, layout, rules, { ...mapping, replaced: headParameters(graph) }).report;
  requireFit(field, report, lacksHeadOnly(graph, report) ? 'a file with the same head has them all' : undefined);

  const turned = report.mapped.filter((item) => item.turned);
  const numbered = new Map(like.tensors);
  for (const item of turned) for (const [name, tensor] of numberedSources(like, sourcesOf(item))) numbered.set(name, tensor);
  const arrivals = turned.length === 0 ? undefined : mapNames(numbered, layout, rules, mapping).tensors;

  const shapes = new Map([...layout.parameters, ...layout.buffers].map(({ name, shape }) => [name, shape]));
  const tensorOf = (name: string): Tensor =>
    requireTensor(name, state.parameters.get(name) ?? state.buffers.get(name), shapes.get(name) as readonly number[]);
  const written = new Map<string, RawTensor>();
  for (const item of report.mapped) {
    const sources = sourcesOf(item).map((name) => [name, like.tensors.get(name) as RawTensor] as const);
    const { data } = tensorOf(item.to);
    let values = item.turned ? backInOrder(data, arrivals?.get(item.to) as RawTensor) : data;
    for (const [name, { shape }] of sources) {
      const count = elementCount(shape);
      written.set(name, asRaw(shape, values.subarray(0, count)));
      values = values.subarray(count);
    }
  }
  for (const [from, to] of heads ?? []) {
    const { shape, data } = tensorOf(to);
    written.set(from, asRaw(shape, data));
  }
  const originals = new Map(report.mapped.map(({ to, from }) => [to, from]));
  const prefix = containerOf([...written.keys()], like.containers ?? new Set());
  const beside = new Map(report.ignored.filter(({ belongs }) => belongs).map((item) => [item.from, item.copyOf]));
  return new Map([...like.tensors].flatMap(([name, tensor]): [string, RawTensor][] => {
    const original = beside.get(name);
    const value = written.get(name)
      ?? (original === undefined ? (beside.has(name) ? tensor : undefined) : written.get(originals.get(original) ?? ''));
    return value === undefined ? [] : [[name.startsWith(prefix) ? name.slice(prefix.length) : name, value]];
  }));
}

const sourcesOf = ({ from, parts }: MappingReport['mapped'][number]): readonly string[] => parts ?? [from];

/** The file's names of a last layer of another size, with the network's; undefined where it is of the same or its layout is not known. */
function otherHead(
  graph: ModelGraph, { tensors, convention }: ForeignCheckpoint, rules: readonly NameRule[], report: MappingReport,
): ReadonlyMap<string, string> | undefined {
  const { misshapen, missing } = report;
  if (misshapen.length === 0 || missing.length > 0 || !lacksHeadOnly(graph, report) || convention !== 'pytorch' || rules.length > 0) return undefined;
  const asTheyAre = misshapen.every(({ from, got, expected }) => sameShape(tensors.get(from)?.shape ?? [], got) && got.length === expected.length);
  return asTheyAre ? new Map(misshapen.map(({ from, to }) => [from, to])) : undefined;
}

/** Tensors that are joined to one, or one, with the numbers of their elements instead of values. */
function numberedSources(like: ForeignCheckpoint, names: readonly string[]): [string, RawTensor][] {
  let next = 0;
  return names.map((name) => {
    const { shape } = like.tensors.get(name) as RawTensor;
    const numbers = Int32Array.from({ length: elementCount(shape) }, () => next++);
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
  if (tensor !== undefined && sameShape(tensor.shape, shape)) return tensor;
  throw new InvalidArgumentError({
    field: `state.${name}`,
    expected: `shape [${shape.join(', ')}]`,
    got: tensor === undefined ? 'none of that name' : `[${tensor.shape.join(', ')}]`,
  });
}

function asRaw(shape: readonly number[], values: Float32Array): RawTensor {
  return { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

/** The longest of the containers that all names lie in; empty where there is none. */
function containerOf(names: readonly string[], containers: ReadonlySet<string>): string {
  return [...containers].filter((container) => names.every((name) => name.startsWith(container))).toSorted((a, b) => b.length - a.length)[0] ?? '';
}
