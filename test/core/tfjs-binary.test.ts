/**
 * Without binaryen a build keeps all of tfjs's binary, with it a part: what either writes is the same, byte for byte,
 * and each goes on from the other's points.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../hosts/root.ts';

/**
 * Four iterations, from the point in file `from` where it is not '' ; the point after two goes to `to`. Batch norm and
 * pooling are tfjs's own kernels.
 */
const JOB = `
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
const [dist, from, to] = process.argv.slice(2);
const { generateTaskPair, openCompute, preset, train, writeBundle } = await import(dist);
const compute = await openCompute();
const { before } = generateTaskPair(compute.core, { seed: 1, trainCount: 64, testCount: 16 });
const graph = preset('resnet-small', { input: [1, 28, 28], classes: 10, width: 8 });
let continued = 0;
const store = {
  load: async () => (from === '' ? [] : [readFileSync(from)]),
  save: async (point, done) => { if (done === 2) writeFileSync(to, point); },
};
const resume = { store, onContinue: (done) => { continued = done; } };
const { checkpoints, record } = await train({
  graph, data: before.train, seed: 1, iterations: 4, batchSize: 16, heldOutFraction: 0, compute, resume,
});
const bundle = createHash('sha256').update(await writeBundle({ graph, checkpoints, training: record })).digest('hex');
console.log(JSON.stringify({ record, bundle, continued }));
`;

interface Outcome {
  readonly record: { readonly binaries: { readonly core: string; readonly tfjs: string }; readonly sha256: string };
  readonly bundle: string;
  readonly continued: number;
}

const folder = mkdtempSync(join(tmpdir(), 'trajport-trimmed-'));
const job = join(folder, 'job.mjs');
/** A checkout whose node_modules lack binaryen, as `npm start` leaves them. */
const lean = join(folder, 'lean');
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const shipped = (checkout: string): Uint8Array => readFileSync(join(checkout, 'dist', 'tfjs.wasm'));

function runJob(checkout: string, from: string, to: string): Outcome {
  const args = [job, pathToFileURL(join(checkout, 'dist', 'index.js')).href, from, to];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Outcome;
}

beforeAll(() => {
  writeFileSync(job, JOB);
  for (const part of ['src', 'assembly', 'package.json', join('scripts', 'build.mjs')])
    cpSync(join(root, part), join(lean, part), { recursive: true });
  mkdirSync(join(lean, 'node_modules'));
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== 'binaryen') symlinkSync(join(root, 'node_modules', name), join(lean, 'node_modules', name));
  }
  execFileSync(process.execPath, [join(lean, 'scripts', 'build.mjs')]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('packages another binary, and writes the same record and bundle', () => {
  const original = readFileSync(join(root, 'node_modules', '@tensorflow', 'tfjs-backend-wasm', 'dist', 'tfjs-backend-wasm-simd.wasm'));
  expect(sha256(shipped(lean))).toBe(sha256(original));
  expect(shipped(root).length).toBeLessThan(original.length);

  const [trimmed, whole] = [root, lean].map((checkout, i) => runJob(checkout, '', join(folder, `${i}.resume`))) as [Outcome, Outcome];
  expect(whole).toEqual(trimmed);
  expect(trimmed.record.binaries).toEqual({ core: sha256(readFileSync(join(root, 'assembly', 'core.wasm'))), tfjs: sha256(original) });
  expect(sha256(readFileSync(join(folder, '1.resume')))).toBe(sha256(readFileSync(join(folder, '0.resume'))));

  for (const [checkout, point] of [[lean, '0.resume'], [root, '1.resume']] as const) {
    expect(runJob(checkout, join(folder, point), join(folder, 'again'))).toEqual({ ...trimmed, continued: 2 });
  }
});
