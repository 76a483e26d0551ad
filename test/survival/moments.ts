// Interruptions that are no faults: SIGINT, two runs on one output, a clock that is set back by a day.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { openCompute } from '../../src/index.ts';
import { cliPath } from '../cli/fixtures.ts';
import { runHere } from './in-process.ts';
import type { Workshop } from './jobs.ts';
import { jobs } from './jobs.ts';

const DAY_MS = 86_400_000;

/** Sets `Date.now` and `performance.now` back by a day after so many readings. @returns how to undo it. */
function setClockBack(afterReadings: number): () => void {
  const [now, monotonic] = [Date.now, performance.now];
  let readings = 0;
  const shifted = (ms: number): number => (++readings > afterReadings ? ms - DAY_MS : ms);
  Date.now = () => shifted(now());
  performance.now = () => shifted(monotonic.call(performance));
  return () => {
    Date.now = now;
    performance.now = monotonic;
  };
}

/** @throws Error where the bytes are others. @returns how many moments were tried. */
export async function clockSetBack(shop: Workshop, moments: readonly number[]): Promise<number> {
  using compute = await openCompute();
  for (const job of jobs) {
    for (const readings of moments) {
      const restore = setClockBack(readings);
      const { error } = await runHere(job.argv, shop.directory, compute).finally(restore);
      if (error !== undefined) throw new Error(`${job.name}, clock set back after ${readings} readings: ${String(error)}`);
      shop.requireFinished(job);
      shop.clear();
    }
  }
  return jobs.length * moments.length;
}

export interface InterruptResult {
  readonly interrupts: number;
  /** From SIGINT to the end of the process, the longest. */
  readonly longestMs: number;
}

/** SIGINT some time after the first resume point; exit 130, a point, and the same bytes from the next run. */
export async function interrupt(shop: Workshop, times: number): Promise<InterruptResult> {
  let longestMs = 0;
  const job = { ...jobs[0]!, argv: [...jobs[0]!.argv, '--resume-file', 'out.zip.resume'] };
  for (let time = 0; time < times; time++) {
    const child = spawn(process.execPath, [cliPath, ...job.argv], { cwd: shop.directory, stdio: 'ignore' });
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    const point = join(shop.directory, 'out.zip.resume');
    while (!existsSync(point) && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 2));
    const startMs = performance.now();
    child.kill('SIGINT');
    const code = await ended;
    const elapsedMs = performance.now() - startMs;
    // It may have been faster than the signal.
    if (code === 0) {
      shop.clear();
      continue;
    }
    if (code !== 130 || !existsSync(point))
      throw new Error(`SIGINT ended with ${code}, ${existsSync(point) ? 'with' : 'without'} a resume point`);
    longestMs = Math.max(longestMs, elapsedMs);
    await shop.examine(job);
    await shop.mustRun(job.argv);
    shop.requireFinished(job);
    shop.clear();
  }
  return { interrupts: times, longestMs };
}

/** Pairs of runs on one output at the same time: always one works and the other is locked. @returns how many pairs. */
export async function twoRuns(shop: Workshop, pairs: number): Promise<number> {
  const job = jobs[0]!;
  for (let pair = 0; pair < pairs; pair++) {
    const both = await Promise.all([shop.run(job.argv), shop.run(job.argv)]);
    const codes = both.map(({ code }) => code).toSorted();
    // Where one had ended before the other began, both may have worked.
    if (codes.join() !== '0,75' && codes.join() !== '0,0') throw new Error(`two runs ended with ${codes.join()}`);
    const locked = both.find(({ code }) => code === 75);
    if (locked !== undefined && !locked.events.some(({ event, code }) => event === 'error' && code === 'locked'))
      throw new Error(`untyped: ${locked.stderr}`);
    shop.requireFinished(job);
    shop.clear();
  }
  return pairs;
}
