/** Which loss the options name. */
import { lossKinds } from '../index.ts';
import type { Loss } from '../index.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import { UsageError } from './exit.ts';

export const lossOptions = {
  loss: { kind: 'choice', choices: lossKinds, help: 'what is minimised; the last two against one-hot targets' },
  'label-smoothing': {
    kind: 'number', metavar: 'X', minimum: 0, maximum: 1,
    help: 'softmax-cross-entropy: share of each target spread over all classes (default 0)',
  },
} as const satisfies OptionSpecs;

/** The loss that the options name; undefined where they name none. */
export function lossOf(values: ValuesOf<typeof lossOptions>): Loss | undefined {
  const { loss: kind, 'label-smoothing': labelSmoothing } = values;
  if (kind !== undefined && kind !== 'softmax-cross-entropy') {
    if (labelSmoothing !== undefined) throw new UsageError('--label-smoothing goes with --loss softmax-cross-entropy');
    return { kind };
  }
  return kind === undefined && labelSmoothing === undefined
    ? undefined
    : { kind: 'softmax-cross-entropy', labelSmoothing: labelSmoothing ?? 0 };
}
