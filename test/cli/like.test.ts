/** `transfer --like FILE`: what `convert --like FILE` would make of the result, in one command, and refused before the work. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const path = (name: string): string => join(directory, name);
const run = (...args: string[]) => trajport(args, { cwd: directory });
const bytesOf = (name: string): Uint8Array => new Uint8Array(readFileSync(path(name)));
const tensorsOf = (name: string): ReadonlyMap<string, RawTensor> => readSafetensors(bytesOf(name), name).tensors;
const sha256 = (name: string): string => createHash('sha256').update(bytesOf(name)).digest('hex');
const floats = ({ bytes }: RawTensor): number[] => [...new Float32Array(bytes.slice().buffer)];
const raw = (shape: readonly number[]): RawTensor =>
  ({ dtype: 'F32', shape, bytes: new Uint8Array(4 * shape.reduce((product, extent) => product * extent, 1)) });

const how = ['--target', 'v2.safetensors', '--data', 'a', '--method', 'fgmt', '--steps', '2'];
const port = (...more: string[]) => run('transfer', 'tune.zip', ...how, ...more);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-like-'));
  writeImageFolder(path('a'));
  const model = ['--data', 'a', '--widths', '8'];
  expect(await run('train', ...model, '--iterations', '4', '--seed', '2', '--final', 'v2.safetensors')).toMatchObject({ code: 0 });
  expect(await run('train', ...model, '--iterations', '60', '--out', 'tune.zip')).toMatchObject({ code: 0 });
  expect(await port('--out', 'plain.safetensors')).toMatchObject({ code: 0 });
  // As DataParallel names them, last layer first and of other classes, with an optimiser's tensor beside.
  const torch = ['linear2.bias', 'linear2.weight', 'linear1.weight', 'linear1.bias'].map((name): [string, RawTensor] => {
    const { shape } = tensorsOf('plain.safetensors').get(name) as RawTensor;
    const [first, ...others] = shape as [number, ...number[]];
    return [`module.${name}`, raw([name.startsWith('linear2') ? first + 2 : first, ...others])];
  });
  writeFileSync(path('torch.safetensors'), writeSafetensors(new Map([...torch, ['momentum', raw([3])]])));
  const keras = [...tensorsOf('plain.safetensors')].map(([name, { shape }]): [string, RawTensor] => [
    name.replace('.weight', '/kernel').replace('.bias', '/bias'), raw(shape.toReversed()),
  ]);
  mkdirSync(path('keras'));
  for (const { name, bytes } of (await writeForeign(new Map(keras), { format: 'tfjs', name: 'model.json' })).files)
    writeFileSync(path(join('keras', name)), bytes);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it('writes what the result would be under the names of the file, and says what of it is left out', async () => {
  const { code, stdout } = await port('--out', 'ported.safetensors', '--like', 'torch.safetensors', '--record', 'record.json');
  expect(code).toBe(0);
  expect(stdout).toContain('weights are as torch.safetensors has them; 1 tensor of it left out, no part of the network: momentum');
  const written = tensorsOf('ported.safetensors');
  expect([...written]).toEqual(
    [
      'linear2.bias', 'linear2.weight', 'linear1.weight', 'linear1.bias',
    ].map((name) => [`module.${name}`, tensorsOf('plain.safetensors').get(name)]),
  );
  expect(
    await run('convert', 'plain.safetensors', 'after.safetensors', '--graph', 'tune.zip', '--like', 'torch.safetensors'),
  ).toMatchObject({ code: 0 });
  expect(sha256('ported.safetensors')).toBe(sha256('after.safetensors'));
  expect(JSON.parse(readFileSync(path('record.json'), 'utf8'))).toMatchObject({
    sha256: sha256('plain.safetensors'), files: [{ name: 'ported.safetensors', sha256: sha256('ported.safetensors') }],
  });
  for (const name of ['plain.safetensors', 'ported.safetensors']) expect(stdout).toContain(`sha256 ${sha256(name)}`);
});

it('writes a model in parts, its kernels turned, and one for numpy', async () => {
  const { code, stdout } = await port('--out', 'web/ported.json', '--like', 'keras/model.json', '--json');
  expect(code).toBe(0);
  expect(jsonLines(stdout).at(-1)).toMatchObject({
    event: 'result', like: 'keras/model.json', leftOut: [],
    files: ['ported.json', 'ported-shard1of1.bin'].map((name) => ({
      name, bytes: bytesOf(`web/${name}`).byteLength, sha256: sha256(`web/${name}`),
    })),
  });
  expect(readdirSync(path('web')).toSorted()).toEqual(['ported-shard1of1.bin', 'ported.json']);
  const read = async (name: string) =>
    (await readForeign({ name, bytes: bytesOf(name) }, { readBeside: async (part) => bytesOf(join('web', part)) })).tensors;
  expect(await port('--out', 'ported.npz', '--like', 'keras/model.json')).toMatchObject({ code: 0 });
  const weight = tensorsOf('plain.safetensors').get('linear2.weight') as RawTensor;
  const [out, inputs] = weight.shape as [number, number];
  const values = floats(weight);
  for (const name of ['web/ported.json', 'ported.npz']) {
    const kernel = (await read(name)).get('linear2/kernel') as RawTensor;
    expect(kernel.shape).toEqual([inputs, out]);
    expect(floats(kernel)).toEqual(Array.from({ length: out * inputs }, (_, i) => values[(i % out) * inputs + Math.floor(i / out)]));
  }
});

it('reads the file by the rules that the bundle was packed with, in transfer and in convert', async () => {
  const own = new Map([...tensorsOf('v2.safetensors')].map(([name, tensor]) => [name.replace('linear', 'mine_'), tensor]));
  writeFileSync(path('own.safetensors'), writeSafetensors(own));
  writeFileSync(path('rules.json'), '[{ "from": "mine_**", "to": "linear$1" }]');
  const files = ['own.safetensors', 'own2.safetensors'];
  writeFileSync(path('own2.safetensors'), writeSafetensors(own));
  expect(await run('pack', ...files, '--graph', 'tune.zip', '--rules', 'rules.json', '--out', 'ruled.zip')).toMatchObject({ code: 0 });
  const back = ['v2.safetensors', 'back.safetensors', '--graph', 'ruled.zip', '--like', 'own.safetensors'];
  expect(await run('convert', ...back)).toMatchObject({ code: 0 });
  // The two packed are the same, so a port moves nothing.
  expect(await run('transfer', 'ruled.zip', ...how, '--like', 'own.safetensors', '--out', 'moved.safetensors')).toMatchObject({ code: 0 });
  for (const name of ['back.safetensors', 'moved.safetensors']) expect([...tensorsOf(name)]).toEqual([...own]);
});

it('refuses a file of another network before it looks for data, and leaves nothing', async () => {
  writeFileSync(path('other.safetensors'), writeSafetensors(new Map([['linear1.weight', raw([2, 2])]])));
  const refused = ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'nowhere', '--out', 'new/never.safetensors'];
  expect(await run(...refused, '--like', 'other.safetensors')).toMatchObject({
    code: 3, stderr: expect.stringMatching(/other\.safetensors: expected the network's tensors/),
  });
  expect(await run(...refused, '--like', 'torch.safetensors')).toMatchObject({ code: 3, stderr: expect.stringContaining('nowhere') });
  expect(existsSync(path('new'))).toBe(false);
});

it.each([
  [['--record', 'r.json', '--like', 'torch.safetensors'], '--like goes with --out FILE'],
  [['--out', 'ported', '--like', 'torch.safetensors'], '--out is a name that ends with .safetensors, .npz, .json, not ported'],
  [['--out', 'ported.npz'], '--out ported.npz would hold safetensors'],
  [['--out', 'torch.safetensors', '--like', 'torch.safetensors'], '--out torch.safetensors is an input of the same command'],
  [
    ['--out', 'keras/new.json', '--like', 'keras/model.json', '--resume-file', 'keras/new-shard1of1.bin'],
    'new-shard1of1.bin is named for two outputs',
  ],
  [['--out', 'tune.json', '--like', 'keras/model.json', '--record', 'tune.json'], 'tune.json is named for two outputs'],
])('%j is a wrong command line', async (more, says) => {
  expect(await port(...more)).toMatchObject({ code: 2, stderr: expect.stringContaining(says) });
});
