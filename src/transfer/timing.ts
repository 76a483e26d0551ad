/** Where a run's milliseconds went. */

import { nowMs } from '../core/clock.ts';
import type { Core } from '../core/core.ts';
import { matmul } from '../core/matmul.ts';

/** What time is booked on. */
export type TimedPart = 'gradients' | 'similarity' | 'assignment' | 'evaluation';

/** Wall milliseconds by what they were spent on; `otherMs` is the rest of `totalMs`. */
export interface Timings {
  readonly gradientsMs: number;
  readonly similarityMs: number;
  readonly assignmentMs: number;
  readonly evaluationMs: number;
  readonly otherMs: number;
  readonly totalMs: number;
}

export class Stopwatch {
  readonly #start = nowMs();
  readonly #spentMs: Record<TimedPart, number> = { gradients: 0, similarity: 0, assignment: 0, evaluation: 0 };

  /** Runs `body` and books its time on `part`. */
  readonly measure = <T>(part: TimedPart, body: () => T): T => {
    const start = nowMs();
    try {
      return body();
    } finally {
      this.#spentMs[part] += nowMs() - start;
    }
  };

  /** The same of what other threads do meanwhile. */
  async measureLater<T>(part: TimedPart, body: () => Promise<T>): Promise<T> {
    const start = nowMs();
    try {
      return await body();
    } finally {
      this.#spentMs[part] += nowMs() - start;
    }
  }

  read(): Timings {
    const totalMs = nowMs() - this.#start;
    const { gradients, similarity, assignment, evaluation } = this.#spentMs;
    return {
      gradientsMs: gradients,
      similarityMs: similarity,
      assignmentMs: assignment,
      evaluationMs: evaluation,
      otherMs: Math.max(0, totalMs - gradients - similarity - assignment - evaluation),
      totalMs,
    };
  }
}

/**
 * FLOP/s of a 512³ matrix product on this machine now, the better of three: about 0.03 s in all. Meant for estimates;
 * where the clock is frozen (edge isolates during CPU work) there is nothing to measure and the answer is undefined.
 */
export function measureFlopRate(core: Core): number | undefined {
  const n = 512;
  let bestMs = Infinity;
  core.scoped((scratch) => {
    const [a, b, c] = [scratch.f32(n * n), scratch.f32(n * n), scratch.f32(n * n)] as const;
    core.f32(a, n * n).fill(0.5);
    core.f32(b, n * n).fill(0.25);
    for (let run = 0; run < 3; run++) {
      const start = nowMs();
      matmul(core, { a, b, c, m: n, n, k: n });
      bestMs = Math.min(bestMs, nowMs() - start);
    }
  });
  return bestMs > 0 ? (2 * n * n * n * 1000) / bestMs : undefined;
}
