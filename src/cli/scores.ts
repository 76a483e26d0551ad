/** How evaluations are shown: loss and accuracy; of tokens the perplexity, e to the loss, besides. */
import { elementary } from '../core/elementary.ts';
import type { Core } from '../core/core.ts';
import { isTokenSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import type { Evaluation, Loss } from '../index.ts';

/** Whether e to the loss is the number of tokens that would be as hard to choose from: of no other loss than nats a token. */
export function hasPerplexity(data: DataSet, loss: Loss): boolean {
  return isTokenSet(data) && loss.kind === 'softmax-cross-entropy' && loss.labelSmoothing === 0;
}

/** What `--json` says of an evaluation, with the `perplexity` where it has one. */
export function scoreFields(core: Core, evaluation: Evaluation, perplexed: boolean): Evaluation & { readonly perplexity?: number } {
  return perplexed ? { ...evaluation, perplexity: perplexity(core, evaluation.loss) } : evaluation;
}

export function perplexity(core: Core, loss: number): number {
  return elementary(core).exp(loss);
}
