/** What a training puts into its resume points, and how it comes back. */
import type { OptimiserState, Trainer } from '../gradient/engine.ts';
import type { ParameterLayout } from '../model/graph.ts';
import { takeArray } from '../tensor/named-arrays.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { Evaluation } from './evaluate.ts';
import type { ResumePoint } from './resume.ts';
import { putState, takeState } from './state-arrays.ts';

/** A state that a training passed through and keeps. */
export interface Checkpoint {
  /** `start`, `epoch-1`, … or `iteration-N` where an iteration does not end an epoch. */
  readonly label: string;
  readonly iteration: number;
  readonly state: NetworkState;
}

/** What a training has gathered so far. Its sampler's place follows from the number of iterations. */
export interface TrainProgress {
  readonly checkpoints: Checkpoint[];
  readonly evaluations: { readonly iteration: number; readonly heldOut: Evaluation }[];
  readonly losses: number[];
}

interface Facts {
  readonly evaluations: TrainProgress['evaluations'];
  readonly checkpoints: readonly { readonly label: string; readonly iteration: number }[];
  readonly betaPowers: readonly [number, number];
}

export function trainPoint({ checkpoints, evaluations, losses }: TrainProgress, trainer: Trainer): Omit<ResumePoint, 'done'> {
  const arrays = new Map<string, NumberArray>([['losses', Float64Array.from(losses)]]);
  putState(arrays, 'state', trainer.state());
  const { moments, beta1Power, beta2Power } = trainer.optimiserState();
  for (const [name, tensors] of moments) tensors.forEach((moment, i) => arrays.set(`moment/${i}/${name}`, moment));
  // The start is an input of the job: whoever resumes has it.
  const kept = checkpoints.slice(1);
  kept.forEach(({ state }, i) => putState(arrays, `checkpoint/${i}`, state));
  const facts: Facts = {
    evaluations,
    checkpoints: kept.map(({ label, iteration }) => ({ label, iteration })),
    betaPowers: [beta1Power, beta2Power],
  };
  return { facts, arrays };
}

/** @throws MalformedFileError where the point lacks something. */
export function takeTrainPoint(
  { done, facts, arrays }: ResumePoint,
  layout: ParameterLayout,
): TrainProgress & { readonly state: NetworkState; readonly optimiser: OptimiserState } {
  const { evaluations, checkpoints, betaPowers } = facts as Facts;
  return {
    state: takeState(arrays, 'state', layout),
    optimiser: { moments: takeMoments(arrays, layout), beta1Power: betaPowers[0], beta2Power: betaPowers[1] },
    losses: [...takeArray(arrays, 'losses', 'f64', done)],
    evaluations: [...evaluations],
    checkpoints: checkpoints.map(({ label, iteration }, i) => ({ label, iteration, state: takeState(arrays, `checkpoint/${i}`, layout) })),
  };
}

function takeMoments(arrays: NamedArrays, layout: ParameterLayout): Map<string, Float32Array[]> {
  return new Map(
    layout.parameters.map(({ name }) => [
      name,
      [0, 1].flatMap((i) => (arrays.has(`moment/${i}/${name}`) ? [takeArray(arrays, `moment/${i}/${name}`, 'f32')] : [])),
    ]),
  );
}
