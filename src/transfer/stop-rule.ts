/**
 * Which step of a transfer is kept. A rule sees the step scores and nothing else; none ever sees the test set.
 */
import { InvalidArgumentError } from '../core/errors.ts';

/**
 * - `held-out`: the step with the highest held-out accuracy; the paper's code does this silently on validation data.
 * - `label-free`: the step whose predictions on held-out images agree most with the source's own last checkpoint, which
 *   needs images but no labels.
 * - `last`: the last step.
 */
export type StopRule = 'held-out' | 'label-free' | 'last';

export const stopRules: readonly StopRule[] = ['held-out', 'label-free', 'last'];

/** Scores of one step; step 0 is the target before any transfer. */
export interface StepScore {
  readonly step: number;
  /** Held-out accuracy, 0 to 1; absent where nothing is held out. */
  readonly accuracy?: number | undefined;
  /** Share of held-out images on which the step and the source's last checkpoint predict the same class, 0 to 1. */
  readonly agreement?: number | undefined;
}

/** @throws InvalidArgumentError when the rule needs held-out images and there are none. */
export function requireScores(rule: StopRule, heldOutCount: number): void {
  if (rule !== 'last' && heldOutCount === 0) {
    throw new InvalidArgumentError({
      field: 'stopRule',
      expected: `'last' where no images are held out`,
      got: `'${rule}'`,
    });
  }
}

/**
 * The step to keep; among equals the earliest, which stays closest to the target's own weights.
 * A step without the rule's score counts as worst.
 */
export function chooseStep(rule: StopRule, scores: readonly StepScore[]): number {
  if (rule === 'last') return scores.at(-1)?.step ?? 0;
  let bestStep = 0;
  let bestScore = -Infinity;
  for (const { step, accuracy, agreement } of scores) {
    const score = (rule === 'held-out' ? accuracy : agreement) ?? -Infinity;
    if (score > bestScore) {
      bestStep = step;
      bestScore = score;
    }
  }
  return bestStep;
}
