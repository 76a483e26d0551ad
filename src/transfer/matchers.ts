/**
 * How each method finds the permutation of a step: the four strategies behind one function type.
 */
import { runBreathing } from '../core/breather.ts';
import { BudgetError, InvalidArgumentError } from '../core/errors.ts';
import type { Batch } from '../data/batch.ts';
import type { GradientResult } from '../gradient/network.ts';
import type { MatchingResult } from '../matching/coordinate-descent.ts';
import { sourceSideBytes } from '../matching/factored-product.ts';
import type { KnownSources } from '../matching/factored-product.ts';
import { GradientHistory } from '../matching/history.ts';
import { identityPermutations } from '../matching/permutation.ts';
import type { Permutations } from '../matching/permutation.ts';
import type { HistorySnapshot } from '../matching/snapshot.ts';
import { solvers } from '../matching/solvers.ts';
import { Random, streams } from '../tensor/random.ts';
import { tensorBytes } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { Side } from './points.ts';
import type { TransferMethod } from './settings.ts';
import type { DrawnBatch } from './started-rows.ts';
import { subtract } from './trajectory.ts';
import type { TransferContext } from './transfer-context.ts';

/** What the strategies that match have besides. */
interface MatchingContext extends TransferContext {
  readonly history: GradientHistory;
}

/** Finds π of `step` given that of the step before; undefined where the method does not match at this step. */
export type Matcher = (step: number, previous: Permutations) => Promise<MatchingResult | undefined>;

export interface Matching {
  readonly match: Matcher;
  /** Where the method gathers gradients; Naive gathers none, so no budget is too small for it. */
  readonly history: GradientHistory | undefined;
}

/** @throws InvalidArgumentError where `oracle` lacks the truly trained target; BudgetError where not even sums of similarities fit. */
export function matchingFor(shared: TransferContext, oracleTarget: NetworkState | undefined): Matching {
  const { core, spec, settings } = shared;
  const { method, historyBudgetBytes: budgetBytes, normalise, frozenGroups } = settings;
  if (method === 'naive') return { match: async () => undefined, history: undefined };
  try {
    const history = new GradientHistory(core, spec, { budgetBytes, normalise, frozenGroups });
    const match = matcherFor(method, { ...shared, history }, oracleTarget);
    return { match: (step, previous) => match(step, previous).catch(throwAsOption), history };
  } catch (error) {
    return throwAsOption(error);
  }
}

/** The history's `budgetBytes` is `historyBudgetBytes` to whoever called `transfer`. */
function throwAsOption(error: unknown): never {
  if (!(error instanceof BudgetError) || error.field !== 'budgetBytes') throw error;
  const { expected, got, requiredBytes } = error;
  throw new BudgetError({ field: 'historyBudgetBytes', expected, got, requiredBytes });
}

function matcherFor(method: Exclude<TransferMethod, 'naive'>, context: MatchingContext, oracleTarget: NetworkState | undefined): Matcher {
  switch (method) {
    case 'fgmt':
      return fastGradientMatcher(context);
    case 'gmt':
      return gradientMatcher(context);
    case 'oracle':
      if (oracleTarget === undefined) {
        throw new InvalidArgumentError({
          field: 'oracleTarget',
          expected: 'the weights the target truly reached by training, for the method `oracle`',
          got: 'none',
        });
      }
      return oracleMatcher(context, oracleTarget);
  }
}

/** FGMT: the pair at point t = step − 1 joins those of the earlier steps, which are kept as they were. */
function fastGradientMatcher(context: MatchingContext): Matcher {
  const addPair = passingPairs(context);
  return async (step, previous) => {
    await addPair(step - 1, previous);
    return solve(context, step, previous);
  };
}

/** GMT: all pairs t = 0 … step − 1 anew, the target's side along the permutation of the step before. */
function gradientMatcher(context: MatchingContext): Matcher {
  const { history } = context;
  const { start, addPair } =
    context.settings.gmtBatches === 'fixed' ? keptPairs(context) : { start: () => history.clear(), addPair: passingPairs(context) };
  return async (step, previous) => {
    start();
    for (let point = history.pairs; point < step; point++) await addPair(point, previous);
    return solve(context, step, previous);
  };
}

