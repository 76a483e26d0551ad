/** What must hold for any network: each check says what does not, and nothing where all is well. */
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { openCore } from '../../src/core/core.ts';
import { InvalidArgumentError, TrajportError } from '../../src/core/errors.ts';
import type { Batch } from '../../src/data/batch.ts';
import { openGradientEngine, type GradientEngine, type GradientResult, type Loss } from '../../src/gradient/engine.ts';
import { fitGradient, gradientHeapBytes } from '../../src/gradient/memory.ts';
import { factorableWeights } from '../../src/gradient/network.ts';
import { permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { gradientCost } from '../../src/model/cost.ts';
import { inferShapes, parameterLayout, parseGraph, type ModelGraph } from '../../src/model/graph.ts';
import { featuresOf } from '../../src/model/operation-support.ts';
import { lintPermutationSpec } from '../../src/model/permutation-lint.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import type { OuterProducts } from '../../src/tensor/outer-products.ts';
import { elementCount, getTensor, type NamedTensors, type NetworkState, type Tensor } from '../../src/tensor/tensor.ts';
import { checkGradients, padded, poison, randomBatch, randomState, relativeError } from '../gradient/checks.ts';
import { loss64 } from '../gradient/reference.ts';
import { measureEquivalence } from '../model/equivalence.ts';
import { forward64 } from '../model/forward.ts';
import type { Torch, Truth } from './graph-reference.ts';

const LOSSES: readonly Loss[] = [
  { kind: 'softmax-cross-entropy', labelSmoothing: 0 },
  { kind: 'softmax-cross-entropy', labelSmoothing: 0.1 },
  { kind: 'softmax-cross-entropy', labelSmoothing: 1 },
  { kind: 'binary-cross-entropy' },
  { kind: 'mean-squared-error' },
];

export interface GraphJob {
  readonly seed: number;
  readonly graph: ModelGraph;
  readonly state: NetworkState;
  readonly batch: Batch;
  readonly loss: Loss;
}

/** Values of a channel that batch norm has of a single input; undefined without batch norm. */
function fewestValues(graph: ModelGraph): number | undefined {
  const shapes = inferShapes(graph);
  const areas = graph.nodes
    .filter(({ op }) => op === 'batch_norm')
    .map(({ name }) => elementCount((shapes.get(name) as readonly number[]).slice(1)));
  return areas.length === 0 ? undefined : Math.min(...areas);
}

/** Whether a norm is over so few values that it magnifies rounding; by how much, only PyTorch tells. */
export function normalisesFew({ graph, batch }: GraphJob): boolean {
  const FEW = 8;
  const shapes = inferShapes(graph);
  return graph.nodes.some((node) => {
    const shape = shapes.get(node.name) as readonly number[];
    if (node.op === 'batch_norm') return (batch.count * elementCount(shape)) / (shape[0] as number) < FEW;
    if (node.op === 'group_norm') return elementCount(shape) / node.groups < FEW;
    return (node.op === 'layer_norm' || node.op === 'rms_norm') && featuresOf(shape) < FEW;
  });
}

/** As `randomBatch`, whose token numbers repeat, makes it. */
function batchOf(graph: ModelGraph, count: number, seed: number): Batch {
  const random = new Random(seed, streams.batches);
  const batch = randomBatch(graph, count, seed);
  return {
    ...batch,
    inputs:
      batch.inputs instanceof Int32Array ? padded(graph, batch.inputs.map(() => random.below(graph.vocabulary as number))) : batch.inputs,
  };
}

export function jobOf(graph: ModelGraph, seed: number): GraphJob {
  return {
    seed,
    graph,
    state: randomState(graph, seed + 1),
    batch: batchOf(graph, 1 + (seed % 5), seed),
    loss: LOSSES[(seed >> 2) % LOSSES.length] as Loss,
  };
}

type NamedArrays = ReadonlyMap<string, ArrayLike<number>>;

/** Scores and losses smaller than this are judged by their absolute error. */
const SCORE_FLOOR = 1e-3;

/**
 * The largest error of a tensor, relative to itself or a thousandth of the largest: a bias before batch norm has a
 * gradient of rounding alone.
 */
function largestError(ours: NamedTensors, truth: NamedArrays): { readonly error: number; readonly tensor: string } {
  const norm = (data: ArrayLike<number>): number => Math.sqrt(Array.from(data).reduce((sum, x) => sum + x * x, 0));
  const floor = Math.max(1e-9, 1e-3 * Math.max(0, ...[...truth.values()].map(norm)));
  let worst = { error: 0, tensor: '' };
  for (const [tensor, data] of truth) {
    const error = relativeError(getTensor(ours, tensor).data, data, floor);
    if (!(error <= worst.error)) worst = { error, tensor };
  }
  return worst;
}

const dataOf = (tensors: NamedTensors): NamedArrays => new Map([...tensors].map(([name, { data }]) => [name, data]));

interface Bounds {
  /** On what has another truth than ours. */
  readonly truth: number;
  /** On two results of ours that are the same to rounding. */
  readonly rounding: number;
}

interface JobBounds {
  readonly gradients: Bounds;
  /** Scores and losses. */
  readonly values: Bounds;
}

/** Without PyTorch: some elements against differences in f64, of networks that `normalisesFew` leaves. */
const WITHOUT_TORCH: Bounds = { truth: 1e-4, rounding: 1e-5 };

/** Ten times what rounding every value to f32 does. */
function boundsOf(measured: number): Bounds {
  const rounding = Math.max(1e-6, measured);
  // Of what is rounding to a percent, only NaN can be told from what is right.
  return { truth: rounding > 1e-2 ? Infinity : 10 * rounding, rounding };
}

class Faults {
  readonly list: string[] = [];

  /** NaN is never within a bound. */
  within(what: string, error: number, bound: number): void {
    if (!(error <= bound)) this.list.push(`${what}: error ${error.toExponential(1)}, bound ${bound.toExponential(1)}`);
  }

  gradients(what: string, ours: NamedTensors, truth: NamedArrays, bound: number): void {
    const { error, tensor } = largestError(ours, truth);
    this.within(`${what}, ${tensor}`, error, bound);
  }
}

/** Draws of what rounding does to a network, and how many there are where those few make a fault of it. */
const DRAWS = 4;
const MORE_DRAWS = 64;

/** Loss, scores, gradients against f64; micro-batches, factors and the permuted network against the whole gradient. */
export async function checkGradient(engine: GradientEngine, torch: Torch | undefined, job: GraphJob): Promise<readonly string[]> {
  const faults = await gradientFaults(engine, torch, job, DRAWS);
  // Of values that cancel, rounding is a few ulp in one draw and none in the next.
  return torch === undefined || faults.length === 0 ? faults : gradientFaults(engine, torch, job, MORE_DRAWS);
}

async function gradientFaults(
  engine: GradientEngine,
  torch: Torch | undefined,
  given: GraphJob,
  draws: number,
): Promise<readonly string[]> {
  const faults = new Faults();
  const job = refusesSingleValues(engine, given, faults);
  const { graph, seed, loss, state, batch } = job;
  const network = engine.compile(graph, { loss });
  poison(engine);
  const result = network.gradient(state, [batch]);
  const scores = network.logits(state, batch);
  const { gradients, values } =
    torch === undefined ? checkByDifferences(engine, job, faults) : checkByTorch(await torch.of(job, draws), job, result, scores, faults);

  if (fewestValues(graph) === undefined && batch.count > 1) {
    const parts = engine.compile(graph, { loss, microBatch: 1 + (seed % (batch.count - 1)) });
    faults.gradients('micro-batches', parts.gradient(state, [batch]).gradients, dataOf(result.gradients), gradients.rounding);
    faults.within('scores in micro-batches', relativeError(parts.logits(state, batch), scores, SCORE_FLOOR), values.rounding);
  }
  const factored = engine.compile(graph, { loss, factored: factorableWeights(graph) }).gradient(state, [batch]);
  const multiplied = [...factored.factors].map(([name, factors]) => [name, product(factors)] as const);
  faults.gradients('factors', new Map([...factored.gradients, ...multiplied]), dataOf(result.gradients), gradients.rounding);

  const spec = derivePermutationSpec(graph);
  const permutations = randomPermutations(spec, seed);
  const twin = {
    parameters: permuteTensors(spec, state.parameters, permutations),
    buffers: permuteTensors(spec, state.buffers, permutations),
  };
  const permuted = permuteTensors(spec, result.gradients, permutations);
  faults.gradients('the permuted network', network.gradient(twin, [batch]).gradients, dataOf(permuted), gradients.truth);
  faults.within('scores of the permuted network', relativeError(network.logits(twin, batch), scores, SCORE_FLOOR), values.truth);
  if (engine.memory.liveTensors + engine.core.liveAllocations > 0) faults.list.push('something is left on the heap');
  return faults.list;
}

/** The job, of more images where a single one has a single value of a channel of batch norm; that must be refused. */
function refusesSingleValues(engine: GradientEngine, job: GraphJob, faults: Faults): GraphJob {
  const { graph, state, batch, seed } = job;
  const values = fewestValues(graph);
  if (values === undefined || values * batch.count > 1) return job;
  try {
    engine.compile(graph).gradient(state, [batch]);
    faults.list.push('batch norm over a single value is not refused');
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
  }
  return { ...job, batch: batchOf(graph, 3, seed) };
}

/** Our two references against one another, and ours against PyTorch's, within `boundsOf`. */
function checkByTorch(
  truth: Truth,
  { graph, state, batch, loss }: GraphJob,
  result: GradientResult,
  scores: Float32Array,
  faults: Faults,
): JobBounds {
  const tensors = new Map([...state.parameters, ...state.buffers].map(([name, { data }]) => [name, Float64Array.from(data)]));
  const forward = (training: boolean): Float64Array => forward64(graph, tensors, Float64Array.from(batch.inputs), batch.count, training);
  // A network that magnifies rounding does so to that of f64 too, which is 2^-29 of f32's.
  const twin = Math.max(1e-9, 10 * 2 ** -29 * truth.valueRounding);
  faults.within('loss of the f64 twin', relativeError([loss64(forward(true), batch.labels, loss)], [truth.loss], SCORE_FLOOR), twin);
  faults.within('scores of the f64 twin', relativeError(forward(false), truth.scores, SCORE_FLOOR), twin);

  const [gradients, values] = [boundsOf(truth.rounding), boundsOf(truth.valueRounding)];
  faults.within('loss', relativeError(result.losses, [truth.loss], SCORE_FLOOR), values.truth);
  faults.within('scores', relativeError(scores, truth.scores, SCORE_FLOOR), values.truth);
  faults.gradients('gradient', result.gradients, new Map(Object.entries(truth.gradients)), gradients.truth);
  return { gradients, values };
}

function checkByDifferences(engine: GradientEngine, { graph, batch, seed, loss }: GraphJob, faults: Faults): JobBounds {
  const bound = WITHOUT_TORCH.truth;
  const check = checkGradients(engine, undefined, {
    name: `graph ${seed}`,
    kind: 'operation',
    graph,
    count: batch.count,
    bound,
    samples: 4,
    loss,
    seed: seed + 1,
  });
  if (!check.pass) faults.list.push(JSON.stringify(check));
  return { gradients: WITHOUT_TORCH, values: WITHOUT_TORCH };
}

function product({ terms, left, right }: OuterProducts): Tensor {
  const [rows, columns] = [left.length / terms, right.length / terms];
  const data = new Float32Array(rows * columns);
  for (let i = 0; i < data.length; i++) {
    let sum = 0;
    for (let t = 0; t < terms; t++)
      sum += (left[t * rows + Math.floor(i / columns)] as number) * (right[t * columns + (i % columns)] as number);
    data[i] = sum;
  }
  return { shape: [rows, columns], data };
}

/** The permutation spec: sound, with a reason for everything that stays, and keeping the function in f64. */
export function checkSpec({ graph, seed }: GraphJob): string[] {
  const spec = derivePermutationSpec(graph);
  const faults = lintPermutationSpec(graph, spec).map(({ subject, problem }) => `lint: ${subject} ${problem}`);
  for (const [name, { axes, reasons }] of spec.tensors) {
    if (axes.some((axis, i) => (axis === null) !== (reasons[i] !== null)))
      faults.push(`${name}: an axis stays without a reason, or has one and moves`);
  }
  for (const training of [false, true]) {
    const { difference, movingGroups } = measureEquivalence(graph, spec, seed, training);
    if (!(difference <= 1e-11))
      faults.push(`permuted, ${training ? 'training' : 'evaluation'}: outputs differ by ${difference.toExponential(1)}`);
    if (movingGroups !== spec.groups.length) faults.push('a group moves nothing');
  }
  return faults;
}

/** A graph through JSON and a bundle, with the bytes of its state. */
export async function checkRoundTrips({ graph, state }: GraphJob): Promise<string[]> {
  const faults: string[] = [];
  const text = JSON.stringify(graph);
  if (JSON.stringify(parseGraph(JSON.parse(text))) !== text) faults.push('the graph does not come back from its JSON');
  using bundle = await openBundle(
    await writeBundle({ graph, checkpoints: [{ label: 'a', state }, { label: 'b', state }] }, { coding: 'lossless' }),
  );
  if (JSON.stringify(bundle.graph) !== text) faults.push('the graph does not come back from a bundle');
  const read = await bundle.readCheckpoint(1);
  for (const [name, { data }] of [...state.parameters, ...state.buffers]) {
    const other = read.parameters.get(name) ?? read.buffers.get(name);
    if (
      other === undefined ||
      Buffer.compare(Buffer.from(data.buffer), Buffer.from(other.data.buffer, other.data.byteOffset, other.data.byteLength)) !== 0
    ) {
      faults.push(`${name} does not come back from a bundle`);
    }
  }
  return faults;
}

/**
 * A gradient of so many images that values dominate, in the heap that was reckoned for them; and the same bytes of it in less, where
 * values are computed anew.
 */
export async function checkMemory({ graph, state, seed, loss }: GraphJob): Promise<string[]> {
  const WANTED = 24 * 2 ** 20;
  const each = (gradientHeapBytes(graph, 1001) - gradientHeapBytes(graph, 1)) / 1000;
  const count = Math.min(20_000, Math.max(1, Math.ceil((WANTED - gradientHeapBytes(graph, 1)) / each)));
  const reckoned = gradientHeapBytes(graph, count);
  const gradientIn = async (heapLimitBytes: number): Promise<NamedTensors> => {
    using core = await openCore({ heapLimitBytes });
    using engine = openGradientEngine(core);
    const network = engine.compile(graph, { loss });
    const batch = randomBatch(graph, count, seed);
    // The first ones leave the heap in pieces.
    for (let i = 0; i < 2; i++) network.gradient(state, [batch]);
    return network.gradient(state, [batch]).gradients;
  };
  let least = reckoned;
  try {
    const gradients = await gradientIn(Math.max(reckoned, 2 ** 24));
    const { bytes, segments } = fitGradient(graph, count, 1, 0);
    least = Math.max(bytes, 2 ** 24);
    if (least >= reckoned || segments.length === 1) return [];
    const again = await gradientIn(least);
    return [...gradients].flatMap(([name, { data }]) =>
      data.every((value, i) => Object.is(value, again.get(name)?.data[i])) ? [] : [`${name}: other bytes in ${least} bytes of heap`],
    );
  } catch (error) {
    return [`${count} images in ${least} bytes: ${String(error)}`];
  }
}

const ODD = [
  null, true, false, 0, -1, -0, 0.5, 1, 2, 3, 7, 2 ** 24, 2 ** 24 + 1, 2 ** 31, 2 ** 53, 1e300, Number.NaN,
  Number.POSITIVE_INFINITY, '', 'input', 'relu', '__proto__', [], {}, [1, 1], [0, 0], [9, 9, 9, 9],
];

type Json = Record<string, unknown> | unknown[];

/** One place of a graph's JSON changed, moved, doubled or left out. */
function mutate(json: Json, random: Random): void {
  const places: [Json, string | number][] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
      places.push([value as Json, key]);
      walk((value as Record<string | number, unknown>)[key]);
    }
  };
  walk(json);
  const [at, key] = places[random.below(places.length)] as [Record<string | number, unknown>, string | number];
  const [other, otherKey] = places[random.below(places.length)] as [Record<string | number, unknown>, string | number];
  const choices: (() => unknown)[] = [
    () => (at[key] = structuredClone(ODD[random.below(ODD.length)])),
    () => (at[key] = structuredClone(other[otherKey])),
    () => (Array.isArray(at) ? at.splice(Number(key), 1) : delete at[key]),
    () => (Array.isArray(at) ? at.splice(Number(key), 0, structuredClone(other[otherKey])) : (at[`${key}2`] = 1)),
    () => ([at[key], other[otherKey]] = [structuredClone(other[otherKey]), structuredClone(at[key])]),
    () => (typeof at[key] === 'number' ? (at[key] = at[key] + random.below(3) - 1) : undefined),
  ];
  (choices[random.below(choices.length)] as () => unknown)();
}

