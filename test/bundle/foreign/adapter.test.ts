/** LoRA adapters: PEFT's own, merged as PEFT merges them, under whatever names the base's file has; and what is refused. */
import { describe, expect, it } from 'vitest';
import { isAdapter, readAdapter } from '../../../src/bundle/foreign/adapter.ts';
import { withAdapter as mergePieces } from '../../../src/bundle/foreign/adapter-merge.ts';
import type { ForeignCheckpoint } from '../../../src/bundle/foreign/checkpoint.ts';
import { stateFromAdapter, stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import type { JsonObject, JsonValue } from '../../../src/bundle/json.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { runThrough } from '../../../src/core/breather.ts';
import { openCore } from '../../../src/core/core.ts';
import { openGradientEngine } from '../../../src/gradient/engine.ts';
import type { NetworkState } from '../../../src/tensor/tensor.ts';
import { expectTyped } from '../support.ts';
import { adaptedCase, adaptedNetworks, furthest, valuesOf } from './adapters/cases.ts';

const raw = (shape: readonly number[], values: readonly number[]): RawTensor =>
  ({ dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(values).buffer) });
const filled = (shape: readonly number[], value: number): RawTensor =>
  raw(shape, Array.from({ length: shape.reduce((a, b) => a * b) }, () => value));
const file = (tensors: Readonly<Record<string, RawTensor>>): ForeignCheckpoint =>
  ({ tensors: new Map(Object.entries(tensors)), metadata: new Map(), convention: 'pytorch' });
const renamed = (base: ForeignCheckpoint, rename: (name: string) => string): ForeignCheckpoint =>
  ({ ...base, tensors: new Map([...base.tensors].map(([name, tensor]) => [rename(name), tensor])) });

const withAdapter = (...given: Parameters<typeof mergePieces>): ForeignCheckpoint => runThrough(mergePieces(...given), undefined);

describe.each(adaptedNetworks)('%s with an adapter of PEFT', (network) => {
  it('becomes the weights that PEFT merges the two to, of which many are far from the base', async () => {
    const { base, adapter, merged } = await adaptedCase(network);
    const { tensors } = withAdapter(base, adapter);
    let moved = 0;
    for (const name of merged.tensors.keys()) {
      if (name === 'scores') continue;
      expect(furthest(valuesOf(tensors, name), valuesOf(merged.tensors, name)), name).toBeLessThan(3e-7);
      if (furthest(valuesOf(base.tensors, name), valuesOf(merged.tensors, name)) > 0.01) moved++;
    }
    expect(moved).toBeGreaterThanOrEqual(adapter.factors.length);
  });

  it("has PEFT's scores, as a network of ours", async () => {
    const { graph, batch, base, adapter, merged } = await adaptedCase(network);
    const { state, report } = await stateFromAdapter(graph, base, adapter);
    expect(report.fits).toBe(true);
    using core = await openCore();
    using engine = openGradientEngine(core);
    using compiled = engine.compile(graph);
    const scores = valuesOf(merged.tensors, 'scores');
    // transformers' ViT adds 1e-12 to variances where ours adds 1e-6, and those of these tiny weights are as small as 1e-4.
    const bound = network === 'vit' ? 2e-3 : 2e-6;
    expect(furthest(compiled.logits(state as NetworkState, batch), scores)).toBeLessThan(bound);
    expect(furthest(compiled.logits(stateFromForeign(graph, base).state as NetworkState, batch), scores)).toBeGreaterThan(0.05);
  });
});

it('is refused where the network uses a weight twice, and PEFT changes one of its uses', async () => {
  const { graph, base } = await adaptedCase('gpt2');
  const embedding = file({
    'base_model.model.transformer.wte.lora_embedding_A': filled([1, 11], 1),
    'base_model.model.transformer.wte.lora_embedding_B': filled([8, 1], 1),
  });
  const adapter = readAdapter(embedding, { peft_type: 'LORA', lora_alpha: 1 });
  const error = await expectTyped(() => stateFromAdapter(graph, base, adapter), 'unsupported');
  expect(error.field).toContain('transformer.wte.weight');
});

