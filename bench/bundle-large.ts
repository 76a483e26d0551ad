/**
 * npm run -s bench:bundle-large [-- --gigabytes 4.4] [--dir DIR] [--json]
 * A real bundle beyond 4 GiB: written piece by piece to disk, every byte of it, then three checkpoints read. States
 * speed, and memory above what was held before: of the writer at most six checkpoints, of the reader four. Removes the
 * file. Exit status 1 when a bar falls short.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openBundle } from '../src/bundle/reader.ts';
import { type CheckpointContent, writeBundleTo } from '../src/bundle/writer.ts';
import { openRandomAccess } from '../src/cli/read-files.node.ts';
import { openCore } from '../src/core/core.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset } from '../src/model/presets.ts';
import { machine } from './measure.ts';

const { values } = parseArgs({
  options: {
    gigabytes: { type: 'string', default: '4.4' },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const graph = preset('mlp', { input: [4096], widths: [2048], classes: 10 });
const checkpointBytes = 4 * (4096 * 2048 + 2048 + 2048 * 10 + 10);
const count = Math.ceil((Number(values.gigabytes) * 1e9) / checkpointBytes);

/** Each differs from the last in every thousandth parameter. */
async function* checkpoints(): AsyncGenerator<CheckpointContent> {
  using core = await openCore();
  const state = initialise(core, graph, { seed: 1 });
  for (let epoch = 0; epoch < count; epoch++) {
    yield { label: `epoch ${epoch}`, epoch, state };
    for (const { data } of state.parameters.values())
      for (let i = epoch % 1000; i < data.length; i += 1000) data[i] = (data[i] as number) + 1e-3;
  }
}

/** Watches what the process holds while `run` goes on. */
async function peakAbove<T>(run: (sample: () => void) => Promise<T>): Promise<{ result: T; peakBytes: number; seconds: number }> {
  const before = process.memoryUsage.rss();
  let peak = before;
  const sample = (): void => void (peak = Math.max(peak, process.memoryUsage.rss()));
  const startedAt = performance.now();
  const result = await run(sample);
  sample();
  return { result, peakBytes: peak - before, seconds: (performance.now() - startedAt) / 1000 };
}

const folder = mkdtempSync(join(values.dir, 'trajport-large-'));
const path = join(folder, 'bundle.zip');
try {
  const file = openSync(path, 'w');
  const written = await peakAbove(async (sample) =>
    writeBundleTo(
      (bytes) => {
        sample();
        for (let at = 0; at < bytes.byteLength; ) at += writeSync(file, bytes, at);
      },
      { graph, checkpoints: checkpoints() },
      { coding: 'full' },
    ),
  );
  closeSync(file);
  const access = openRandomAccess(path);
  let readBytes = 0;
  const read = await peakAbove(async (sample) => {
    const source = {
      byteLength: access.byteLength,
      read: async (offset: number, length: number) => {
        readBytes += length;
        sample();
        return access.read(offset, length);
      },
    };
    using bundle = await openBundle(source);
    for (const index of [count - 1, 0, count >> 1]) await bundle.readCheckpointFile(index);
    return bundle.checkpoints.length;
  });
  access.close();
  const bars = [
    { bar: 'bytes of the bundle', bound: `≥ ${2 ** 32}`, got: written.result, pass: written.result >= 2 ** 32 },
    { bar: 'checkpoints found', bound: `= ${count}`, got: read.result, pass: read.result === count },
    {
      bar: 'writer: peak above idle ÷ checkpoint',
      bound: '≤ 6',
      got: written.peakBytes / checkpointBytes,
      pass: written.peakBytes <= 6 * checkpointBytes,
    },
    {
      bar: 'reader: peak above idle ÷ checkpoint',
      bound: '≤ 4',
      got: read.peakBytes / checkpointBytes,
      pass: read.peakBytes <= 4 * checkpointBytes,
    },
    {
      bar: 'bytes read for three checkpoints ÷ checkpoint',
      bound: '≤ 3.1',
      got: readBytes / checkpointBytes,
      pass: readBytes <= 3.1 * checkpointBytes,
    },
  ];
  const facts = { ...machine(), checkpoints: count, checkpointBytes, writeMBs: written.result / 1e6 / written.seconds };
  if (values.json)
    for (const line of [{ event: 'machine', ...facts }, ...bars.map((bar) => ({ event: 'bar', ...bar }))])
      console.log(JSON.stringify(line));
  else {
    console.log(`${count} checkpoints of ${(checkpointBytes / 1e6).toFixed(1)} MB, written at ${facts.writeMBs.toFixed(0)} MB/s`);
    for (const { bar, bound, got, pass } of bars)
      console.log(`${pass ? 'pass' : 'FAIL'}  ${bar}: ${Number.isInteger(got) ? got : got.toPrecision(3)} (${bound})`);
  }
  process.exitCode = bars.every(({ pass }) => pass) ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
