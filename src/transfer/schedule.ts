/**
 * Where along the source trajectory each step of a transfer stands: fractions of the line between its two ends, or
 * checkpoint numbers of the real trajectory.
 */
import type { Core } from '../core/core.ts';
import { elementary } from '../core/elementary.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireInteger } from '../core/require.ts';
import { limits } from '../core/limits.ts';

/** Spacing of the steps on the line: long strides first, or all alike. */
export type ScheduleKind = 'cosine' | 'uniform';

/**
 * Fractions c_0 = 0 … c_T = 1 of the line θ(c) = θ⁰ + c·(θᵀ − θ⁰).
 * `uniform`: c_s = s/T. `cosine`: increments proportional to 1 + cos(π·t/T), t = 0 … T−1 (Chijiwa 2024, appendix):
 * long strides first, where the trajectory moves most.
 * @throws InvalidArgumentError unless 1 ≤ steps ≤ limits.scheduleSteps.
 */
export function scheduleFractions(core: Core, steps: number, kind: ScheduleKind): readonly number[] {
  requireInteger('steps', steps, 1, limits.scheduleSteps);
  const { cos } = elementary(core);
  const increments: number[] = [];
  for (let t = 0; t < steps; t++) {
    increments.push(kind === 'uniform' ? 1 : 1 + cos((Math.PI * t) / steps));
  }
  let total = 0;
  for (const increment of increments) total += increment;
  const fractions = [0];
  let sum = 0;
  for (const increment of increments) {
    sum += increment;
    fractions.push(sum / total);
  }
  // Both sums run in the same order, so the last fraction is exactly 1.
  return fractions;
}

/**
 * Checkpoint numbers 0 … count−1 visited by `steps` steps over the real trajectory, evenly spaced, rounded half up.
 * @throws InvalidArgumentError when there are fewer checkpoints than steps + 1.
 */
export function checkpointSteps(checkpointCount: number, steps: number): readonly number[] {
  requireInteger('steps', steps, 1, limits.scheduleSteps);
  if (steps > checkpointCount - 1) {
    throw new InvalidArgumentError({
      field: 'steps',
      expected: `at most ${checkpointCount - 1} for a real trajectory of ${checkpointCount} checkpoints`,
      got: `${steps}`,
    });
  }
  const numbers: number[] = [];
  for (let s = 0; s <= steps; s++) numbers.push(Math.floor((2 * s * (checkpointCount - 1) + steps) / (2 * steps)));
  return numbers;
}
