/** What a network is trained for: a mean over the images of a batch, against targets made from their labels. */
import { InvalidArgumentError, describe, requireChoice, requireNumber } from '../core/errors.ts';

/**
 * - `softmax-cross-entropy`: −Σ t · log softmax(logits), t = (1 − labelSmoothing) · one-hot + labelSmoothing / classes;
 * - `binary-cross-entropy`: of sigmoid(logits) with one-hot targets, the mean over the classes;
 * - `mean-squared-error`: (logits − one-hot)², the mean over the classes.
 *
 * PyTorch's CrossEntropyLoss, BCEWithLogitsLoss and MSELoss with their default reduction.
 */
export type Loss =
  | { readonly kind: 'softmax-cross-entropy'; readonly labelSmoothing: number }
  | { readonly kind: 'binary-cross-entropy' }
  | { readonly kind: 'mean-squared-error' };

export const lossKinds = ['softmax-cross-entropy', 'binary-cross-entropy', 'mean-squared-error'] as const;

export const DEFAULT_LOSS: Loss = { kind: 'softmax-cross-entropy', labelSmoothing: 0 };

/** A loss from untrusted JSON in its full form. @throws InvalidArgumentError naming the field. */
export function requireLoss(field: string, value: unknown): Loss {
  if (typeof value !== 'object' || value === null) {
    throw new InvalidArgumentError({ field, expected: `an object with a kind: ${lossKinds.join(', ')}`, got: describe(value) });
  }
  const { kind: given, labelSmoothing = 0, ...rest } = value as { readonly kind?: unknown; readonly labelSmoothing?: unknown };
  const kind = requireChoice(`${field}.kind`, given, lossKinds);
  const [other] = kind === 'softmax-cross-entropy' ? Object.keys(rest) : Object.keys(value).filter((key) => key !== 'kind');
  if (other !== undefined) {
    throw new InvalidArgumentError({ field: `${field}.${other.slice(0, 80)}`, expected: `no such setting of ${kind}`, got: 'one' });
  }
  if (kind !== 'softmax-cross-entropy') return { kind };
  return { kind, labelSmoothing: requireNumber(`${field}.labelSmoothing`, labelSmoothing, 0, 1) };
}

/** The loss that a training's record names; the default where it names none. @throws InvalidArgumentError for one unknown here. */
export function lossOfRecord(record: unknown): Loss {
  const settings = (record as { readonly settings?: unknown } | null | undefined)?.settings;
  const loss = (settings as { readonly loss?: unknown } | null | undefined)?.loss;
  return typeof loss === 'object' && loss !== null && 'kind' in loss ? requireLoss('training.settings.loss', loss) : DEFAULT_LOSS;
}
