/**
 * The only file of the library that reads a clock: for pacing, and for timings that are reported beside a result and
 * never part of what is hashed (edge runtimes freeze their clocks during CPU work anyway).
 */

/** Milliseconds of a clock that never runs backwards, where the host has one. */
export function nowMs(): number {
  return performance.now();
}
