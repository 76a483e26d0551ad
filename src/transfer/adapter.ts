/**
 * A fine-tune's LoRA adapter for the network that it was ported to. A port adds the change re-ordered, W₂ + π(scale · B·A), and a
 * permutation of a weight's outputs and inputs is one of B's rows and A's columns. So the ported change has the same low rank, and
 * v2 with the adapter that is made here is the ported network.
 */
import { addProduct, outputAxis } from '../bundle/foreign/adapter-merge.ts';
import type { Adapter, LowRankFactors } from '../bundle/foreign/adapter.ts';
import type { ForeignCheckpoint } from '../bundle/foreign/checkpoint.ts';
import type { NameRule } from '../bundle/foreign/name-rules.ts';
import { toFloat32 } from '../bundle/dtype.ts';
import { type RawTensor, rawF32 } from '../bundle/safetensors.ts';
import { runBreathing } from '../core/breather.ts';
import type { Pieces } from '../core/breather.ts';
import { MalformedFileError, UnsupportedError } from '../core/errors.ts';
import { requireMembers } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { AdapterPlaces } from './adapter-places.ts';
import type { Origins } from './adapter-places.ts';
import type { partOf, Trajectory } from './trajectory.ts';
import type { TransferResult } from './transfer.ts';

/**
 * Share of a change that a bundle may lack. Coded in 4 bits, products of normal factors of 768 × 3072 lack 12 %, of heavy-tailed ones
 * 22 %; another alpha, twice or half of it, is farther off.
 */
const CHANGE_TOLERANCE = 0.25;
/** Share of a weight that rounding may be: that of adding and taking away in 16-bit floats (bfloat16 keeps 8 bits). */
const WEIGHT_TOLERANCE = 2 ** -9;

export interface AdapterOptions {
  readonly graph: ModelGraph;
  /** The fine-tune's, from `readAdapter`. */
  readonly adapter: Adapter;
  /** A file of weights with the names that the adapter's base has, from `readForeign`: that of v2, say. */
  readonly base: ForeignCheckpoint;
  /** Those with which that file is read, if any. */
  readonly rules?: readonly NameRule[];
}

export interface PortAdapterOptions extends AdapterOptions {
  /** The weights that were ported to, as `transfer` had them: with `zeroHead`, last layer of zeros. */
  readonly target: NetworkState;
  /** What `transfer` gave for a linear trajectory that ends at v1 with the adapter. */
  readonly result: Pick<TransferResult, 'state' | 'permutations' | 'chosenStep' | 'steps'>;
  /** Ends it between two of its pieces, of some milliseconds each. */
  readonly signal?: AbortSignal;
}

const optionNames: OptionNames<PortAdapterOptions> = {
  graph: true, adapter: true, base: true, rules: true, target: true, result: true, signal: true,
};

/**
 * The adapter that makes of v2 what the transfer made of it: the given one's tensors by its names, in its order, as F32.
 * @throws MalformedFileError where `base` or the network has not what the adapter changes, and where the transfer did not change
 *   just that: of another fine-tune, or with parameters skipped. UnsupportedError for a network with batch-norm statistics that the
 *   adapter has not; the signal's reason. The event loop has its turns meanwhile.
 */
export async function portAdapter(options: PortAdapterOptions): Promise<ReadonlyMap<string, RawTensor>> {
  requireOptions('portAdapter', options, optionNames);
  const { adapter, result, signal } = options;
  requireMembers('adapter', adapter, ['names', 'factors', 'whole'], 'what readAdapter gives');
  requireMembers('result', result, ['state', 'permutations', 'chosenStep', 'steps'], 'what transfer gives');
  return await runBreathing(portedPieces(options), signal);
}

function* portedPieces({ graph, adapter, base, rules = [], target, result }: PortAdapterOptions): Pieces<ReadonlyMap<string, RawTensor>> {
  const places = new AdapterPlaces(graph, adapter, base, rules);
  requireStatistics(graph, places);
  const fraction = result.steps[result.chosenStep]?.fraction ?? 0;
  const origins = places.origins(result.permutations);
  const factors: LowRankFactors[] = [];
  for (const one of adapter.factors) {
    yield;
    factors.push(movedFactors(one, places.shapeOf(one.weight), origins.get(one.weight) as Origins, fraction));
  }
  const whole = yield* readChange('result', places, { factors, whole: adapter.whole }, target, result.state);
  const ported = new Map<string, RawTensor>();
  for (const { names, shapes, a, b } of factors) {
    ported.set(names.a, rawF32(shapes.a, a));
    ported.set(names.b, rawF32(shapes.b, b));
  }
  for (const { from, name, tensor } of adapter.whole) {
    const values = whole.get(name);
    ported.set(from, values === undefined ? tensor : rawF32(tensor.shape, values));
  }
  return new Map(adapter.names.map((name) => [name, ported.get(name) as RawTensor]));
}

/**
 * @param before v1. @param after v1 with the adapter, as a bundle has the two.
 * @throws MalformedFileError where the adapter is not what changed from one to the other; UnsupportedError as `portAdapter`; the
 *   signal's reason.
 */