export interface Mutations {
  readonly refused: number;
  readonly accepted: number;
  readonly faults: readonly string[];
}

/** Damaged graphs: refused by a typed error, or a network that works. */
export function checkMutations(engine: GradientEngine, { graph, seed, loss }: GraphJob, count: number): Mutations {
  const random = new Random(seed, streams.permutation, 2);
  const faults: string[] = [];
  let [refused, accepted] = [0, 0];
  for (let i = 0; i < count; i++) {
    const json = JSON.parse(JSON.stringify(graph)) as Json;
    for (let changes = 1 + random.below(3); changes > 0; changes--) mutate(json, random);
    const startedAt = process.cpuUsage();
    try {
      use(engine, parseGraph(json), loss);
      accepted++;
    } catch (error) {
      if (error instanceof TrajportError && error.code !== 'kernel') refused++;
      else faults.push(`mutation ${i}: ${String(error instanceof Error ? error.stack : error)}\n${JSON.stringify(json)}`);
    }
    // Of the processor: a machine that is busy with something else is no fault.
    const { user, system } = process.cpuUsage(startedAt);
    const ms = (user + system) / 1000;
    if (ms > 5000) faults.push(`mutation ${i}: takes ${Math.round(ms)} ms\n${JSON.stringify(json)}`);
  }
  return { refused, accepted, faults };
}

/** Everything that is done with a graph, its gradient only where that is small. */
function use(engine: GradientEngine, graph: ModelGraph, loss: Loss): void {
  gradientCost(graph, 2);
  const spec = derivePermutationSpec(graph);
  const problems = lintPermutationSpec(graph, spec);
  if (problems.length > 0) throw new Error(`lint: ${JSON.stringify(problems)}`);
  const network = engine.compile(graph, { loss });
  if (gradientHeapBytes(graph, 3) > 2 ** 24 || gradientCost(graph, 3).flops > 1e8) return;
  network.gradient(randomState(graph, 1), [randomBatch(graph, 3, 1)]);
  if (parameterLayout(graph).parameters.length > 0) network.logits(randomState(graph, 1), randomBatch(graph, 3, 1));
}
