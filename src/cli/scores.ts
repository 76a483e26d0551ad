/** How evaluations are shown: loss and accuracy; of tokens the perplexity, e to the loss, besides. */
import { elementary } from '../core/elementary.ts';
import type { Core } from '../core/core.ts';
import type { Evaluation } from '../index.ts';

/** What `--json` says of an evaluation. `loss` is nats a token, `perplexity` tokens that would be as hard to choose from. */
export function scoreFields(core: Core, evaluation: Evaluation, tokens: boolean): Evaluation & { readonly perplexity?: number } {
  return tokens ? { ...evaluation, perplexity: perplexity(core, evaluation.loss) } : evaluation;
}

export function perplexity(core: Core, loss: number): number {
  return elementary(core).exp(loss);
}