describe('an adapter that names what the network has not', () => {
  const [query, key] = ['distilbert.transformer.layer.0.attention.q_lin', 'distilbert.transformer.layer.0.attention.query'];
  const misnamed = async (renamedTo = (name: string) => name.replace(query, key)) => {
    const given = await adaptedCase('distilbert');
    return { ...given, adapter: readAdapter(renamed(given.file, renamedTo), given.config) };
  };

  it('is at fault itself, and told what it may mean, whichever of its weights it is', async () => {
    const { graph, base, adapter } = await misnamed();
    const [first, ...others] = adapter.factors as [typeof adapter.factors[number]];
    expect(first.weight).toBe(`${key}.weight`);
    // As a base model is saved: without its own prefix, and without layers of a task.
    const body = { ...base, tensors: new Map([...base.tensors].filter(([name]) => name.startsWith('distilbert.'))) };
    const headless = renamed(body, (name) => name.replace(/^distilbert\./, ''));
    for (const factors of [[first, ...others], [...others, first]])
      for (const one of [base, headless]) {
        const error = await expectTyped(() => stateFromAdapter(graph, one, { ...adapter, factors }, [], 'lora/'), 'malformed-file');
        expect(error).toMatchObject({
          field: `lora/: ${key}.weight`, expected: "one of the network's weights",
          got: `one that it does not have (did you mean ${query}.weight?)`,
        });
      }
  });

  it('is told nothing where no name is near, nor where the adapter changes that already', async () => {
    for (const rename of [(name: string) => name.replace(query, 'tower'), (name: string) => name.replace('layer.0', 'layer.7')]) {
      const { graph, base, adapter } = await misnamed(rename);
      const error = await expectTyped(() => stateFromAdapter(graph, base, adapter), 'malformed-file');
      expect(error.field).toMatch(/^adapter: (tower|distilbert\.transformer\.layer\.7\.)/);
      expect(error.got).not.toContain('layer.1');
    }
  });

  it('is at fault for factors of other extents too', async () => {
    const { graph, base, adapter } = await adaptedCase('distilbert');
    const factors = adapter.factors.map((one, i) => (i === 0 ? { ...one, outputs: 9, shapes: { ...one.shapes, b: [9, 3] } } : one));
    const error = await expectTyped(() => stateFromAdapter(graph, base, { ...adapter, factors }), 'malformed-file');
    expect(error).toMatchObject({ field: `adapter: ${query}.weight`, expected: 'factors of [8, 8]', got: 'B is [9, 3], A [3, 8]' });
  });

  it('is not where the base lacks a weight of the network, its last layer or another', async () => {
    const { graph, base, adapter, file: given, config } = await adaptedCase('distilbert');
    const lacking = (part: string): ForeignCheckpoint =>
      ({ ...base, tensors: new Map([...base.tensors].filter(([name]) => !name.startsWith(part))) });
    const first = await expectTyped(() => stateFromAdapter(graph, lacking(`${query}.weight`), adapter), 'malformed-file');
    expect(first).toMatchObject({ field: 'base', expected: `the base of the adapter, with ${query}.weight` });
    const { weight } = adapter.factors[1] as { readonly weight: string };
    const error = await expectTyped(() => stateFromAdapter(graph, lacking(weight), adapter), 'malformed-file');
    expect(error).toMatchObject({ field: `base: ${weight}`, got: 'none of that name' });
    const withHead = readAdapter({ ...given, tensors: new Map([
      ...[...given.tensors].filter(([name]) => !name.includes('classifier')),
      ['base_model.model.classifier.lora_A.weight', filled([1, 8], 0.5)],
      ['base_model.model.classifier.lora_B.weight', filled([3, 1], 0.5)],
    ]) }, config);
    const head = await expectTyped(() => stateFromAdapter(graph, lacking('classifier'), withHead), 'malformed-file');
    expect(`${head.field} ${head.expected}`).toMatch(/^base\b.* classifier\.weight|^base: classifier\.weight/);
  });
});