export async function requireAdapterOf(
  options: AdapterOptions, before: NetworkState, after: NetworkState, signal?: AbortSignal,
): Promise<void> {
  await runBreathing(heldToChange(options, before, after), signal);
}

function* heldToChange({ graph, adapter, base, rules = [] }: AdapterOptions, before: NetworkState, after: NetworkState): Pieces<void> {
  const places = new AdapterPlaces(graph, adapter, base, rules);
  requireStatistics(graph, places);
  const whole = yield* readChange('adapter', places, adapter, before, after);
  for (const { name, tensor } of adapter.whole) {
    const found = whole.get(name);
    if (found === undefined) continue;
    const wanted = toFloat32(`adapter: ${name}`, tensor.dtype, tensor.bytes);
    if (!isNear(found, wanted, CHANGE_TOLERANCE * norm(wanted))) throw anotherChange('adapter', name);
  }
}

/** As `requireAdapterOf`, for the part of a trajectory that is ported. */
export async function requireAdapterOfPart(
  options: AdapterOptions, trajectory: Trajectory, { first, last }: ReturnType<typeof partOf>, signal?: AbortSignal,
): Promise<void> {
  const [before, after] = [await trajectory.readCheckpoint(first, signal), await trajectory.readCheckpoint(last, signal)];
  await requireAdapterOf(options, before, after, signal);
}

/** A port estimates running statistics anew, so that the adapter must have a place for them. @throws UnsupportedError */
function requireStatistics(graph: ModelGraph, { owners }: AdapterPlaces): void {
  const missing = parameterLayout(graph).buffers.find(({ name }) => !owners.has(name));
  if (missing === undefined) return;
  throw new UnsupportedError({
    field: `adapter: ${missing.name}`,
    expected: 'the statistics of every batch norm, which a port estimates anew (modules_to_save)',
    got: 'none',
  });
}

/** B's rows and A's columns from where the weight's come from; `fraction` of the change. */
function movedFactors(factors: LowRankFactors, shape: readonly number[], { rows, columns }: Origins, fraction: number): LowRankFactors {
  const { rank, inputs, outputs, taps } = factors;
  const byOutputs = outputAxis(factors, shape) === 0;
  const [outputsFrom, inputsFrom] = byOutputs ? [rows, columns] : [columns, rows];
  const b = new Float32Array(outputs * rank);
  for (let out = 0; out < outputs; out++) {
    const from = (outputsFrom[out] as number) * rank;
    for (let r = 0; r < rank; r++) b[out * rank + r] = fraction * (factors.b[from + r] as number);
  }
  const width = inputs * taps;
  const a = new Float32Array(rank * width);
  for (let r = 0; r < rank; r++)
    for (let i = 0; i < width; i++) a[r * width + i] = factors.a[r * width + (inputsFrom[i] as number)] as number;
  return { ...factors, a, b };
}

/**
 * Reads what a state became, in the file's layout, and holds it to what an adapter says.
 * @returns the adapter's whole tensors as `after` has them, by the network's names of the adapter, in the file's layout.
 * @throws MalformedFileError for a tensor whose change is another.
 */
function* readChange(
  field: string, places: AdapterPlaces, { factors, whole }: Pick<Adapter, 'factors' | 'whole'>, before: NetworkState, after: NetworkState,
): Pieces<ReadonlyMap<string, Float32Array>> {
  const byWeight = new Map(factors.map((one) => [one.weight, one]));
  const wholeNames = new Set(whole.map(({ name }) => name));
  const found = new Map<string, Float32Array>();
  for (const { name, values } of places.inFile([before, after])) {
    yield;
    const [was, is] = values as [Float32Array, Float32Array];
    if (wholeNames.has(name)) {
      found.set(name, is);
      continue;
    }
    const change = new Float32Array(was.length);
    const one = byWeight.get(name);
    if (one !== undefined) yield* addProduct(change, one, outputAxis(one, places.shapeOf(name)) as 0 | 1);
    const tolerance = CHANGE_TOLERANCE * norm(change) + WEIGHT_TOLERANCE * (one === undefined ? 0 : norm(was));
    if (!isNear(is, was.map((value, i) => value + (change[i] as number)), tolerance)) throw anotherChange(field, name);
  }
  const { owners } = places;
  for (const kind of ['parameters', 'buffers'] as const)
    for (const [name, { data }] of after[kind])
      if (!owners.has(name) && !isNear(data, getTensor(before[kind], name).data, 0)) throw anotherChange(field, name);
  return found;
}

function anotherChange(field: string, name: string): MalformedFileError {
  const between = field === 'adapter' ? ' from the first checkpoint that is ported to the last' : '';
  return new MalformedFileError({
    field: `${field}: ${name}`, expected: 'changed by just what the adapter says', got: `another change${between}`,
  });
}

function norm(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

/** Infinite values are near none: of an infinite change the tolerance would be infinite too. */
function isNear(values: Float32Array, wanted: Float32Array, tolerance: number): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const difference = (values[i] as number) - (wanted[i] as number);
    sum += difference * difference;
  }
  return sum < Infinity && Math.sqrt(sum) <= tolerance;
}
