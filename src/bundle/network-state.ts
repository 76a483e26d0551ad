/**
 * A network's state as a safetensors file: PyTorch's names and layouts, so that `load_state_dict(strict=True)` takes
 * it, and so that PyTorch's own files come in.
 */
import { describe } from '../core/describe.ts';
import { MalformedFileError } from '../core/errors.ts';
import { requireMembers } from '../core/require.ts';
import { type NamedTensors, type NetworkState, type Tensor, elementCount, sameShape } from '../tensor/tensor.ts';
import { type RawTensor, rawToFloat32, readSafetensorsOf, safetensorsHeader, writeSafetensors } from './safetensors.ts';

/** What tensors a network has; `parameterLayout(graph)` of `model/` gives one. */
export interface StateLayout {
  readonly parameters: readonly { readonly name: string; readonly shape: readonly number[]; readonly outAxis?: number }[];
  readonly buffers: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

/**
 * PyTorch's batch norm counts its batches in an I64 scalar beside the running statistics. Nothing here depends on it
 * (statistics are re-estimated as a whole), but strict loading in PyTorch demands it: written as 0, ignored on reading.
 */
const COUNTER_SUFFIX = '.num_batches_tracked';
const MEAN_SUFFIX = '.running_mean';

function counterNames(layout: StateLayout): string[] {
  return layout.buffers
    .filter(({ name }) => name.endsWith(MEAN_SUFFIX))
    .map(({ name }) => name.slice(0, -MEAN_SUFFIX.length) + COUNTER_SUFFIX);
}

const shapeText = (shape: readonly number[]): string => `shape [${shape.join(', ')}]`;

/** The header of every canonical file of that layout, and how many bytes of data follow it. */
export function canonicalHeader(layout: StateLayout): ReturnType<typeof safetensorsHeader> {
  return safetensorsHeader([
    ...counterNames(layout).map((name) => ({ name, dtype: 'I64' as const, shape: [] })),
    ...[...layout.parameters, ...layout.buffers].map(({ name, shape }) => ({ name, dtype: 'F32' as const, shape })),
  ]);
}

/**
 * The canonical file of a state: counters first (8-byte elements before 4-byte ones), then parameters and buffers in
 * the order of the graph, all F32. Equal states give equal bytes.
 * @param into memory that the file takes where it is as long.
 * @throws MalformedFileError where the state does not have exactly the layout's tensors.
 */
export function stateToSafetensors(
  layout: StateLayout,
  state: NetworkState,
  metadata?: ReadonlyMap<string, string>,
  into?: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  requireMembers('layout', layout, ['parameters', 'buffers'], 'parameterLayout(graph)');
  requireMembers('state', state, ['parameters', 'buffers'], 'weights, { parameters, buffers }');
  const tensors = new Map<string, RawTensor>();
  for (const name of counterNames(layout)) tensors.set(name, { dtype: 'I64', shape: [], bytes: new Uint8Array(8) });
  for (const role of ['parameters', 'buffers'] as const) {
    if (state[role].size !== layout[role].length) {
      throw new MalformedFileError({ field: `state.${role}`, expected: `${layout[role].length} tensors`, got: `${state[role].size}` });
    }
    for (const { name, shape } of layout[role]) {
      const tensor = state[role].get(name);
      if (tensor === undefined || !sameShape(tensor.shape, shape)) {
        throw new MalformedFileError({
          field: `state.${role}.${name}`,
          expected: shapeText(shape),
          got: tensor === undefined ? 'none of that name' : shapeText(tensor.shape),
        });
      }
      const { buffer, byteOffset, byteLength } = tensor.data;
      tensors.set(name, { dtype: 'F32', shape, bytes: new Uint8Array(buffer, byteOffset, byteLength) });
    }
  }
  return writeSafetensors(tensors, metadata, into);
}

/**
 * Reads a state of the given layout; F64, F16, BF16 and integers become f32.
 * Missing, unexpected and misshapen tensors are errors that name the first culprit; batch counters are ignored.
 * @param field what the file is called in errors.
 * @throws MalformedFileError, LimitError, UnsupportedError
 */
export function stateFromSafetensors(layout: StateLayout, bytes: Uint8Array, field = 'safetensors'): NetworkState {
  return stateWithZeroHead(layout, bytes, field, []);
}

/**
 * The same with zeros for the parameters of a head, whatever the file has for them.
 * @param heads as `headsOf` gives them, none for no zeros. What a later one has besides becomes zeros where the file lacks all of it.
 */
export function stateWithZeroHead(
  layout: StateLayout, bytes: Uint8Array, field: string, heads: readonly ReadonlySet<string>[],
): NetworkState {
  requireMembers('layout', layout, ['parameters', 'buffers'], 'parameterLayout(graph)');
  const tensorCount = layout.parameters.length + layout.buffers.length + counterNames(layout).length;
  const { tensors } = readSafetensorsOf(tensorCount, bytes, field);
  let [zeroed = new Set<string>()]: readonly ReadonlySet<string>[] = heads;
  for (const next of heads.slice(1)) {
    if ([...next].some((name) => !zeroed.has(name) && tensors.has(name))) break;
    zeroed = next;
  }
  return stateFromRawTensors(layout, new Map([...tensors, ...zeroTensors(layout, zeroed)]), field);
}

/** Parameters of zeros, by name. */
export function zeroTensors({ parameters }: StateLayout, names: ReadonlySet<string>): readonly (readonly [string, RawTensor])[] {
  return parameters.flatMap(({ name, shape }): [string, RawTensor][] =>
    names.has(name) ? [[name, { dtype: 'F32', shape, bytes: new Uint8Array(4 * elementCount(shape)) }]] : [],
  );
}

/** As `stateFromSafetensors`, from tensors of any file. */
export function stateFromRawTensors(layout: StateLayout, raw: ReadonlyMap<string, RawTensor>, field: string): NetworkState {
  const used = new Set<string>();
  const take = (name: string, shape: readonly number[]): Tensor => {
    const found = raw.get(name);
    if (found === undefined || !sameShape(found.shape, shape)) {
      throw new MalformedFileError({
        field: `${field}.${name}`,
        expected: shapeText(shape),
        got: found === undefined ? 'no tensor of that name' : shapeText(found.shape),
      });
    }
    used.add(name);
    return { shape, data: rawToFloat32(`${field}.${name}`, found) };
  };
  const collect = (infos: StateLayout['parameters']): NamedTensors =>
    new Map(infos.map(({ name, shape }) => [name, take(name, shape)]));
  const state = { parameters: collect(layout.parameters), buffers: collect(layout.buffers) };
  const counters = new Set(counterNames(layout));
  for (const [name, { shape }] of raw) {
    if (used.has(name) || (counters.has(name) && shape.length <= 1)) continue;
    throw new MalformedFileError({
      field: `${field}.${name}`,
      expected: 'a tensor of the network',
      got: `an unexpected ${describe(name)}`,
    });
  }
  return state;
}
