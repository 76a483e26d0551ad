/**
 * LoRA adapters in the fetch handler: the bytes of `portAdapter` called on its own and of the command line, from a bundle and from the
 * base; refusals by the part at fault, and caps.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readAdapter } from '../../src/bundle/foreign/adapter.ts';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { stateFromAdapter } from '../../src/bundle/foreign/network.ts';
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { createTransferHandler } from '../../src/edge/index.ts';
import { busy } from '../../src/edge/refusal.ts';
import { errorResponse } from '../../src/edge/response.ts';
import { InvalidArgumentError, openCompute, plan, preset } from '../../src/index.ts';
import type { NetworkState } from '../../src/index.ts';
import { adaptedNetworks } from '../bundle/foreign/adapters/cases.ts';
import type { AdaptedNetwork } from '../bundle/foreign/adapters/cases.ts';
import { trajport } from '../cli/fixtures.ts';
import { choices, lines, materialOf, normalisation, numbers, pixels, portedByLibrary } from './adapters.ts';
import type { Material } from './adapters.ts';
import { problemOf, request, sha256Of } from './requests.ts';

const materials = {} as Record<AdaptedNetwork, Material>;
let directory: string;
const at = (name: string): string => join(directory, name);
const options = (value: object): string => JSON.stringify(value);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-edge-adapters-'));
  for (const network of adaptedNetworks) materials[network] = await materialOf(network);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const handle = createTransferHandler();
const ways = ['bundle', 'base'] as const;
type Way = (typeof ways)[number];
type Changes = Readonly<Record<string, Uint8Array | string | undefined>>;

/** The parts of a request for an adapter, from a bundle or from a base; of images a base says what they are normalised by. */
function partsOf(network: AdaptedNetwork, way: Way, more: object = {}): Changes {
  const { common, adapterParts, basePart, bundle } = materials[network];
  const asked = { ...choices, ...(way === 'base' && network === 'vit' ? { normalisation } : {}), ...more };
  return { ...common, ...adapterParts, ...(way === 'bundle' ? { bundle } : basePart), options: options(asked) };
}
const post = (network: AdaptedNetwork, way: Way, changes: Changes = {}, accept?: string): Promise<Response> =>
  handle(request({ ...partsOf(network, way), ...changes }, accept === undefined ? {} : { accept }));

async function expected(
  network: AdaptedNetwork, more: Parameters<typeof portedByLibrary>[3] = {}, changes: Partial<Material> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  using compute = await openCompute();
  return await portedByLibrary(network, { ...materials[network], ...changes }, compute, more);
}

