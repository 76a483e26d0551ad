// One target under seeded damage: what came of each input, and which input did what it must not.
import { TrajportError } from '../../src/core/errors.ts';
import type { FuzzTarget } from '../bundle/foreign/fuzz-targets.ts';
import { mutator } from '../bundle/foreign/mutate.ts';

export interface FuzzResult {
  readonly target: string;
  readonly n: number;
  readonly seed: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly untyped: number;
  /** The first input that was answered by something else than a value or a typed error. */
  readonly firstFault?: { readonly input: number; readonly error: string };
  readonly slowestMs: number;
}

/** @param onInput told the number of the input about to be parsed, for a watchdog. */
export async function runTarget(
  target: FuzzTarget,
  n: number,
  seed: number,
  onInput: (input: number) => void = () => undefined,
): Promise<FuzzResult> {
  const seeds = await target.seeds();
  const { next } = mutator(seed);
  let [accepted, rejected, untyped, slowestMs] = [0, 0, 0, 0];
  let firstFault: FuzzResult['firstFault'];
  for (let input = 0; input < n; input++) {
    const bytes = next(seeds);
    onInput(input);
    const startedAt = performance.now();
    try {
      await target.parse(bytes);
      accepted++;
    } catch (error) {
      if (error instanceof TrajportError) {
        rejected++;
      } else {
        untyped++;
        firstFault ??= { input, error: String(error instanceof Error ? error.stack : error) };
      }
    }
    slowestMs = Math.max(slowestMs, performance.now() - startedAt);
  }
  return {
    target: target.name,
    n,
    seed,
    accepted,
    rejected,
    untyped,
    ...(firstFault === undefined ? {} : { firstFault }),
    slowestMs: Math.round(slowestMs * 10) / 10,
  };
}
