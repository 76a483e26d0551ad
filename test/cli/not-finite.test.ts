/** NaN and infinities: of weights the file is named, gradients are not taken for weights, and a loss that is none is remarked on. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });
/** The weights of v.safetensors with what `change` makes of one tensor. */
function changed(out: string, tensor: string, change: (data: Float32Array) => void): void {
  const { tensors } = readSafetensors(new Uint8Array(readFileSync(join(directory, 'v.safetensors'))), 'v');
  const copy = new Map([...tensors].map(([name, { dtype, shape, bytes }]) => {
    const data = new Float32Array(new Uint8Array(bytes).buffer);
    if (name === tensor) change(data);
    return [name, { dtype, shape, bytes: new Uint8Array(data.buffer) }];
  }));
  writeFileSync(join(directory, out), writeSafetensors(copy, new Map()));
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-finite-'));
  writeImageFolder(join(directory, 'a'));
  const { code, stderr } = await run(
    'train', '--data', 'a', '--widths', '8', '--epochs', '1', '--out', 'tune.zip', '--final', 'v.safetensors',
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  changed('nan.safetensors', 'linear1.bias', (data) => (data[3] = Number.NaN));
  // Finite, and too large for any product with them.
  changed('huge.safetensors', 'linear1.weight', (data) => data.fill(3e38));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it('weights that are not finite are refused by the name of their file, and remarked on by who only looks', async () => {
  const refused = {
    code: 3,
    stderr: expect.stringContaining('error: nan.safetensors: linear1.bias[3]: expected a finite number, got NaN'),
  };
  for (const args of [
    ['evaluate', 'nan.safetensors', '--graph', 'tune.zip', '--data', 'a'],
    ['transfer', 'tune.zip', '--target', 'nan.safetensors', '--data', 'a', '--out', 'x.safetensors'],
    ['train', '--graph', 'tune.zip', '--data', 'a', '--initial', 'nan.safetensors', '--final', 'x.safetensors'],
  ]) {
    expect(await run(...args)).toMatchObject(refused);
  }
  const noted = { code: 0, stderr: 'note: nan.safetensors: linear1.bias[3] is NaN; no network computes with that\n' };
  for (const args of [
    ['inspect', 'nan.safetensors'],
    ['inspect', 'nan.safetensors', '--graph', 'tune.zip'],
    ['convert', 'nan.safetensors', 'nan.npz'],
  ])
    expect(await run(...args)).toMatchObject(noted);
  expect(await run('inspect', 'v.safetensors')).toMatchObject({ code: 0, stderr: '' });
});

it('weights that overflow: the loss is remarked on, and the gradient is not taken for the weights', async () => {
  const { code, stdout, stderr } = await run('evaluate', 'huge.safetensors', '--graph', 'tune.zip', '--data', 'a', '--json');
  expect({ code, stderr, loss: jsonLines(stdout)[0]?.['loss'] }).toEqual({
    code: 0,
    stderr: expect.stringMatching(/^note: huge\.safetensors: the loss is (NaN|Infinity): the network overflows/),
    loss: null,
  });
  const ported = await run(
    'transfer', 'tune.zip', '--target', 'huge.safetensors', '--data', 'a', '--method', 'fgmt', '--out', 'x.safetensors',
  );
  expect(ported).toMatchObject({
    code: 3,
    stderr: expect.stringMatching(
      /error: gradient of target\.linear1\.\w+( \(inputs\))?\[\d+\]: expected a finite number, got (NaN|-?Infinity)/,
    ),
  });
});