describe('the adapter', () => {
  it.each(adaptedNetworks.flatMap((network) => ways.map((way) => [network, way] as const)))(
    'of %s by way of a %s is the one that the library ports, and its hash is told',
    async (network, way) => {
      const response = await post(network, way);
      expect(response.status, await response.clone().text()).toBe(200);
      expect(response.headers.get('content-disposition')).toBe('attachment; filename="adapter_model.safetensors"');
      const record = JSON.parse(response.headers.get('trajport-record') as string) as { sha256: string; files: object[] };
      const sha256 = await sha256Of(response);
      expect(sha256).toBe(await sha256Of(await expected(network)));
      expect(record).toMatchObject({
        kind: 'transfer', settings: { method: 'fgmt', seed: 4 }, counts: { gradients: 6 },
        files: [{ name: 'adapter_model.safetensors', sha256 }],
      });
      // That of the weights, which the target and the adapter make.
      expect(record.sha256).not.toBe(sha256);
      expect(sha256).not.toBe(await sha256Of(materials[network].adapterParts.adapter));
    },
  );

  it.each(adaptedNetworks)('of %s is that of pack and transfer --like on the command line', async (network) => {
    const { adapterParts, basePart, common } = materials[network];
    const folder = `${network}-lora`;
    mkdirSync(at(folder));
    for (const [name, bytes] of [
      [`${folder}/adapter_model.safetensors`, adapterParts.adapter], [`${folder}/adapter_config.json`, adapterParts.config],
      [`${network}-v1.safetensors`, basePart.base], [`${network}.json`, basePart.graph], [`${network}-v2.safetensors`, common['target']],
    ] as const) writeFileSync(at(name), bytes as Uint8Array | string);
    const packed = await trajport(
      [
        'pack', `${network}-v1.safetensors`, folder, '--graph', `${network}.json`, '--out', `${network}.zip`,
        ...(network === 'vit' ? ['--pixel-mean', normalisation.mean.join(), '--pixel-std', normalisation.std.join()] : []),
      ],
      { cwd: directory },
    );
    expect(packed.code, packed.stderr).toBe(0);
    const files = {
      distilbert: () => {
        mkdirSync(at('texts'));
        writeFileSync(at('texts/train.jsonl'), lines);
        return 'sequences:texts';
      },
      gpt2: () => {
        // The last tenth of a file is its test part.
        const all = [...numbers, ...Array.from({ length: 44 }, () => 7)];
        writeFileSync(at('numbers.bin'), Uint8Array.from(all.flatMap((number) => [number, 0])));
        return 'tokens:numbers.bin';
      },
      vit: () => {
        const array = (shape: readonly number[], bytes: Uint8Array): RawTensor => ({ dtype: 'U8', shape, bytes });
        const labels = Uint8Array.from({ length: 60 }, (_, i) => i % 3);
        writeFileSync(at('images.safetensors'), writeSafetensors(new Map([
          ['x_train', array([60, 3, 8, 8], pixels)], ['y_train', array([60], labels)],
        ])));
        return 'images.safetensors';
      },
    }[network]();
    const ported = await trajport(
      [
        'transfer', `${network}.zip`, '--target', `${network}-v2.safetensors`, '--data', files, '--method', 'fgmt', '--seed', '4',
        '--steps', '3', '--batch-size', '16', '--stop-rule', 'last', '--like', folder, '--out', `${network}-v2/adapter_model.safetensors`,
      ],
      { cwd: directory },
    );
    expect(ported.code, ported.stderr).toBe(0);
    const written = await sha256Of(readFileSync(at(`${network}-v2/adapter_model.safetensors`)));
    expect(await sha256Of(await post(network, 'base'))).toBe(written);
    // Of the command line's own bundle too.
    expect(await sha256Of(await post(network, 'bundle', { bundle: readFileSync(at(`${network}.zip`)) }))).toBe(written);
  }, 60_000);

  it.each(['gmt', 'naive'] as const)('by %s is the one that the library ports', async (method) => {
    const asked = { options: options({ ...choices, method }) };
    const wanted = await sha256Of(await expected('distilbert', { method }));
    for (const way of ways) expect(await sha256Of(await post('distilbert', way, asked))).toBe(wanted);
  });

  it('is a part beside the record where the client takes several', async () => {
    const form = await (await post('distilbert', 'base', {}, 'multipart/form-data')).formData();
    expect([...form.keys()]).toEqual(['record', 'adapter']);
    const adapter = form.get('adapter') as File;
    expect(adapter.name).toBe('adapter_model.safetensors');
    expect(await sha256Of(new Uint8Array(await adapter.arrayBuffer()))).toBe(await sha256Of(await expected('distilbert')));
    expect(JSON.parse(form.get('record') as string)).toMatchObject({ kind: 'transfer', files: [{ name: 'adapter_model.safetensors' }] });
  });

  it('is read again with the config that came with it, and makes of the target what a port to weights answers', async () => {
    const { graph, config, v2, common, bundle } = materials.distilbert;
    const bytes = new Uint8Array(await (await post('distilbert', 'base')).arrayBuffer());
    const adapter = readAdapter(await readForeign({ name: 'adapter_model.safetensors', bytes }), config);
    const { parameters } = (await stateFromAdapter(graph, v2, adapter)).state as NetworkState;
    const weights = await handle(request({ ...common, bundle }));
    expect(weights.headers.get('content-disposition')).toContain('transferred.safetensors');
    const { tensors } = readSafetensors(new Uint8Array(await weights.arrayBuffer()));
    for (const [name, { data }] of parameters) {
      const wanted = new Float32Array(Uint8Array.from(tensors.get(name)?.bytes as Uint8Array).buffer);
      expect(data.reduce((most, value, i) => Math.max(most, Math.abs(value - (wanted[i] as number))), 0), name).toBeLessThan(1e-6);
    }
  });

  it('of bases that have no last layer begins with zeros there', async () => {
    const { basePart, common } = materials.distilbert;
    const headless = (pattern: RegExp): Changes => {
      const cut = (file: unknown): Uint8Array =>
        writeSafetensors(new Map([...readSafetensors(file as Uint8Array).tensors].filter(([name]) => !pattern.test(name))));
      return { base: cut(basePart.base), target: cut(common['target']) };
    };
    const zeroHead = { options: options({ ...choices, zeroHead: true }) };
    const wanted = await sha256Of(await expected('distilbert', { zeroHead: true }));
    expect(await sha256Of(await post('distilbert', 'base', zeroHead))).toBe(wanted);
    const bare = headless(/^classifier\./);
    expect(await sha256Of(await post('distilbert', 'base', { ...bare, ...zeroHead }))).toBe(wanted);
    expect(await sha256Of(await post('distilbert', 'bundle', { target: bare['target'], ...zeroHead }))).toBe(wanted);
    // The layer before it is missing too in a masked language model.
    expect((await post('distilbert', 'base', { ...headless(/classifier\./), ...zeroHead })).status).toBe(200);
    expect(await problemOf(await post('distilbert', 'base', bare))).toMatchObject({ status: 400, body: { field: 'target' } });
    const halved = await post('distilbert', 'base', { base: bare['base'] });
    expect(await problemOf(halved)).toMatchObject({ status: 400, body: { field: 'base' } });
  });

  it('of files in 16-bit floats is that of the numbers that they are', async () => {
    const given = materials.distilbert;
    const halves = (file: unknown): Uint8Array<ArrayBuffer> =>
      writeSafetensors(new Map([...readSafetensors(file as Uint8Array).tensors].map(([name, { shape, bytes }]): [string, RawTensor] =>
        // Of BF16 they are the upper halves.
        [name, { dtype: 'BF16', shape, bytes: Uint8Array.from(bytes).filter((_, i) => i % 4 > 1) }])));
    const files = { base: halves(given.basePart.base), target: halves(given.common['target']) };
    const read = (bytes: Uint8Array) => readForeign({ name: 'halves.safetensors', bytes });
    const wanted = await sha256Of(await expected('distilbert', {}, { base: await read(files.base), v2: await read(files.target) }));
    const response = await post('distilbert', 'base', files);
    expect(response.status, await response.clone().text()).toBe(200);
    expect(await sha256Of(response)).toBe(wanted);
    expect(wanted).not.toBe(await sha256Of(await expected('distilbert')));
  });

  it('of images is of those as they were normalised', async () => {
    const bare = await sha256Of(await post('vit', 'base', { options: options(choices) }));
    expect(bare).not.toBe(await sha256Of(await expected('vit')));
  });
});