/** Gradients at one point over the same g mini-batches. */
interface GradientPair {
  readonly target: GradientResult;
  readonly source: GradientResult;
}

/** A pair that stands: the source's gradient for good, the target's while its permutation does. */
interface KeptPair extends GradientPair {
  readonly permutations: Permutations;
}

/** What each point keeps where batches are fixed: those always, the rest as long as it fits the bytes of another history. */
class KeptPoints {
  readonly #batches: (readonly DrawnBatch[])[] = [];
  readonly #pairs: (KeptPair | undefined)[] = [];
  /** The history of the first point alone: its pair stands for good. */
  #first: HistorySnapshot | undefined;
  readonly #budgetBytes: number;
  /** What the history finds out of the sources of pairs. */
  readonly sources: KnownSources = new WeakMap();
  #bytes = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  batches(point: number, draw: () => readonly DrawnBatch[]): readonly DrawnBatch[] {
    // After a resume the first points come without theirs: batches are drawn in the order of the points.
    return (this.#batches[point] ??= draw());
  }

  pair(point: number): KeptPair | undefined {
    return this.#pairs[point];
  }

  /** What is not kept is computed again, to the same bytes. */
  keep(point: number, pair: KeptPair): void {
    if (this.#pairs[point] !== undefined || this.#takeRoom(pairBytes(pair, this.#batches[point] as readonly DrawnBatch[])))
      this.#pairs[point] = pair;
  }

  /** @param history of the first point's pair alone. @returns whether there was room for it. */
  keepFirst(history: GradientHistory): boolean {
    const snapshot = history.snapshot();
    const fits = this.#takeRoom([...snapshot.arrays.values()].reduce((bytes, { byteLength }) => bytes + byteLength, 0));
    if (fits) this.#first = copied(snapshot);
    return fits;
  }

  /** The history of the first point, where that is kept; its numbers are those that adding the pair again would give. */
  get first(): HistorySnapshot | undefined {
    return this.#first && copied(this.#first);
  }

  #takeRoom(bytes: number): boolean {
    const fits = this.#bytes + bytes <= this.#budgetBytes;
    if (fits) this.#bytes += bytes;
    return fits;
  }
}

function copied({ facts, arrays }: HistorySnapshot): HistorySnapshot {
  return { facts, arrays: new Map([...arrays].map(([name, array]) => [name, array.slice()])) };
}

/**
 * What a pair holds beside its batches, with what a history remembers of its source. The inputs of a first layer's
 * factors lie in the batch where that is one and whole; those of several batches, of micro-batches and out of workers
 * are copies.
 */
function pairBytes({ source, target }: KeptPair, batches: readonly Batch[]): number {
  const counted = new Set<ArrayBufferLike>(batches.map(({ inputs }) => inputs.buffer));
  let bytes = tensorBytes(source.gradients) + tensorBytes(target.gradients);
  for (const { left, right } of [...source.factors.values(), ...target.factors.values()]) {
    for (const { buffer, byteLength } of [left, right]) if (!counted.has(buffer)) bytes += byteLength;
    counted.add(left.buffer).add(right.buffer);
  }
  for (const products of source.factors.values()) bytes += sourceSideBytes(products);
  return bytes;
}

/** Adds the pair of a point to the history. */
type AddPair = (point: number, permutations: Permutations) => Promise<void>;

/**
 * Pairs over new batches each time, both written over those of the time before: an MLP 512's GMT made 28 MB of factors
 * of them, for garbage collection.
 */
function passingPairs(context: MatchingContext): AddPair {
  let last: GradientPair | undefined;
  return async (point, permutations) => {
    const batches = context.drawBatches('passing');
    last = await gradientsAt(context, point, permutations, batches, ['target', 'source'], last);
    addToHistory(context, last);
    await context.breather.pause();
  };
}

/**
 * Pairs over each point's own batches. Only gradients at states that have moved are computed. At the start of the
 * trajectory none moves, whatever the permutation: `start` puts what the history was with that pair alone.
 */
