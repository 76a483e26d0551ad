/** What benchmarks share: CPU time, medians, and the machine a figure was taken on. */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** CPU milliseconds of this process, all threads: other processes on the machine do not count. */
function cpuMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** What `body` returns and the CPU milliseconds that it took. */
export function clocked<T>(body: () => T): { readonly value: T; readonly ms: number } {
  const start = cpuMilliseconds();
  const value = body();
  return { value, ms: cpuMilliseconds() - start };
}

/** The same of what ends later. */
export async function clockedLater<T>(body: () => Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const start = cpuMilliseconds();
  const value = await body();
  return { value, ms: cpuMilliseconds() - start };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** CPU milliseconds of one call: `repetitions` calls together, divided. */
export function timed(repetitions: number, call: () => void): number {
  const { ms } = clocked(() => {
    for (let k = 0; k < repetitions; k++) call();
  });
  return ms / repetitions;
}

/** Wall milliseconds after which Node 20 runs the optimised code of every kernel of an assignment. */
const WARM_UP_MS = 400;

/**
 * Calls until engines have compiled what is called for the second time: V8 runs WebAssembly quickly compiled at first,
 * and optimises what is hot in threads whose time counts as ours. An assignment at n = 128 takes 0.25 ms in its first
 * hundred milliseconds and 0.1 from then on.
 * @returns how many calls last about 20 ms, at most `most`: so many are timed together.
 */
export function warmUp(call: () => void, most: number): number {
  const start = performance.now();
  do call(); while (performance.now() - start < WARM_UP_MS);
  return Math.max(1, Math.min(most, Math.ceil(20 / Math.max(timed(1, call), 0.02))));
}

/**
 * Most memory that this process has held. `resourceUsage().maxRSS` would do, had Linux not handed it on across exec: a child of a large
 * process starts at its parent's peak. VmHWM belongs to the process's own image; elsewhere maxRSS stands in.
 */
export function processPeakBytes(): number {
  try {
    const own = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (own !== undefined) return Number(own) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

export function machine(): Record<string, string | number> {
  const processors = cpus();
  return { node: process.version, v8: process.versions.v8, processor: processors[0]?.model ?? 'unknown', processors: processors.length };
}
