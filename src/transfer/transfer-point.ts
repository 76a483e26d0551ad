/** What a transfer puts into its resume points, and how it comes back. */
import type { GradientHistory } from '../matching/history.ts';
import { requirePermutations } from '../matching/permutation.ts';
import type { Permutations } from '../matching/permutation.ts';
import type { HistoryFacts } from '../matching/snapshot.ts';
import type { ParameterLayout } from '../model/graph.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { takeArray } from '../tensor/named-arrays.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { ResumePoint } from './resume.ts';
import { putState, takeState } from './state-arrays.ts';
import type { TransferCounts, TransferStep } from './transfer-step.ts';

/** The step that the stop rule would choose now. */
export interface KeptStep {
  readonly step: number;
  readonly state: NetworkState;
  readonly permutations: Permutations;
}

export interface TransferProgress {
  readonly steps: TransferStep[];
  readonly permutations: Permutations;
  readonly kept: KeptStep;
  readonly counts: TransferCounts;
  /** Mini-batches drawn: the sampler's place. */
  readonly batches: number;
}

interface Facts extends Pick<TransferProgress, 'steps' | 'counts' | 'batches'> {
  readonly keptStep: number;
  readonly history: HistoryFacts | null;
}

/** @param history of a method whose steps build on those before (FGMT); GMT gathers its pairs anew at each step. */
export function transferPoint(progress: TransferProgress, history: GradientHistory | undefined): Omit<ResumePoint, 'done'> {
  const { steps, permutations, kept, counts, batches } = progress;
  const arrays = new Map<string, NumberArray>();
  for (const [group, perm] of permutations) arrays.set(`permutation/${group}`, perm);
  // Step 0 is the target itself, which is an input of the job.
  if (kept.step > 0) {
    putState(arrays, 'kept', kept.state);
    for (const [group, perm] of kept.permutations) arrays.set(`kept/permutation/${group}`, perm);
  }
  const snapshot = history?.snapshot();
  for (const [name, array] of snapshot?.arrays ?? []) arrays.set(`history/${name}`, array);
  const facts: Facts = { steps, counts, batches, keptStep: kept.step, history: snapshot?.facts ?? null };
  return { facts, arrays };
}

/**
 * Puts the history back and returns the rest.
 * @throws MalformedFileError or InvalidArgumentError where the point does not fit the network.
 */
export function takeTransferPoint(
  { facts, arrays }: ResumePoint,
  start: KeptStep,
  layout: ParameterLayout,
  spec: PermutationSpec,
  history: GradientHistory | undefined,
): TransferProgress {
  const { steps, counts, batches, keptStep, history: historyFacts } = facts as Facts;
  if (historyFacts !== null) {
    const prefix = 'history/';
    const own = [...arrays].flatMap(([name, array]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), array] as const] : []));
    history?.restore({ facts: historyFacts, arrays: new Map(own) });
  }
  const kept =
    keptStep === 0
      ? start
      : { step: keptStep, state: takeState(arrays, 'kept', layout), permutations: takePermutations(arrays, 'kept/permutation', spec) };
  return { steps: [...steps], counts, batches, kept, permutations: takePermutations(arrays, 'permutation', spec) };
}

function takePermutations(arrays: NamedArrays, prefix: string, spec: PermutationSpec): Permutations {
  const permutations = new Map(spec.groups.map(({ id, size }) => [id, takeArray(arrays, `${prefix}/${id}`, 'i32', size)]));
  requirePermutations(spec, permutations, 'resume');
  return permutations;
}