function keptPairs(context: MatchingContext): { readonly start: () => void; readonly addPair: AddPair } {
  const { settings, counts, history, stopwatch } = context;
  const kept = new KeptPoints(settings.historyBudgetBytes);
  const start = (): void => {
    const { first } = kept;
    if (first === undefined) return history.clear();
    stopwatch.measure('similarity', () => history.restore(first));
    counts.reusedGradients += 2 * settings.batchesPerStep;
    counts.reusedPairs++;
  };
  const addPair: AddPair = async (point, permutations) => {
    const batches = kept.batches(point, () => context.drawBatches('kept'));
    const known = kept.pair(point);
    const targetStands = known !== undefined && (point === 0 || samePermutations(known.permutations, permutations));
    const moved = known === undefined ? (['target', 'source'] as const) : targetStands ? [] : (['target'] as const);
    counts.reusedGradients += (2 - moved.length) * settings.batchesPerStep;
    const pair = { ...(await gradientsAt(context, point, permutations, batches, moved, known)), permutations };
    addToHistory(context, pair, kept.sources);
    if (point > 0 || !kept.keepFirst(history)) kept.keep(point, pair);
    await context.breather.pause();
  };
  return { start, addPair };
}

function addToHistory({ history, stopwatch }: MatchingContext, { target, source }: GradientPair, knownSources?: KnownSources): void {
  stopwatch.measure('similarity', () => {
    history.add(target.gradients, source.gradients, { target: target.factors, source: source.factors }, knownSources);
  });
}

function samePermutations(a: Permutations, b: Permutations): boolean {
  return [...a].every(([id, perm]) => (b.get(id) as Int32Array).every((unit, i) => unit === perm[i]));
}

/** Oracle: one matching of the whole updates θ₂ᵀ − θ₂⁰ and θ₁ᵀ − θ₁⁰, kept for all steps. */
function oracleMatcher(context: MatchingContext, oracleTarget: NetworkState): Matcher {
  return async (step) => {
    if (step > 1) return undefined;
    const sourceUpdate = subtract(await context.points.sourceAt(context.settings.steps), await context.points.sourceAt(0));
    context.history.add(subtract(oracleTarget.parameters, context.target.parameters), sourceUpdate);
    return solve(context, step, identityPermutations(context.spec));
  };
}

/**
 * The pair of a point over the batches: the gradients of `sides` anew, in this order and in arrays of `before`, of the
 * other side what `before` has. In the caller's workers where there are any, else one after the other here. Training
 * mode uses batch statistics, so which buffers ride along makes no difference.
 */
async function gradientsAt(
  context: MatchingContext,
  point: number,
  permutations: Permutations,
  batches: readonly DrawnBatch[],
  sides: readonly Side[],
  before?: GradientPair,
): Promise<GradientPair> {
  const {
    network,
    points,
    firstLayer,
    workers,
    stopwatch,
    breather,
    counts,
    settings,
    target: { buffers },
  } = context;
  const pair: Partial<Record<Side, GradientResult>> = { ...before };
  counts.gradients += sides.length * settings.batchesPerStep;
  if (sides.length > 0 && workers !== undefined) {
    const states = await points.passAsArrays(point, permutations);
    const jobs = sides.map((side) => ({
      state: { parameters: states[side], buffers }, batches: firstLayer.startAsArrays(side, point, permutations, batches),
    }));
    const gradients = await stopwatch.measureLater('gradients', () => workers.gradients(network.graph, jobs, network.options));
    for (const [i, side] of sides.entries()) pair[side] = gradients[i] as GradientResult;
  } else if (sides.length > 0) {
    const states = await points.pass(point, permutations);
    for (const [i, side] of sides.entries()) {
      if (i > 0) await breather.pause();
      pair[side] = stopwatch.measure('gradients', () =>
        network.gradient({ writeParameter: states[side], buffers }, firstLayer.start(side, point, permutations, batches), before?.[side]),
      );
    }
  }
  return pair as GradientPair;
}

async function solve(context: MatchingContext, step: number, previous: Permutations): Promise<MatchingResult> {
  const { settings, counts } = context;
  const laps = solvers[settings.solver](context.history, {
    start: settings.start === 'previous' ? previous : identityPermutations(context.spec),
    random: new Random(settings.seed, streams.sweepOrder, step),
    maxSweeps: settings.maxSweeps,
    measure: context.stopwatch.measure,
  });
  const result = await runBreathing(laps, context.signal);
  counts.matchings++;
  counts.assignments += result.assignments;
  return result;
}
