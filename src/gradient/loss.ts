/** What a network is trained for: a mean over the images of a batch, against targets made from their labels. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireChoice, requireNumber } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';

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

type SettingsOf<K> = OptionNames<Extract<Loss, { readonly kind: K }>>;

const settingNames: { readonly [K in Loss['kind']]: SettingsOf<K> } = {
  'softmax-cross-entropy': { kind: true, labelSmoothing: true },
  'binary-cross-entropy': { kind: true },
  'mean-squared-error': { kind: true },
};

export const DEFAULT_LOSS: Loss = { kind: 'softmax-cross-entropy', labelSmoothing: 0 };

/** A loss from untrusted JSON in its full form. @throws InvalidArgumentError naming the field. */
export function requireLoss(field: string, value: unknown): Loss {
  if (typeof value !== 'object' || value === null) {
    throw new InvalidArgumentError({ field, expected: `an object with a kind: ${lossKinds.join(', ')}`, got: describe(value) });
  }
  const { kind: given, labelSmoothing = 0 } = value as { readonly kind?: unknown; readonly labelSmoothing?: unknown };
  const kind = requireChoice(`${field}.kind`, given, lossKinds);
  requireOptions(kind, value, settingNames[kind], field);
  if (kind !== 'softmax-cross-entropy') return { kind };
  return { kind, labelSmoothing: requireNumber(`${field}.labelSmoothing`, labelSmoothing, 0, 1) };
}

/** The loss that a training's record names; the default where it names none. @throws InvalidArgumentError for one unknown here. */
export function lossOfRecord(record: unknown): Loss {
  const settings = (record as { readonly settings?: unknown } | null | undefined)?.settings;
  const loss = (settings as { readonly loss?: unknown } | null | undefined)?.loss;
  return typeof loss === 'object' && loss !== null && 'kind' in loss ? requireLoss('training.settings.loss', loss) : DEFAULT_LOSS;
}
