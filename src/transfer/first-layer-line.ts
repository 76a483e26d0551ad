/**
 * Where a transfer passes the same images again and again, the outputs of a first dense layer along its line
 * (`started-rows.ts`) take the place of products. GMT of an MLP passes each image a few times, over fresh batches at every
 * step, and FGMT of few images; all methods score the same held-out images at every step: two products of these are left of
 * eleven. The layer's weights, most of the network's, need not be made at each point.
 */
import { Breather } from '../core/breather.ts';
import type { Core } from '../core/core.ts';
import { limits } from '../core/limits.ts';
import type { StartedBatch, StartedBatchArrays } from '../gradient/network-inputs.ts';
import type { Permutations } from '../matching/permutation.ts';
import { findFirstLayer } from '../model/first-layer.ts';
import type { FirstLayer } from '../model/first-layer.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { keepsGradients, pairCounts } from './pair-counts.ts';
import type { Side } from './points.ts';
import { isSkipped, networkOptions } from './settings.ts';
import type { TransferSettings } from './settings.ts';
import { StartedRows, startedBytes } from './started-rows.ts';
import type { DrawnBatch } from './started-rows.ts';
import type { Stopwatch } from './timing.ts';
import type { TransferJob } from './transfer-job.ts';

/** Which rows are worth starting beforehand. */
export interface RowsToStart {
  readonly layer: FirstLayer;
  /** Whether rows of the mini-batches are among them, for source and target. */
  readonly training: boolean;
  /** Whether rows that the target is scored on are. */
  readonly heldOut: boolean;
}

/** Numbers of rows of the two parts of the data. */
export interface RowCounts {
  readonly training: number;
  readonly heldOut: number;
}

/** Rows × products without starting ÷ with it, from which on it is done: below, there is more to hold than to gain. */
const LEAST_GAIN = 1.1;

/**
 * Which rows a transfer starts. It follows from the job alone, never from the machine: the bytes of the result depend on it.
 * @param settings as asked for: a batch may be larger than the data.
 */
export function rowsToStart(
  graph: ModelGraph,
  spec: PermutationSpec,
  settings: TransferSettings,
  counts: RowCounts,
): RowsToStart | undefined {
  const layer = findFirstLayer(graph);
  if (layer === undefined || settings.trajectory !== 'linear') return undefined;
  // A layer that the target keeps is on no line, and units in groups or stretches are more than one order.
  if ([layer.weight, layer.bias].some((name) => name !== undefined && isSkipped(settings.skipParameters, name))) return undefined;
  if (spec.tensors.get(layer.weight)?.axes.length !== 2) return undefined;
  const within = (bytes: number): boolean => bytes <= limits.startedRowBytes;
  // Gradients that are kept are computed once, or where a permutation moved: nobody knows how often.
  const factored = networkOptions(settings, graph, spec).factored?.includes(layer.weight) === true;
  const gradients = keepsGradients(settings) || !factored ? 0 : pairCounts(settings).gradients;
  const passes = gradients * Math.min(settings.batchSize, counts.training);
  const training = passes >= LEAST_GAIN * 3 * counts.training && within(startedBytes(layer, counts.training, true));
  const heldOut = counts.heldOut > 0 && settings.steps + 1 >= LEAST_GAIN * 2 && within(startedBytes(layer, counts.heldOut, false));
  return training || heldOut ? { layer, training, heldOut } : undefined;
}

/** What the line is computed with. */
export interface LineTools {
  readonly core: Core;
  /** Where along the trajectory each step is. */
  readonly fractions: readonly number[];
  readonly stopwatch: Stopwatch;
  readonly signal: AbortSignal | undefined;
}

export class FirstLayerLine implements Disposable {
  readonly #fractions: readonly number[];
  #training: StartedRows | undefined;
  #heldOut: StartedRows | undefined;

  private constructor(fractions: readonly number[]) {
    this.#fractions = fractions;
  }

  /** Of a job where nothing is gained it has no rows. @throws the signal's reason; OutOfMemoryError. */
  static async open(job: TransferJob, { core, fractions, stopwatch, signal }: LineTools): Promise<FirstLayerLine> {
    const { graph, settings, spec, data, training, heldOut, target, sourceStart, sourceEnd } = job;
    const line = new FirstLayerLine(fractions);
    const which = rowsToStart(graph, spec, settings, { training: training.length, heldOut: heldOut.length });
    if (which === undefined) return line;
    const open = (rows: Int32Array, withSource: boolean): Promise<StartedRows> =>
      StartedRows.open({
        core, layer: which.layer, spec, data, rows, withSource, start: sourceStart.parameters, end: sourceEnd.parameters,
        base: target.parameters, microBatch: Math.min(settings.microBatch, settings.batchSize), breather: new Breather(signal, Infinity),
      });
    try {
      if (which.training) line.#training = await stopwatch.measureLater('gradients', () => open(training, true));
      if (which.heldOut) line.#heldOut = await stopwatch.measureLater('evaluation', () => open(heldOut, false));
      return line;
    } catch (error) {
      line[Symbol.dispose]();
      throw error;
    }
  }

  /** Batches as a side's gradient at a point takes them. */
  start(side: Side, point: number, permutations: Permutations, batches: readonly DrawnBatch[]): readonly StartedBatch[] {
    const started = this.#training;
    if (started === undefined) return batches;
    const t = this.#fractions[point] as number;
    return batches.map((batch) => ({
      ...batch, firstOutputs: side === 'source' ? started.source(t, batch) : started.target(t, permutations, batch),
    }));
  }

  /** The same for workers, which have memory of their own. */
  startAsArrays(side: Side, point: number, permutations: Permutations, batches: readonly DrawnBatch[]): readonly StartedBatchArrays[] {
    const read = (write: StartedBatch['firstOutputs'], count: number): Float32Array | undefined =>
      typeof write === 'function' ? this.#training?.read(write, count) : write;
    return this.start(side, point, permutations, batches).map((batch) => ({
      ...batch, firstOutputs: read(batch.firstOutputs, batch.count),
    }));
  }

  /** Batches of held-out rows as the target is scored on them at a step; undefined where nothing of them is known beforehand. */
  startHeldOut(step: number, permutations: Permutations): ((batch: DrawnBatch) => StartedBatch) | undefined {
    const started = this.#heldOut;
    if (started === undefined) return undefined;
    return (batch) => ({ ...batch, firstOutputs: started.target(this.#fractions[step] as number, permutations, batch) });
  }

  [Symbol.dispose](): void {
    this.#training?.[Symbol.dispose]();
    this.#heldOut?.[Symbol.dispose]();
  }
}
