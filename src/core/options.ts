/**
 * The options of a call, checked at its door: what types cannot hold a call from JavaScript to, and what they let
 * through in a spread object.
 */
import { describe } from './describe.ts';
import { InvalidArgumentError } from './errors.ts';
import { nearestName } from './nearest-name.ts';

/** The names of a call's options. A type over every one of them: a new one cannot be forgotten. */
export type OptionNames<T> = { readonly [K in keyof Required<T>]: true };

/**
 * @param within where the options stand where that is an option itself: `core` of `openGradientWorkers`.
 * @throws InvalidArgumentError for options that are no object, for one that the call does not have, which would silently be its default,
 *   and for a `signal` or an `onProgress` that would be met as one only after the first step's work.
 */
export function requireOptions(call: string, options: unknown, known: Readonly<Record<string, unknown>>, within?: string): void {
  if (typeof options !== 'object' || options === null) {
    throw new InvalidArgumentError({
      field: within ?? 'options',
      expected: `an object with the options of ${call}`,
      got: describe(options),
    });
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || Object.hasOwn(known, name)) continue;
    const nearest = nearestName(name, Object.keys(known));
    const hint = nearest === undefined ? `there are ${Object.keys(known).join(', ')}` : `did you mean ${nearest}?`;
    const field = `${within === undefined ? '' : `${within}.`}${name.slice(0, 80)}`;
    throw new InvalidArgumentError({ field, expected: `an option of ${call}`, got: `one that it does not have (${hint})` });
  }
  const { signal, onProgress } = options as { readonly signal?: Partial<AbortSignal> | undefined; readonly onProgress?: unknown };
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function') {
    throw new InvalidArgumentError({
      field: 'signal',
      expected: 'an AbortSignal: the `signal` of an AbortController',
      got: describe(signal),
    });
  }
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw new InvalidArgumentError({ field: 'onProgress', expected: 'a function', got: describe(onProgress) });
}