describe('what is refused', () => {
  const json = (change: object): ((material: Material) => string) => ({ config }) => options({ ...config, ...change });
  const tensorsOf = (bytes: unknown): Map<string, RawTensor> => new Map(readSafetensors(bytes as Uint8Array).tensors);
  const without = (bytes: unknown, drop: (name: string) => boolean): Uint8Array =>
    writeSafetensors(new Map([...tensorsOf(bytes)].filter(([name]) => !drop(name))));
  const withTensor = (bytes: unknown, name: string, change: (tensor: RawTensor) => RawTensor): Uint8Array => {
    const tensors = tensorsOf(bytes);
    return writeSafetensors(tensors.set(name, change(tensors.get(name) as RawTensor)));
  };
  const spoilt = (bytes: unknown): Uint8Array => {
    const [[name, tensor], ...others] = [...tensorsOf(bytes)] as [[string, RawTensor], ...[string, RawTensor][]];
    const values = new Float32Array(Uint8Array.from(tensor.bytes).buffer);
    values[1] = NaN;
    return writeSafetensors(new Map([[name, { ...tensor, bytes: new Uint8Array(values.buffer) }], ...others]));
  };
  type Case = readonly [what: string, ways: readonly Way[], change: (material: Material) => Changes, facts: object];

  it.each<Case>([
    ['an adapter without its config', ways, () => ({ config: undefined }), { status: 400, body: { field: 'config', got: 'none' } }],
    ['a config without its adapter', ways, () => ({ adapter: undefined }), { status: 400, body: { field: 'adapter', got: 'none' } }],
    ['a base alone', ['base'], () => ({ adapter: undefined, config: undefined }), { status: 400, body: { field: 'adapter' } }],
    ['a base without its graph', ['base'], () => ({ graph: undefined }), { status: 400, body: { field: 'graph', got: 'none' } }],
    ['a graph without its base', ['base'], () => ({ base: undefined }), { status: 400, body: { field: 'base', got: 'none' } }],
    ['neither bundle nor base', ['bundle'], () => ({ bundle: undefined }), { status: 400, body: { field: 'bundle', got: 'none' } }],
    [
      'a bundle and a base', ['bundle'], ({ basePart }) => ({ base: basePart.base }),
      { status: 422, body: { field: 'base', expected: 'a bundle, or base and graph', got: 'a bundle beside it' } },
    ],
    ['a bundle and a graph', ['bundle'], ({ basePart }) => ({ graph: basePart.graph }), { status: 422, body: { field: 'graph' } }],

    ['DoRA', ways, (one) => ({ config: json({ use_dora: true })(one) }), {
      status: 422, body: { code: 'unsupported', field: 'adapter: adapter_config.json: use_dora' },
    }],
    ['AdaLoRA', ways, (one) => ({ config: json({ peft_type: 'ADALORA' })(one) }), {
      status: 422, body: { field: 'adapter: adapter_config.json: peft_type' },
    }],
    ['a start that changes the base', ways, (one) => ({ config: json({ init_lora_weights: 'pissa' })(one) }), {
      status: 422, body: { field: 'adapter: adapter_config.json: init_lora_weights' },
    }],
    ['a config that is no JSON', ways, () => ({ config: '{' }), { status: 400, body: { field: 'config' } }],
    ['a config of many values', ways, () => ({ config: `{"x":[${'0,'.repeat(9000)}0]}` }), {
      status: 413, body: { field: 'config', expected: 'at most 8192 values' },
    }],
    ['an alpha of a regular expression', ways, (one) => ({
      config: json({ alpha_pattern: { '(a+)+$': 3 } })(one),
    }), { status: 422, body: { field: 'adapter: adapter_config.json: alpha_pattern' } }],
    ['weights in the place of an adapter', ways, ({ basePart }) => ({ adapter: basePart.base }), {
      status: 400, body: { field: 'adapter' },
    }],
    ['an adapter that is no safetensors', ways, () => ({ adapter: new Uint8Array(500) }), { status: 400, body: { field: 'adapter' } }],
    ['one factor alone', ways, ({ adapterParts }) => ({
      adapter: without(adapterParts.adapter, (name) => name.includes('1.ffn.lin1.lora_B')),
    }), { status: 400, body: { field: 'adapter: distilbert.transformer.layer.1.ffn.lin1', got: 'lora_A alone' } }],
    ['an adapter of another network', ways, () => ({ ...materials.gpt2.adapterParts }), {
      status: 400, body: { field: 'adapter: transformer.h.0.attn.c_attn.weight', got: 'one that it does not have' },
    }],
    ['an adapter of a module that the network has not', ways, ({ adapterParts }) => ({
      adapter: writeSafetensors(new Map([...tensorsOf(adapterParts.adapter)].map(([name, tensor]) =>
        [name.replace('1.ffn.lin1', '1.ffn.line1'), tensor] as const))),
    }), {
      status: 400,
      body: {
        field: 'adapter: distilbert.transformer.layer.1.ffn.line1.weight', expected: "one of the network's weights",
        got: 'one that it does not have (did you mean distilbert.transformer.layer.1.ffn.lin1.weight?)',
      },
    }],
    ['an adapter of a whole tensor that the network has not', ['bundle'], ({ adapterParts }) => ({
      adapter: writeSafetensors(new Map([...tensorsOf(adapterParts.adapter)].map(([name, tensor]) =>
        [name.replace('classifier.weight', 'clasifier.weight'), tensor] as const))),
    }), {
      status: 400, body: { field: 'adapter: clasifier.weight', got: 'none of that name and shape (did you mean classifier.weight?)' },
    }],
    ['an adapter that is not the change in the bundle', ['bundle'], (one) => ({ config: json({ lora_alpha: 9 })(one) }), {
      status: 400,
      body: {
        field: expect.stringMatching(/^adapter: distilbert\..*lin.*\.weight$/) as string,
        got: 'another change from the first checkpoint that is ported to the last',
      },
    }],
    // Infinite changes: of 1e308 times a factor, and of a tensor that is whole.
    ['an alpha that no number holds', ['bundle'], (one) => ({ config: json({ lora_alpha: 1e308 })(one) }), {
      status: 400, body: { field: expect.stringMatching(/^adapter: distilbert\..*lin.*\.weight$/) as string },
    }],
    ['a whole tensor of infinities', ['bundle'], ({ adapterParts }) => ({
      adapter: withTensor(adapterParts.adapter, 'base_model.model.classifier.weight', (tensor) => ({
        ...tensor, bytes: new Uint8Array(new Float32Array(tensor.bytes.length / 4).fill(Infinity).buffer),
      })),
    }), { status: 400, body: { field: 'adapter: classifier.weight' } }],
    ...['classifier.weight', 'distilbert.transformer.layer.0.ffn.lin1.lora_A.weight'].map((name): Case => [
      `numbers that are no floats in ${name}`, ways, ({ adapterParts }) => ({
        adapter: withTensor(adapterParts.adapter, `base_model.model.${name}`, ({ shape, bytes }) => ({
          dtype: 'F8_E4M3', shape, bytes: new Uint8Array(bytes.length / 4),
        })),
      }), { status: 422, body: { code: 'unsupported', field: expect.stringMatching(/^adapter\b/) as string } },
    ]),
    ['NaN in the adapter', ['base'], ({ adapterParts }) => ({ adapter: spoilt(adapterParts.adapter) }), {
      status: 422, body: { code: 'not-finite', field: expect.stringMatching(/^adapter/) as string },
    }],
    ['NaN in the base', ['base'], ({ basePart }) => ({ base: spoilt(basePart.base) }), { status: 422, body: { code: 'not-finite' } }],
    ['NaN in the target', ways, ({ common }) => ({ target: spoilt(common['target']) }), { status: 422, body: { code: 'not-finite' } }],
    ['an adapter in the place of the target', ways, ({ adapterParts }) => ({ target: adapterParts.adapter }), {
      status: 400, body: { field: 'target' },
    }],
    ['a target without a weight that the adapter changes', ways, ({ common }) => ({
      target: without(common['target'], (name) => name.includes('layer.1.ffn.lin1.weight')),
    }), { status: 400, body: { field: 'target: distilbert.transformer.layer.1.ffn.lin1.weight', got: 'none of that name' } }],
    ['a base without one', ['base'], ({ basePart }) => ({
      base: without(basePart.base, (name) => name.includes('layer.1.ffn.lin1.weight')),
    }), { status: 400, body: { field: 'base' } }],

    ['a graph that is none', ['base'], () => ({ graph: '{"version":1}' }), {
      status: 422, body: { field: expect.stringMatching(/^graph/) as string },
    }],
    ['a graph that is no JSON', ['base'], () => ({ graph: 'graph' }), { status: 400, body: { field: 'graph' } }],
    [
      'checkpoints for steps', ways, () => ({ options: options({ ...choices, trajectory: 'real' }) }),
      { status: 422, body: { field: 'options.trajectory', expected: 'linear, for an adapter', got: 'real' } },
    ],
    [
      'what is not carried over', ways, () => ({ options: options({ ...choices, skipParameters: ['classifier'] }) }),
      { status: 422, body: { field: 'options.skipParameters', expected: 'none, for an adapter' } },
    ],
    ...ways.map((way): Case => [
      `a checkpoint that there is not, of a ${way}`, [way], () => ({ options: options({ ...choices, from: 'epoch 7' }) }),
      { status: 422, body: {
        field: 'options.from',
        expected: `one of the source's checkpoints (${way === 'bundle' ? 'v1, v1 with the adapter' : 'base, adapter'})`,
      } },
    ]),
    [
      'how texts are normalised', ways, () => ({ options: options({ ...choices, normalisation }) }),
      { status: 422, body: { field: 'options.normalisation' } },
    ],
  ])('%s', async (_what, by, change, facts) => {
    for (const way of by) expect(await problemOf(await post('distilbert', way, change(materials.distilbert))), way).toMatchObject(facts);
    // Nothing that was refused spoils what comes after.
    expect((await post('distilbert', 'base')).status).toBe(200);
  });

  it.each<[string, Way, object]>([
    ['a bundle says', 'bundle', normalisation], ['has no deviations', 'base', { mean: [0.5] }],
    ['is of bytes', 'base', { mean: [127], std: [64] }],
    ['has more to it', 'base', { ...normalisation, scale: 1 }], ['is of two channels', 'base', { mean: [0, 0], std: [1, 1] }],
  ])('a normalisation that %s', async (_what, way, given) => {
    const answer = await post('vit', way, { options: options({ ...choices, normalisation: given }) });
    const field = expect.stringMatching(/^options\.normalisation/) as string;
    expect(await problemOf(answer)).toMatchObject({ status: 422, body: { field } });
  });

  it.each(ways)('grey images, of a network of three channels, by way of a %s', async (way) => {
    const images = Buffer.concat([Buffer.from([0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 8, 0, 0, 0, 8]), pixels.subarray(0, 60 * 64)]);
    expect(await problemOf(await post('vit', way, { images }))).toMatchObject({ status: 422, body: { field: 'images', got: '1' } });
  });
});