describe("the base's names", () => {
  it('may stand under a prefix, or lack that of the network', async () => {
    const { base, adapter } = await adaptedCase('distilbert');
    const { tensors } = withAdapter(base, adapter);
    const name = 'distilbert.transformer.layer.1.ffn.lin1.weight';
    for (const rename of [(own: string) => `state_dict.module.${own}`, (own: string) => own.replace(/^distilbert\./, '')])
      expect(valuesOf(withAdapter(renamed(base, rename), adapter).tensors, name)).toEqual(valuesOf(tensors, name));
  });

  it('may be those that transformers saves where the adapter has those of the network, and the other way round', async () => {
    const { graph, base, adapter, file: given, config } = await adaptedCase('vit');
    const saved = (name: string): string => name
      .replace(/layers\.(\d+)\./, 'encoder.layer.$1.')
      .replace(/attention\.([qkv])_proj/, (_, letter: string) => `attention.attention.${{ q: 'query', k: 'key', v: 'value' }[letter]}`)
      .replace('attention.o_proj', 'attention.output.dense')
      .replace('mlp.fc1', 'intermediate.dense')
      .replace('mlp.fc2', 'output.dense');
    const { state } = stateFromForeign(graph, withAdapter(base, adapter));
    expect(stateFromForeign(graph, withAdapter(renamed(base, saved), adapter)).state).toEqual(state);
    const older = readAdapter(renamed(given, saved), config);
    expect(older.factors.map(({ weight }) => weight)).toContain('vit.encoder.layer.1.attention.attention.value.weight');
    expect(stateFromForeign(graph, withAdapter(base, older)).state).toEqual(state);
    expect(stateFromForeign(graph, renamed(base, saved)).state).toEqual(stateFromForeign(graph, base).state);
    // As of target_modules="all-linear": the classifier, whose name is the same in both, comes first.
    const withHead = { ...given, tensors: new Map([
      ['base_model.model.classifier.lora_A.weight', filled([1, 8], 0.5)],
      ['base_model.model.classifier.lora_B.weight', filled([3, 1], 0.5)],
      ...[...given.tensors].filter(([name]) => !name.includes('classifier')),
    ]) };
    const headFirst = readAdapter(withHead, config);
    expect(headFirst.factors[0]?.weight).toBe('classifier.weight');
    expect(stateFromForeign(graph, withAdapter(renamed(base, saved), headFirst)).state)
      .toEqual(stateFromForeign(graph, withAdapter(base, headFirst)).state);
  });

  it("may be those of BERT's first release, whose norms transformers renames as it loads", () => {
    const base = file({
      'bert.q.weight': filled([2, 2], 1), 'bert.LayerNorm.gamma': raw([2], [1, 1]), 'bert.LayerNorm.beta': raw([2], [0, 0]),
    });
    const factors = {
      'base_model.model.bert.q.lora_A.weight': filled([1, 2], 1), 'base_model.model.bert.q.lora_B.weight': filled([2, 1], 1),
    };
    const names = (whole: Readonly<Record<string, RawTensor>>): string[] =>
      [...withAdapter(base, readAdapter(file({ ...factors, ...whole }), { peft_type: 'LORA', lora_alpha: 1 })).tensors.keys()];
    expect(names({ 'base_model.model.bert.LayerNorm.bias': raw([2], [3, 4]) }))
      .toEqual(['bert.q.weight', 'bert.LayerNorm.weight', 'bert.LayerNorm.bias']);
    // Where the adapter has none of them, names stay.
    expect(names({})).toEqual([...base.tensors.keys()]);
  });
});

