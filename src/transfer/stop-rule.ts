/**
 * Which step of a transfer is kept. A rule sees the step scores and nothing else; none ever sees the test set.
 */
import { InvalidArgumentError } from '../core/errors.ts';

/**
 * - `held-out`: the step with the highest held-out accuracy, among equals the lowest held-out loss; of a language model the
 *   lowest loss alone. The paper's code does this silently on validation data.
 * - `label-free`: the step whose predictions on held-out images agree most with the source's own last checkpoint, which
 *   needs images but no labels.
 * - `last`: the last step.
 */
export type StopRule = 'held-out' | 'label-free' | 'last';

export const stopRules: readonly StopRule[] = ['held-out', 'label-free', 'last'];

/**
 * What held-out scores are compared by: tokens by their loss, because the share that a language model gets right hardly
 * moves where its perplexity does.
 */
export type HeldOutMeasure = 'accuracy' | 'loss';

/** Scores of one step; step 0 is the target before any transfer. */
export interface StepScore {
  readonly step: number;
  /** Accuracy 0 to 1 and mean loss on the held-out rows; absent where nothing is held out. */
  readonly heldOut?: HeldOutScore | undefined;
  /** Share of held-out images on which the step and the source's last checkpoint predict the same class, 0 to 1. */
  readonly agreement?: number | undefined;
}

interface HeldOutScore {
  readonly accuracy: number;
  readonly loss: number;
}

/**
 * Whether `a` is better than `b` on held-out rows; equal accuracies are told apart by the loss. A loss that is not
 * finite is worse than any: logits of NaN count as class 0, which where that is frequent was the best accuracy of all
 * steps.
 */
export function outscores(a: HeldOutScore, b: HeldOutScore, by: HeldOutMeasure): boolean {
  const [aHolds, bHolds] = [Number.isFinite(a.loss), Number.isFinite(b.loss)];
  if (!aHolds || !bHolds) return aHolds && !bHolds;
  return by === 'accuracy' && a.accuracy !== b.accuracy ? a.accuracy > b.accuracy : a.loss < b.loss;
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
 * A step without the rule's score counts as worst, one whose loss is not finite as worse than those with one that is.
 */
export function chooseStep(rule: StopRule, scores: readonly StepScore[], by: HeldOutMeasure): number {
  if (rule === 'last') return scores.at(-1)?.step ?? 0;
  let best: StepScore = { step: 0 };
  for (const score of scores) if (isBetter(rule, score, best, by)) best = score;
  return best.step;
}

function isBetter(rule: StopRule, score: StepScore, best: StepScore, by: HeldOutMeasure): boolean {
  // No labels, so no loss: equal agreements stay equal. Logits of NaN agree with whatever is class 0.
  if (rule === 'label-free') return agreementOf(score) > agreementOf(best);
  return score.heldOut !== undefined && (best.heldOut === undefined || outscores(score.heldOut, best.heldOut, by));
}

function agreementOf({ agreement, heldOut }: StepScore): number {
  return heldOut === undefined || Number.isFinite(heldOut.loss) ? (agreement ?? -Infinity) : -Infinity;
}
