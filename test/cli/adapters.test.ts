/** LoRA adapters on the command line: pack BASE ADAPTER → transfer --like ADAPTER → the adapter of v2, and what is refused. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readAdapter } from '../../src/bundle/foreign/adapter.ts';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { stateFromAdapter, stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import type { JsonObject } from '../../src/bundle/json.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { adapterFiles, openAdapterPort } from '../../src/cli/adapters.node.ts';
import { openBundleFile } from '../../src/cli/weights.node.ts';
import { type Like, readLike } from '../../src/cli/written-weights.node.ts';
import type { TransferResult } from '../../src/index.ts';
import { randomPermutations } from '../../src/matching/permutation.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { adaptedCase, folderOf, furthest, valuesOf } from '../bundle/foreign/adapters/cases.ts';
import { jsonLines, trajport } from './fixtures.ts';

let directory: string;
const at = (name: string): string => join(directory, name);
const run = (...args: string[]) => trajport(args, { cwd: directory });
const read = (name: string) => readForeign({ name, bytes: readFileSync(at(name)) });

const shape = [
  '--model', 'distilbert', '--width', '8', '--heads', '2', '--depth', '2', '--vocabulary-size', '11', '--positions', '8', '--input', '8',
  '--classes', '3',
];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-adapters-'));
  mkdirSync(at('lora'));
  for (const name of ['adapter_model.safetensors', 'adapter_config.json']) cpSync(join(folderOf('distilbert'), name), at(`lora/${name}`));
  cpSync(join(folderOf('distilbert'), 'base.safetensors'), at('v1.safetensors'));
  const { base } = await adaptedCase('distilbert');
  const v2 = new Map([...base.tensors].map(([name, tensor]) => {
    const values = valuesOf(base.tensors, name).map((value, i) => value / 2 + ((i * 37) % 11) / 50);
    return [name, { ...tensor, bytes: new Uint8Array(values.buffer) }];
  }));
  const { files } = await writeForeign(v2, { format: 'safetensors', name: 'v2.safetensors' });
  writeFileSync(at('v2.safetensors'), files[0]?.bytes ?? new Uint8Array(0));
  const lines = Array.from({ length: 60 }, (_, i) =>
    `${JSON.stringify({ tokens: Array.from({ length: 6 }, (__, k) => 1 + ((i * 7 + k * k + i * k) % 10)), label: i % 3 })}\n`);
  writeFileSync(at('texts.jsonl'), lines.join(''));
  const packed = await run('pack', 'v1.safetensors', 'lora', ...shape, '--out', 'tune.zip');
  expect({ code: packed.code, stderr: packed.stderr }).toEqual({ code: 0, stderr: '' });
  expect(packed.stdout).toContain('a LoRA adapter on the first file, 6 weights of rank 3, 4 whole tensors');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const port = [
  'transfer', 'tune.zip', '--data', 'sequences:texts.jsonl', '--method', 'fgmt', '--steps', '3', '--batch-size', '16',
  '--stop-rule', 'last',
];

describe('pack', () => {
  it("takes an adapter for the weights that PEFT merges it to with the first file's", async () => {
    expect((await run('convert', 'tune.zip', 'end.safetensors', '--checkpoint', 'adapter_model')).code).toBe(0);
    const { graph, merged } = await adaptedCase('distilbert');
    const got = stateFromForeign(graph, await read('end.safetensors'));
    const wanted = stateFromForeign(graph, merged, [{ from: 'scores', to: null }]);
    for (const [name, { data }] of (wanted.state as NetworkState).parameters)
      expect(furthest((got.state as NetworkState).parameters.get(name)?.data as Float32Array, data), name).toBeLessThan(3e-7);
  });

  it.each([
    ['an adapter without its base', ['lora'], 'lora/adapter_model.safetensors: is a LoRA adapter: the first file is to be its base'],
    [
      'an adapter without its config', ['v1.safetensors', 'bare/adapter_model.safetensors'],
      'bare/adapter_config.json: no such file; PEFT saves it',
    ],
  ])('refuses %s', async (_, files, message) => {
    mkdirSync(at('bare'), { recursive: true });
    cpSync(at('lora/adapter_model.safetensors'), at('bare/adapter_model.safetensors'));
    const { code, stderr } = await run('pack', ...files, ...shape, '--out', 'none.zip');
    expect(code).toBeGreaterThan(1);
    expect(stderr).toContain(message);
    expect(existsSync(at('none.zip'))).toBe(false);
  });
});

describe('transfer --like ADAPTER', () => {
  it('writes the adapter by which the target becomes the ported network, and its config, which names no base', async () => {
    const ported = await run(
      ...port, '--target', 'v2.safetensors', '--like', 'lora', '--out', 'v2-lora/adapter_model.safetensors', '--json',
    );
    expect(ported.code, ported.stderr).toBe(0);
    const result = jsonLines(ported.stdout).find(({ event }) => event === 'result') as { files: { name: string }[]; sha256: string };
    expect(result.files.map(({ name }) => name)).toEqual(['adapter_model.safetensors', 'adapter_config.json']);
    const told = await run(...port, '--target', 'v2.safetensors', '--like', 'lora', '--out', 'v2-lora/adapter_model.safetensors');
    expect(told.stdout).toContain('the target with this adapter, which is lora re-ordered, is the ported network');
    const plain = await run(...port, '--target', 'v2.safetensors', '--out', 'ported.safetensors', '--json');
    expect(jsonLines(plain.stdout).find(({ event }) => event === 'result')).toMatchObject({ sha256: result.sha256 });

    const configOf = (folder: string): JsonObject => JSON.parse(readFileSync(at(`${folder}/adapter_config.json`), 'utf8')) as JsonObject;
    const [given, written] = ['lora', 'v2-lora'].map(configOf);
    expect(written).toEqual({ ...given, base_model_name_or_path: null, revision: null });
    const { graph } = await adaptedCase('distilbert');
    const adapter = readAdapter(await read('v2-lora/adapter_model.safetensors'), written as JsonObject);
    const { parameters } = (await stateFromAdapter(graph, await read('v2.safetensors'), adapter)).state as NetworkState;
    const wanted = stateFromForeign(graph, await read('ported.safetensors')).state as NetworkState;
    for (const [name, { data }] of wanted.parameters)
      expect(furthest(parameters.get(name)?.data as Float32Array, data), name).toBeLessThan(1e-6);
  });

  it('takes a bundle that keeps the change in 4 bits, and says by which name PEFT finds an adapter', async () => {
    expect((await run('pack', 'v1.safetensors', 'lora', ...shape, '--coding', 'int4', '--out', 'coded.zip')).code).toBe(0);
    const [, , ...options] = port;
    const coded = await run(
      'transfer', 'coded.zip', ...options, '--target', 'v2.safetensors', '--like', 'lora', '--out', 'coded/other.safetensors',
    );
    expect(coded.code, coded.stderr).toBe(0);
    expect(coded.stderr).toContain('coded/other.safetensors: PEFT looks for an adapter as adapter_model.safetensors');
    const lossless = await run(...port, '--target', 'v2.safetensors', '--like', 'lora', '--out', 'named/adapter_model.safetensors');
    expect(lossless.stderr).not.toContain('PEFT');
  });

  it.each([
    ['a target without names', ['--target-seed', '3'], '--target-seed does not go with --like lora, a LoRA adapter'],
    ['a step that is no share of the change', ['--target', 'v2.safetensors', '--trajectory', 'real'], '--trajectory real does not go with'],
    ['left out parameters', ['--target', 'v2.safetensors', '--skip', 'classifier'], '--skip does not go with'],
  ])('refuses %s', async (_, options, message) => {
    const { code, stderr } = await run(...port, ...options, '--like', 'lora', '--out', 'none/adapter_model.safetensors');
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) as string });
    expect(existsSync(at('none'))).toBe(false);
  });

  it('does not replace the config of the given adapter, whatever that is called', async () => {
    mkdirSync(at('named'), { recursive: true });
    cpSync(at('lora/adapter_model.safetensors'), at('named/mine.safetensors'));
    cpSync(at('lora/adapter_config.json'), at('named/adapter_config.json'));
    const { code, stderr } = await run(
      ...port, '--target', 'v2.safetensors', '--like', 'named/mine.safetensors', '--out', 'named/ported.safetensors',
    );
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('named/adapter_config.json is an input') as string });
    expect(readFileSync(at('named/adapter_config.json'))).toEqual(readFileSync(at('lora/adapter_config.json')));
  });

  it('needs neither the adapter nor the target once the work has begun', async () => {
    mkdirSync(at('gone'), { recursive: true });
    for (const name of ['adapter_model.safetensors', 'adapter_config.json']) cpSync(at(`lora/${name}`), at(`gone/${name}`));
    cpSync(at('v2.safetensors'), at('gone-v2.safetensors'));
    using opened = await openBundleFile(at('tune.zip'));
    const like = (await readLike(at('gone'), new AbortController().signal)) as Like;
    const { graph } = opened.bundle;
    const files = { like, target: at('gone-v2.safetensors'), out: at('ported/adapter_model.safetensors') };
    const ported = await openAdapterPort(files, opened.bundle, { first: 0, last: 1 });
    for (const name of ['gone', 'gone-v2.safetensors']) rmSync(at(name), { recursive: true });
    const state = stateFromForeign(graph, await read('v2.safetensors')).state as NetworkState;
    const permutations = randomPermutations(derivePermutationSpec(graph), 1);
    const result = { state, permutations, chosenStep: 0, steps: [{ step: 0, fraction: 0 }] } as unknown as TransferResult;
    const written = await adapterFiles(ported, state, result);
    expect(written.map(({ name }) => name)).toEqual(['adapter_model.safetensors', 'adapter_config.json']);
  });

  it('refuses the adapter of another fine-tune, before the work, and a name that PEFT would not read', async () => {
    mkdirSync(at('other'), { recursive: true });
    cpSync(at('lora/adapter_model.safetensors'), at('other/adapter_model.safetensors'));
    const config = readFileSync(at('lora/adapter_config.json'), 'utf8').replace('"lora_alpha": 6', '"lora_alpha": 9');
    writeFileSync(at('other/adapter_config.json'), config);
    const other = await run(...port, '--target', 'v2.safetensors', '--like', 'other', '--out', 'none/adapter_model.safetensors');
    expect(other.code).toBe(3);
    expect(other.stderr).toContain('expected changed by just what the adapter says, got another change');
    expect(other.stdout).not.toContain('porting');
    const npz = await run(...port, '--target', 'v2.safetensors', '--like', 'lora', '--out', 'none.npz');
    expect(npz.code).toBe(2);
    expect(npz.stderr).toContain('.safetensors for an adapter');
  });
});

it.each([
  ['pack', () => ['pack', 'v1.safetensors', 'misnamed', ...shape, '--out', 'none.zip'], 'misnamed/adapter_model.safetensors: distilbert.'],
  [
    'transfer --like',
    () => [...port, '--target', 'v2.safetensors', '--like', 'misnamed', '--out', 'none/adapter_model.safetensors'], 'adapter: distilbert.',
  ],
])('%s tells of an adapter that names a module which the network has not', async (_, args, field) => {
  mkdirSync(at('misnamed'), { recursive: true });
  cpSync(at('lora/adapter_config.json'), at('misnamed/adapter_config.json'));
  const { tensors } = await read('lora/adapter_model.safetensors');
  const names = new Map([...tensors].map(([name, tensor]) => [name.replace('0.attention.q_lin', '0.attention.query'), tensor]));
  const { files } = await writeForeign(names, { format: 'safetensors', name: 'adapter_model.safetensors' });
  writeFileSync(at('misnamed/adapter_model.safetensors'), files[0]?.bytes ?? new Uint8Array(0));
  const { code, stderr } = await run(...args());
  expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringContaining(
    `${field}transformer.layer.0.attention.query.weight: expected one of the network's weights, got one that it does not have ` +
      '(did you mean distilbert.transformer.layer.0.attention.q_lin.weight?)',
  ) as string });
});

it('Ctrl-C ends the merge of an adapter of rank 10,000 before it is done', async () => {
  mkdirSync(at('wide'));
  const [rank, width] = [10_000, 400];
  const zeros = (dtype: 'F32' | 'F16', extents: readonly number[]): RawTensor =>
    ({ dtype, shape: extents, bytes: new Uint8Array((dtype === 'F32' ? 4 : 2) * extents.reduce((a, b) => a * b)) });
  for (const [name, dtype, tensors] of [
    [
      'wide/base.safetensors', 'F16',
      { 'linear1.weight': [width, width], 'linear1.bias': [width], 'linear2.weight': [2, width], 'linear2.bias': [2] },
    ],
    ['wide/adapter_model.safetensors', 'F32', { 'linear1.lora_A.weight': [rank, width], 'linear1.lora_B.weight': [width, rank] }],
  ] as const) {
    const named = new Map(Object.entries<readonly number[]>(tensors).map(([tensor, extents]) => [tensor, zeros(dtype, extents)]));
    writeFileSync(at(name), (await writeForeign(named, { format: 'safetensors', name })).files[0]?.bytes ?? new Uint8Array(0));
  }
  writeFileSync(at('wide/adapter_config.json'), '{"peft_type":"LORA","lora_alpha":1}');
  const { code, stderr } = await trajport(
    [
      'pack', 'wide/base.safetensors', 'wide/adapter_model.safetensors', '--model', 'mlp', '--widths', `${width}`, '--input', '1,20,20',
      '--classes', '2', '--out', 'wide.zip',
    ],
    // The last that is said before the merge.
    { cwd: directory, signal: { name: 'SIGINT', after: 'a LoRA adapter on the first file' } },
  );
  expect(code, stderr).toBe(130);
  // Had the merge gone on to its end, the same would be said of the adapter's path.
  expect(stderr).toContain('wide/base.safetensors holds 4 tensors of 16-bit floats');
  expect(stderr).not.toContain('adapter_model.safetensors holds');
  expect(existsSync(at('wide.zip'))).toBe(false);
});

it('an adapter in the place of weights is told what it is', async () => {
  for (const args of [
    [...port, '--target', 'lora/adapter_model.safetensors', '--out', 'x.safetensors'],
    ['evaluate', 'lora/adapter_model.safetensors', '--graph', 'tune.zip', '--data', 'sequences:texts.jsonl'],
    ['convert', 'lora', 'x.safetensors', ...shape],
    ['inspect', 'lora', ...shape],
  ]) {
    const { code, stderr } = await run(...args);
    expect(code).toBeGreaterThan(1);
    expect(stderr).toContain('is a LoRA adapter, which needs its base: trajport pack BASE ADAPTER');
  }
  const converted = await run('convert', 'v1.safetensors', 'x.safetensors', '--graph', 'tune.zip', '--like', 'lora');
  expect(converted.code).toBe(2);
  expect(converted.stderr).toContain('transfer writes one');
});
