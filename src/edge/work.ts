/**
 * What a request would cost is known before it is computed: refused here are those that would take too long, or more
 * memory than there is.
 */
import { productFlops } from '../bundle/foreign/adapter-merge.ts';
import type { Adapter } from '../bundle/foreign/adapter.ts';
import { LimitError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { rememberedBytes } from '../matching/history-size.ts';
import { matchingLayout } from '../matching/layout.ts';
import { labelsPerInput } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import { planOn } from '../transfer/plan.ts';
import type { RequestOptions } from './options.ts';

/** A base's merge with its adapter, the adapter held to the change that is ported, and the ported one held to its own. */
const ADAPTER_PRODUCTS = 3;
/**
 * What an operation of these products counts. They are made outside of the kernels, several times as slowly, and where the clock stands
 * still meanwhile no client that leaves is noticed: at the default of `maxFlops` one takes some 15 seconds at most.
 */
const PRODUCT_FLOPS = 16;

interface WorkCaps {
  readonly heapLimitBytes: number;
  readonly maxGradients: number;
  readonly maxFlops: number;
  readonly maxHistoryBytes: number;
}

/**
 * @param inputs what the request brings: the network, the checkpoints of the whole trajectory (a part of it takes no more), how
 *   many images, texts or windows, the bytes of their tokens as numbers, and the adapter that the fine-tune is, if it is one.
 * @throws LimitError; what `plan` throws for options that `transfer` would refuse too.
 */
export function requireWork(
  caps: WorkCaps,
  { seed: _seed, from: _from, to: _to, ...choices }: Omit<RequestOptions, 'normalisation'>,
  { tokenBytes, adapter = { factors: [] }, ...inputs }: {
    readonly graph: ModelGraph; readonly checkpoints: number; readonly images: number; readonly tokenBytes: number;
    readonly adapter?: Pick<Adapter, 'factors'>;
  },
): void {
  const { gradients, steps, flops, bytes } = planOn({ ...choices, ...inputs }, caps.heapLimitBytes);
  const cap = (expected: string, limit: number, got: number): void => {
    if (got > limit) throw new LimitError({ field: 'options', expected: `${expected} of at most ${limit}`, got: `${Math.ceil(got)}` });
  };
  // A step of `naive` takes no gradient, and about as long as a small one.
  cap('a method and steps', caps.maxGradients, Math.max(gradients, steps));
  cap(
    'gradients, matchings, evaluations and an adapter with floating-point operations',
    caps.maxFlops,
    Object.values(flops).reduce((sum, part) => sum + part, ADAPTER_PRODUCTS * PRODUCT_FLOPS * productFlops(adapter)),
  );
  const { historyBudgetBytes = Infinity } = choices;
  const history = bytes.history <= historyBudgetBytes ? bytes.history : bytes.codedHistory;
  // Of a DistilBERT of three blocks and the largest target they are 11 MB, beside 20 of seven steps of FGMT; of an MLP 5.
  const layout = matchingLayout(derivePermutationSpec(inputs.graph), choices.frozenGroups);
  const remembered = choices.method === 'naive' ? 0 : rememberedBytes(layout);
  const rereads = choices.method === 'gmt' && choices.trajectory === 'real';
  const checkpoints = rereads ? Math.min(inputs.checkpoints * bytes.parameters, limits.readCheckpointBytes) : 0;
  // Every token of a language model's input has a label, of as many bytes.
  const labels = labelsPerInput(inputs.graph) > 1 ? bytes.batches : 0;
  const factors = adapter.factors.reduce((sum, { a, b }) => sum + a.byteLength + b.byteLength, 0);
  cap(
    'gradients, similarities, checkpoints, batches, tokens and factors kept with bytes',
    caps.maxHistoryBytes,
    Math.min(history + remembered, Math.max(history, historyBudgetBytes)) +
      bytes.keptGradients + bytes.batches + labels + checkpoints + tokenBytes + factors,
  );
}
