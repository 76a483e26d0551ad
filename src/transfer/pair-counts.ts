/** How many gradients, pairs and matchings a transfer takes. */
import type { TransferSettings } from './settings.ts';

/** Whether each point's gradients are kept for the steps after. */
export function keepsGradients({ method, gmtBatches }: TransferSettings): boolean {
  return method === 'gmt' && gmtBatches === 'fixed';
}

/**
 * Numbers of gradients and of pairs, by method: `added` pairs are summed as they come, `inSolves` counts them per solve.
 * `draws`: how often the mini-batches of one gradient are drawn.
 */
export function pairCounts(settings: TransferSettings) {
  const { steps, batchesPerStep, method } = settings;
  const triangle = (steps * (steps + 1)) / 2;
  switch (method) {
    case 'naive':
      return { gradients: 0, draws: 0, matchings: 0, pairsSolved: { added: 0, inSolves: 0 }, pairsKept: 0 };
    case 'oracle':
      return { gradients: 0, draws: 0, matchings: 1, pairsSolved: { added: 1, inSolves: 1 }, pairsKept: 1 };
    case 'fgmt':
      return {
        gradients: 2 * steps * batchesPerStep,
        draws: steps,
        matchings: steps,
        pairsSolved: { added: steps, inSolves: triangle },
        pairsKept: steps,
      };
    case 'gmt':
      return {
        // With fixed batches the source's once a point and the target's at the start once; the others where permutations do not settle.
        gradients: (keepsGradients(settings) ? triangle + 1 : 2 * triangle) * batchesPerStep,
        draws: keepsGradients(settings) ? steps : triangle,
        matchings: steps,
        pairsSolved: { added: triangle, inSolves: triangle },
        pairsKept: steps,
      };
  }
}
