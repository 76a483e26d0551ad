/** What a transfer takes: floating-point operations (a multiplication and an addition are two), and bytes. */
import { limits } from '../core/limits.ts';
import { fitGradient, type GradientNeeds } from '../gradient/memory.ts';
import { groupsOnAxis } from '../matching/arrangement.ts';
import { sizeOf } from '../matching/history-size.ts';
import type { MatchingLayout } from '../matching/layout.ts';
import { residentLineBytes } from '../matching/resident-line.ts';
import { gradientCost } from '../model/cost.ts';
import { findFirstLayer } from '../model/first-layer.ts';
import type { FirstLayer } from '../model/first-layer.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { F32_BYTES, elementCount } from '../tensor/tensor.ts';
import type { RowCounts, RowsToStart } from './first-layer-line.ts';
import type { TransferSettings } from './settings.ts';
import { startedBytes, startedHeapBytes } from './started-rows.ts';

/** A transfer that is planned. */
export interface PlannedJob {
  readonly graph: ModelGraph;
  readonly spec: PermutationSpec;
  /** As `transfer` reads them, with batches as large as the data allow, where their size is known. */
  readonly settings: TransferSettings;
  /** Numbers of inputs of either part, where that is known. */
  readonly counts: RowCounts | undefined;
  /** Which of them have their first layer computed beforehand. */
  readonly started: RowsToStart | undefined;
}

/**
 * Operations of forward passes without a gradient: of held-out inputs at the start and at every step, and of those from which batch-norm
 * statistics are estimated. Nothing where the number of inputs is not known.
 * @param flops of one input's forward pass.
 */
export function evaluationFlops(
  { graph, settings: { steps, stopRule, statisticsBatches, batchSize }, counts, started }: PlannedJob, flops: number, heapBytes: number,
): { readonly evaluation?: number; readonly statistics?: number } {
  if (counts === undefined) return {};
  const { heldOut } = counts;
  // The agreement that needs no labels takes a pass of the source's end.
  const scores = stopRule === 'label-free' ? steps + 2 : steps + 1;
  const estimates = parameterLayout(graph).buffers.length === 0 ? 0 : heldOut > 0 ? steps : 1;
  const saved = started?.heldOut ? savedFlops(started.layer, (steps + 1) * heldOut, heldOut, 2, heapBytes) : 0;
  return { evaluation: flops * heldOut * scores - saved, statistics: flops * estimates * statisticsBatches * batchSize };
}

/** Operations that gradients do not take where the first layer of their inputs is computed beforehand. */
export function savedByStarting({ settings, counts, started }: PlannedJob, gradients: number, heapBytes: number): number {
  if (started?.training !== true || counts === undefined) return 0;
  return savedFlops(started.layer, gradients * settings.batchSize, counts.training, 3, heapBytes);
}

/**
 * Operations saved of a first layer that is linear along the line.
 * @param rows inputs that pass it.
 * @param known inputs that there are, of which so many `forms` of the layer's output are computed: once each, or on a heap too small to
 *   keep them, for every input that passes.
 */
function savedFlops(layer: FirstLayer, rows: number, known: number, forms: 2 | 3, heapBytes: number): number {
  const keeps = startedHeapBytes(startedBytes(layer, known, forms === 3), heapBytes) > 0;
  // Two of three forms make the source's, and two the target's.
  return 2 * layer.inputs * layer.outputs * (rows - (keeps ? forms * known : 2 * rows));
}

/** Bytes of the heap taken during the whole transfer, a quarter of it at most; the most there can be for data of unknown size. */
export function residentBytesOf({ graph, settings, counts, started }: PlannedJob, heapBytes: number): number {
  if (settings.trajectory !== 'linear') return 0;
  const line = residentLineBytes(F32_BYTES * gradientCost(graph, 1).parameterElements, heapBytes);
  if (counts === undefined) {
    const most = Math.min(limits.startedRowBytes, Math.floor(limits.startedRowShare * heapBytes));
    return line + (findFirstLayer(graph) === undefined ? 0 : 2 * most);
  }
  if (started === undefined) return line;
  const kept = (wanted: boolean, rows: number, both: boolean): number =>
    wanted ? startedHeapBytes(startedBytes(started.layer, rows, both), heapBytes) : 0;
  return line + kept(started.training, counts.training, true) + kept(started.heldOut, counts.heldOut, false);
}

/** A gradient, which is of `batchesPerStep` batches, on a heap of which other things have their part. @param images at once. */
export function gradientNeeds(job: PlannedJob, images: number, heapBytes: number): GradientNeeds {
  const { graph, settings: { batchSize, batchesPerStep } } = job;
  return fitGradient(graph, images, Math.ceil(batchSize / images) * batchesPerStep, heapBytes - residentBytesOf(job, heapBytes));
}

/** An upper bound: rows and columns of zeros are not kept. */
export function historyBytes(
  layout: MatchingLayout,
  { method }: TransferSettings,
  pairs: number,
): { readonly history: number; readonly codedHistory: number } {
  if (method === 'naive') return { history: 0, codedHistory: 0 };
  const { fixedBytes, totalBytes, codedBytesPerPair } = sizeOf(layout, pairs);
  return { history: totalBytes, codedHistory: fixedBytes + pairs * codedBytesPerPair };
}

/** Sizes that the cost of a transfer's matchings follows from. */
export interface MatchingWork {
  /** Operations of one gradient pair's products: in terms that carry one permutation, and in those that carry two. */
  readonly aloneFlops: number;
  readonly pairedFlops: number;
  /** n² of each group that moves. */
  readonly squares: readonly number[];
  /** Elements. */
  readonly largestTensor: number;
}

/** Every term of a group's similarity is [n, n] += T[n, rest] · S[n, rest]ᵀ. */
export function matchingWork({ graph, spec }: PlannedJob, layout: MatchingLayout): MatchingWork {
  const ids = new Set(layout.groups.map(({ id }) => id));
  const moving = spec.groups.filter(({ id }) => ids.has(id));
  const parameters = new Set(parameterLayout(graph).parameters.map(({ name }) => name));
  let [aloneFlops, pairedFlops, largestTensor] = [0, 0, 0];
  for (const { size, members } of moving) {
    for (const { tensor } of members) {
      if (!parameters.has(tensor)) continue;
      const { shape = [], axes = [] } = spec.tensors.get(tensor) ?? {};
      const elements = elementCount(shape);
      const carried = new Set(axes.flatMap(groupsOnAxis).filter((group) => ids.has(group)));
      if (carried.size <= 1) aloneFlops += 2 * size * elements;
      else pairedFlops += 2 * size * elements;
      largestTensor = Math.max(largestTensor, elements);
    }
  }
  return { aloneFlops, pairedFlops, squares: moving.map(({ size }) => size * size), largestTensor };
}

/** Bytes of the heap for the largest matching. @param operands tensors on the heap at once, of the largest one's size. */
export function matchingBytes({ squares, largestTensor }: MatchingWork, operands: number): number {
  return F32_BYTES * (operands * largestTensor + 2 * Math.max(0, ...squares));
}