describe('factors', () => {
  const config = { peft_type: 'LORA', lora_alpha: 6, r: 2 } as const;
  const a = raw([2, 3], [1, 2, 3, 4, 5, 6]);
  const b = raw([4, 2], [1, 0, 0, 1, 1, 1, 2, -1]);
  // B·A, by hand.
  const product = [[1, 2, 3], [4, 5, 6], [5, 7, 9], [-2, -1, 0]];
  const adapterOf = (settings: JsonObject = {}, tensors: Readonly<Record<string, RawTensor>> = {}) =>
    readAdapter(
      file({ 'base_model.model.fc.lora_A.weight': a, 'base_model.model.fc.lora_B.weight': b, ...tensors }), { ...config, ...settings },
    );
  const merged = (adapter: ReturnType<typeof adapterOf>, weight: RawTensor, name = 'fc.weight'): number[] =>
    [...valuesOf(withAdapter(file({ [name]: weight }), adapter).tensors, name)];
  const flat = (scale: number, rows = product): number[] => rows.flat().map((value) => 10 + Math.fround(scale * value));

  it('count alpha ÷ rank, or alpha ÷ √rank, with an alpha of their own where one is told', () => {
    const weight = filled([4, 3], 10);
    expect(merged(adapterOf(), weight)).toEqual(flat(3));
    expect(merged(adapterOf({ alpha_pattern: { fc: 1 } }), weight)).toEqual(flat(0.5));
    expect(merged(adapterOf({ alpha_pattern: { '^fc': 1 } }), weight)).toEqual(flat(0.5));
    expect(merged(adapterOf({ alpha_pattern: { c: 1 } }), weight)).toEqual(flat(3));
    const within = { 'base_model.model.a.b.fc.lora_A.weight': a, 'base_model.model.a.b.fc.lora_B.weight': b };
    const alphaOf = (alpha_pattern: JsonObject): number | undefined =>
      adapterOf({ alpha_pattern }, within).factors.find((one) => one.weight === 'a.b.fc.weight')?.scale;
    // The first that fits, as PEFT has it, though a later one may fit more of the name.
    expect([{ 'b.fc': 2, 'fc': 4, '^a.b.fc': 8 }, { 'fc': 4, 'b.fc': 2 }, { '^b.fc': 4, '^a.b.fc': 8 }, { '.b.fc': 2 }].map(alphaOf))
      .toEqual([1, 2, 4, 3]);
    // A regular expression, in which a point stands for any character.
    expect(merged(adapterOf({ alpha_pattern: { 'f.': 1 } }), weight)).toEqual(flat(0.5));
    expect(merged(adapterOf({ alpha_pattern: { 'f\\.': 1 } }), weight)).toEqual(flat(3));
    const four = {
      'base_model.model.fc.lora_A.weight': raw([4, 1], [1, 1, 1, 1]), 'base_model.model.fc.lora_B.weight': raw([1, 4], [1, 2, 3, 4]),
    };
    expect(merged(adapterOf({ use_rslora: true }, four), raw([1, 1], [0]))).toEqual([30]);
  });

  it('lie the other way in a weight of [inputs, outputs]', () => {
    const turned = [0, 1, 2].map((input) => product.map((row) => row[input] as number));
    expect(merged(adapterOf(), filled([3, 4], 10))).toEqual(flat(3, turned));
    const square = { 'base_model.model.fc.lora_B.weight': raw([3, 2], [1, 0, 0, 1, 1, 1]) };
    const weight = filled([3, 3], 10);
    expect(merged(adapterOf({}, square), weight)).toEqual(flat(3, product.slice(0, 3)));
    expect(merged(adapterOf({ fan_in_fan_out: true }, square), weight)).toEqual(flat(3, turned.map((row) => row.slice(0, 3))));
  });

  it('of a convolution have a kernel in A', () => {
    const adapter = adapterOf({}, {
      'base_model.model.fc.lora_A.weight': raw([2, 3, 1, 1], [1, 2, 3, 4, 5, 6]),
      'base_model.model.fc.lora_B.weight': raw([4, 2, 1, 1], [1, 0, 0, 1, 1, 1, 2, -1]),
    });
    expect(merged(adapter, filled([4, 3, 1, 1], 10))).toEqual(flat(3));
    const taps = adapterOf({}, { 'base_model.model.fc.lora_A.weight': raw([2, 1, 1, 3], [1, 2, 3, 4, 5, 6]) });
    expect(merged(taps, filled([4, 1, 1, 3], 10))).toEqual(flat(3));
  });

  it.each<[string, JsonValue]>([
    ['use_dora', true], ['lora_bias', true], ['target_parameters', ['fc.weight']], ['trainable_token_indices', [1]], ['peft_type', 'LOHA'],
    ['alpha_pattern', { '.*fc': 2 }], ['alora_invocation_tokens', [5]], ['init_lora_weights', 'pissa_niter_4'],
    ['init_lora_weights', 'OLoRA'], ['init_lora_weights', 'corda'], ['init_lora_weights', 'loftq'], ['init_lora_weights', 3],
  ])('of adapters with %s are refused', async (name, value) => {
    const error = await expectTyped(() => adapterOf({ [name]: value }), 'unsupported');
    expect(error.field).toContain(name);
  });

  it.each<JsonValue>([true, false, null, 'gaussian', 'orthogonal', 'eva'])('that began as %s are taken: the base was left', (start) => {
    expect(merged(adapterOf({ init_lora_weights: start }), filled([4, 3], 10))).toEqual(flat(3));
  });

  it('stand beside what a module was before, which is passed over (bias "all" with modules_to_save)', () => {
    const names = ['head.bias', 'head.modules_to_save.bias', 'head.original_module.bias'].map((name) => `base_model.model.${name}`);
    const adapter = adapterOf({}, Object.fromEntries(names.map((name, i) => [name, raw([1], [i < 2 ? 7 : 1])])));
    expect(adapter.whole.map(({ from, name }) => [from, name])).toEqual(names.slice(0, 2).map((from) => [from, 'head.bias']));
    expect(adapter.names).not.toContain(names[2]);
    const { tensors } = withAdapter(file({ 'fc.weight': filled([4, 3], 10), 'head.bias': raw([1], [1]) }), adapter);
    expect([[...tensors.keys()], [...valuesOf(tensors, 'head.bias')]]).toEqual([['fc.weight', 'head.bias'], [7]]);
  });

  it.each<[string, JsonObject, Readonly<Record<string, RawTensor>>, string]>([
    ['without an alpha', { lora_alpha: null }, {}, 'lora_alpha'],
    ['with an alpha of their own that is no number', { alpha_pattern: { fc: 'x' } }, {}, 'alpha_pattern'],
    ['with an infinite alpha', { lora_alpha: Infinity }, {}, 'lora_alpha'],
    ['of which one is there twice', {}, { 'fc.lora_A.weight': a }, 'fc.lora_A.weight'],
    ['of a layer and of an embedding at once', {}, { 'base_model.model.fc.lora_embedding_A': a }, 'fc.lora_embedding_A'],
    ['beside a whole tensor that is there twice, not alike', {}, { 'x.bias': a, 'base_model.model.x.bias': b }, 'base_model.model.x.bias'],
    ['of two ranks', {}, { 'base_model.model.fc.lora_B.weight': filled([4, 3], 1) }, 'fc'],
    ['of which one is missing', {}, { 'base_model.model.other.lora_A.weight': a }, 'other'],
  ])('%s are refused', async (_, settings, tensors, field) => {
    const error = await expectTyped(() => adapterOf(settings, tensors), 'malformed-file');
    expect(error.field).toContain(field);
  });

  it('of an embedding whose weight PEFT saved beside them are refused: its base is the one and not that of the file', async () => {
    const name = 'base_model.model.fc.base_layer.weight';
    const error = await expectTyped(() => adapterOf({}, { [name]: filled([4, 3], 1) }), 'unsupported');
    expect(error.field).toContain(name);
    expect(error.expected).toContain('save_embedding_layers=False');
  });

  it.each([undefined, null, 'LORA'])('with %j for a config are refused', async (settings) => {
    const given = file({ 'fc.lora_A.weight': a, 'fc.lora_B.weight': b });
    const error = await expectTyped(() => readAdapter(given, settings as unknown as JsonObject), 'invalid-argument');
    expect(error.field).toBe('config');
  });

  it('of which there are none are merged into nothing', async () => {
    const error = await expectTyped(() => withAdapter(file({ x: a }), { names: [], factors: [], whole: [] }), 'invalid-argument');
    expect(error.field).toBe('adapter.factors');
  });

  it('are not looked for where patterns and modules are too many', async () => {
    const many = Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`m${i}`, 1]));
    const pairOf = (_: unknown, i: number): [string, RawTensor][] => [[`m${i}.lora_A.weight`, a], [`m${i}.lora_B.weight`, b]];
    const modules = Object.fromEntries(Array.from({ length: 300 }, pairOf).flat());
    expect(adapterOf({ alpha_pattern: many }).factors).toHaveLength(1);
    const error = await expectTyped(() => adapterOf({ alpha_pattern: many }, modules), 'limit');
    expect(error.field).toContain('alpha_pattern');
    const more = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`n${i}`, 1]));
    await expectTyped(() => adapterOf({ alpha_pattern: { ...many, ...more } }), 'limit');
  });

  it('of another kind are refused', async () => {
    await expectTyped(() => adapterOf({}, { 'base_model.model.fc.lora_magnitude_vector': raw([4], [1, 1, 1, 1]) }), 'unsupported');
    expect(isAdapter(file({ 'fc.weight': a }))).toBe(false);
    for (const name of ['ia3_l', 'hada_w1_a', 'lokr_w2', 'vera_lambda_b', 'oft_R.weight', 'boft_R']) {
      const other = file({ [`base_model.model.fc.${name}`]: a });
      expect(isAdapter(other), name).toBe(true);
      const error = await expectTyped(() => readAdapter(other, { ...config, peft_type: 'IA3' }), 'unsupported');
      expect(error.field).toContain('peft_type');
    }
    await expectTyped(() => readAdapter(file({ 'fc.weight': a }), config), 'malformed-file');
  });

  const fields = { base: 'v1', adapter: 'lora', baseIsWhole: () => false };

  it.each([
    ['without the weight', { 'other.weight': filled([4, 3], 0) }],
    ['of other extents', { 'fc.weight': filled([4, 4], 0) }],
    ['with two of the name', { 'a.fc.weight': filled([4, 3], 0), 'b.fc.weight': filled([4, 3], 0) }],
  ])('are not merged into a base %s', async (_, tensors) => {
    const error = await expectTyped(() => withAdapter(file(tensors), adapterOf(), fields), 'malformed-file');
    expect(`${error.field} ${error.expected}`).toContain('fc.weight');
  });

  it('are not merged into a base of which two tensors would have one name, and one would be lost', async () => {
    const base = file({ 'm.fc.weight': filled([4, 3], 0), 'm.x': filled([1], 0), x: filled([1], 0) });
    const error = await expectTyped(() => withAdapter(base, adapterOf(), fields), 'malformed-file');
    expect(error).toMatchObject({ field: 'v1: x', got: 'm.x besides' });
  });
});