describe('caps', () => {
  const MiB = 2 ** 20;

  it.each<[string, Changes, object]>([
    ['an adapter', { adapter: new Uint8Array(MiB + 1) }, { field: 'adapter', expected: 'at most 1048576 bytes' }],
    ['a config', { config: ' '.repeat(65_537) }, { field: 'config', expected: 'at most 65536 bytes' }],
    ['a base', { base: new Uint8Array(3 * MiB + 1) }, { field: 'base', expected: 'at most 3145728 bytes' }],
    ['a graph', { graph: ' '.repeat(262_145) }, { field: 'graph', expected: 'at most 262144 bytes' }],
  ])('of %s hold', async (_what, change, facts) => {
    const answer = await post('distilbert', 'base', change);
    expect(await problemOf(answer)).toMatchObject({ status: 413, body: { error: 'LimitError', ...facts } });
  });

  it('bound a network by its parameters, of whatever type they come, or where zeros are made for them', async () => {
    const graph = preset('distilbert', { input: [8], classes: 3, vocabulary: 2 ** 20, width: 1, depth: 1, heads: 1, positions: 8 });
    const asked = { graph: JSON.stringify(graph), options: options({ ...choices, zeroHead: true }) };
    expect(await problemOf(await post('distilbert', 'base', asked))).toMatchObject({
      status: 413, body: { field: 'graph', expected: 'a network of at most 786432 parameters' },
    });
    const { bundle, common } = materials.distilbert;
    const small = createTransferHandler({ maxTargetBytes: (common['target'] as Uint8Array).length / 2 });
    const halves = writeSafetensors(new Map([...readSafetensors(common['target'] as Uint8Array).tensors].map(([name, { shape, bytes }]) =>
      [name, { dtype: 'F16', shape, bytes: new Uint8Array(bytes.length / 2) }] as const)));
    expect(await problemOf(await small(request({ ...common, bundle, target: halves.subarray(0, 100) })))).toMatchObject({
      status: 413, body: { field: 'bundle' },
    });
  });

  it('reckon with the products of the factors, and with the factors as numbers of four bytes', async () => {
    const { graph, adapter } = materials.distilbert;
    const { method, batchSize, steps, stopRule } = choices;
    const { flops, bytes } = plan({ graph, method, batchSize, steps, stopRule, images: 60 });
    const products = adapter.factors.reduce((sum, { rank, inputs, outputs }) => sum + 2 * rank * inputs * outputs, 0);
    // Six weights of rank 3: four of 8 × 8, two of 8 × 32.
    expect(products).toBe(2 * 3 * (4 * 8 * 8 + 2 * 8 * 32));
    const needed = Object.values(flops).reduce((sum, part) => sum + part, 0) + 3 * 16 * products;
    const factors = 4 * 3 * (4 * (8 + 8) + 2 * (8 + 32));
    const kept = bytes.history + bytes.batches + 4 * 6 * 60 + factors;
    const exact = options({ ...choices, historyBudgetBytes: bytes.history });
    for (const way of ways) {
      const ask = (caps: object, asked = options(choices)) =>
        createTransferHandler(caps)(request({ ...partsOf('distilbert', way), options: asked }));
      expect((await ask({ maxFlops: needed })).status).toBe(200);
      expect(await problemOf(await ask({ maxFlops: needed - 1 }))).toMatchObject({ status: 413, body: { field: 'options' } });
      expect((await ask({ maxHistoryBytes: kept }, exact)).status).toBe(200);
      expect(await problemOf(await ask({ maxHistoryBytes: kept - 1 }, exact))).toMatchObject({ status: 413, body: { field: 'options' } });
    }
  });

  it('are told of in GET, with the parts', async () => {
    const { parts, caps } = (await (await handle(new Request('https://port.example/'))).json()) as Record<string, Record<string, unknown>>;
    expect(Object.keys(parts as object)).toEqual(expect.arrayContaining(['adapter', 'config', 'base', 'graph']));
    expect(caps).toMatchObject({ maxAdapterBytes: MiB });
  });
});

it.each([
  new InvalidArgumentError({ field: 'compute', expected: 'an open handle', got: 'a disposed one' }), busy('service', 'memory', 'none'),
  new Error('anything'),
])('one whose client left is answered as such, whatever it failed of then: %s', (error) => {
  expect(errorResponse(error, AbortSignal.abort()).status).toBe(499);
  expect(errorResponse(error, new AbortController().signal).status).not.toBe(499);
});

it('one whose client leaves is given up, and the next is answered', async () => {
  const client = new AbortController();
  // Thousands of gradients: it is in the middle of them when its client leaves.
  const asked = { ...partsOf('distilbert', 'base'), options: options({ ...choices, method: 'gmt', steps: 80, batchSize: 50 }) };
  const left = createTransferHandler({ maxGradients: Infinity })(request(asked, { signal: client.signal }));
  const next = post('distilbert', 'bundle');
  setTimeout(() => client.abort(), 150);
  expect((await left).status).toBe(499);
  expect(await sha256Of(await next)).toBe(await sha256Of(await expected('distilbert')));
});
