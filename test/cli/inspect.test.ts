// What `trajport inspect` tells in words, of bundles and of files against a network.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeSafetensors } from '../../src/bundle/safetensors.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { GraphBuilder, sequential } from '../../src/model/builder.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { preset } from '../../src/model/presets.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { jsonLines, trajport } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });

/** Every tensor of the network with numbers that differ, by its name. */
function weightsOf(graph: ModelGraph) {
  const { parameters } = parameterLayout(graph);
  return new Map(parameters.map(({ name, shape }, at) => [
    name, { shape, data: Float32Array.from({ length: elementCount(shape) }, (_, i) => at + i / 64) },
  ]));
}

/** A safetensors file of tensors with those names and shapes. */
function writeWeights(name: string, shapes: Iterable<readonly [string, readonly number[]]>, metadata?: ReadonlyMap<string, string>): void {
  const tensors = [...shapes].map(([tensor, shape]) => [
    tensor, { dtype: 'F32' as const, shape, bytes: new Uint8Array(4 * elementCount(shape)) },
  ] as const);
  writeFileSync(join(directory, name), writeSafetensors(new Map(tensors), metadata));
}

const network = sequential(
  [1, 2, 2], [{ op: 'flatten' }, { op: 'dense', name: 'lin1', out: 4 }, { op: 'relu' }, { op: 'dense', name: 'lin2', out: 3 }],
);
const shapes = parameterLayout(network).parameters.map(({ name, shape }) => [name, shape] as const);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-inspect-'));
  writeFileSync(join(directory, 'network.json'), JSON.stringify(network));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('of a network where weights are wanted', () => {
  const layersModel = { class_name: 'Sequential', config: { layers: [] } };

  it.each<[string, object]>([['graph', network], ['topology', layersModel], ['model', { modelTopology: layersModel }]])(
    'says of a %s that it goes with --graph', async (name, json) => {
      writeFileSync(join(directory, `${name}.json`), JSON.stringify(json));
      const { code, stderr } = await run('inspect', `${name}.json`);
      expect(stderr).toBe(`error: ${name}.json: holds a network and no weights; it goes with --graph, beside a file of weights\n`);
      expect(code).toBe(3);
    },
  );

  it.each([
    ['two lines', '{"tokens":[1,2],"label":0}\n{"tokens":[3],"label":1}\n'],
    ['a line', '{"tokens":[1,2],"label":0}'],
    ['lines as Windows has them', '\uFEFF{"label":0,"text":"\u00fc"}\r\n{"label":1,"text":"o"}\r\n'],
  ])('says of JSON Lines that they go with --data sequences: %s', async (_, text) => {
    writeFileSync(join(directory, 'b.jsonl'), text);
    const { code, stderr } = await run('inspect', 'b.jsonl');
    expect(stderr).toBe(
      'error: b.jsonl: is JSON Lines and holds no weights; sequences of tokens in it go with --data sequences:b.jsonl\n',
    );
    expect(code).toBe(3);
  });

  it('leaves JSON that breaks off, and what follows it on another line, to its reader', async () => {
    for (const text of ['{"tokens":[1,2]', '{"a":1}\n]', '[1]\n[2]\n']) {
      writeFileSync(join(directory, 'broken.json'), text);
      const { code, stderr } = await run('inspect', 'broken.json');
      expect({ code, told: stderr.includes('JSON Lines') }).toEqual({ code: 3, told: false });
    }
  });

  it('says of other JSON what it begins with', async () => {
    writeFileSync(join(directory, 'other.json'), '{"version":1}');
    expect((await run('inspect', 'other.json')).stderr).toContain('got bytes that begin with "{\\"versio"');
  });

  it("leaves a model's weights that cannot be read to their reader", async () => {
    const weights = [{ name: 'a', shape: [1], dtype: 'string' }];
    writeFileSync(
      join(directory, 'text.json'), JSON.stringify({ modelTopology: layersModel, weightsManifest: [{ paths: ['text.bin'], weights }] }),
    );
    writeFileSync(join(directory, 'text.bin'), new Uint8Array(5));
    expect((await run('inspect', 'text.json')).stderr).toContain('"string"');
  });
});

describe('of a bundle', () => {
  const packed = async (name: string, graph: ModelGraph, training: Parameters<typeof writeBundle>[0]['training']): Promise<string> => {
    const state = { parameters: weightsOf(graph), buffers: new Map() };
    const content = { graph, checkpoints: [{ label: 'a', state }], ...(training === undefined ? {} : { training }) };
    writeFileSync(join(directory, name), await writeBundle(content));
    return (await run('inspect', name)).stdout;
  };

  it('tells what was packed, the zeros of its first last layer and how images were normalised', async () => {
    const training = { packedFrom: ['v1.pth', 'fine\ntuned.pth'], normalisation: { mean: [0.5], std: [0.25] }, zeroHead: true };
    const lines = (await packed('told.zip', network, training)).split('\n');
    expect(lines.slice(2, 5)).toEqual([
      'packed from v1.pth, fine\ufffdtuned.pth',
      'the last layer of the first checkpoint became zeros (--zero-head); transfer does the same with its target',
      'images normalised by mean 0.5 and deviation 0.25',
    ]);
  });

  it('tells many files by the first and the last, and nothing where nothing is recorded', async () => {
    expect(
      await packed('many.zip', network, { packedFrom: Array.from({ length: 9 }, (_, i) => `e${i}.pt`) }),
    ).toContain('\npacked from 9 files, e0.pt to e8.pt\n');
    expect(await packed('silent.zip', network, { zeroHead: false })).toMatch(/^silent\.zip\n.* parameters\n +layer/);
  });

  it('tells the heads of an attention, and those of its keys where they are fewer', async () => {
    const builder = new GraphBuilder([1, 4, 4]);
    const graph = builder.build(
      builder.chain(builder.input, [
        { op: 'conv2d', name: 'embed', out: 8, kernel: 2, stride: 2 }, { op: 'tokens' },
        { op: 'dense', name: 'qkv', out: 24 }, { op: 'attention', name: 'all', heads: 4 },
        { op: 'dense', name: 'grouped', out: 16 }, { op: 'attention', name: 'few', heads: 4, key_heads: 2 },
        { op: 'mean_tokens' }, { op: 'dense', name: 'head', out: 2 },
      ]),
    );
    const text = await packed('attention.zip', graph, undefined);
    expect(text).toMatch(/^ +all +attention, 4 heads +4×8 *$/m);
    expect(text).toMatch(/^ +few +attention, 4 heads, 2 key heads +4×8 *$/m);
  });
});

describe('of weights against a network', () => {
  const against = (file: string, ...more: string[]) => run('inspect', file, '--graph', 'network.json', ...more);
  const advice = 'all but the last layer fits: --zero-head of';

  it.each<[string, string, readonly (readonly [string, readonly number[]])[], boolean]>([
    ['no last layer', 'headless.safetensors', shapes.slice(0, 2), true],
    ['another number of classes', 'other.safetensors', [...shapes.slice(0, 2), ['lin2.weight', [7, 4]], ['lin2.bias', [7]]], true],
    ['another first layer', 'first.safetensors', [['lin1.weight', [4, 5]], ...shapes.slice(1)], false],
    ['nothing in common', 'foreign.safetensors', [['x', [2]]], false],
  ])('says of a file with %s whether zeros as last layer would do', async (_, file, tensors, fits) => {
    writeWeights(file, tensors);
    const { code, stdout } = await against(file);
    expect(code).toBe(1);
    expect(stdout.includes(`${advice} pack and transfer takes the file`)).toBe(fits);
    expect(jsonLines((await against(file, '--json')).stdout)).toMatchObject([
      { event: 'result', kind: 'fit', fits: false, fitsWithoutHead: fits },
    ]);
  });

  it('has no such advice where all fits, and has it where rules are needed', async () => {
    writeWeights('whole.safetensors', shapes);
    expect((await against('whole.safetensors')).stdout).not.toContain(advice);
    writeWeights('named.safetensors', shapes.slice(0, 2).map(([name, shape]) => [`my_${name}`, shape] as const));
    writeFileSync(join(directory, 'my.json'), JSON.stringify([{ from: 'my_**', to: '$1' }]));
    expect((await against('named.safetensors', '--rules', 'my.json')).stdout).toContain(`${advice} pack and transfer takes the file`);
  });

  it("counts what is left out by the beginnings of its names, and lists it where asked", async () => {
    const optimiser = Array.from({ length: 18 }, (_, i) => [`optimizer.state.${i}.exp_avg`, [2]] as const);
    writeWeights(
      'training.safetensors', [...shapes.map(([name, shape]) => [`state_dict.${name}`, shape] as const), ...optimiser, ['epoch', []]],
    );
    const { code, stdout } = await against('training.safetensors');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ +optimizer\.state\.\* \(18\) +outside the prefix state_dict\. *$/m);
    expect(stdout).toMatch(/^ +epoch +outside the prefix state_dict\. *$/m);
    expect(stdout).toMatch(/19 left out/);
    expect((await against('training.safetensors', '--verbose')).stdout.match(/optimizer\.state\.\d+\.exp_avg +outside/g)).toHaveLength(18);
    const [{ ignored } = {}] = jsonLines((await against('training.safetensors', '--json')).stdout);
    expect(ignored).toHaveLength(19);
  });

  it('shows both names of what a rule renamed to no name of the network, and notes rules that apply to none', async () => {
    writeWeights('stem.safetensors', shapes.map(([name, shape]) => [`state_dict.${name.replace('lin1', 'stem')}`, shape] as const));
    const rules = [{ from: '*.stem.*', to: '$1.line1.$2' }, { from: 'nothing', to: null }, { from: '*.stem.bias', to: 'behind' }];
    writeFileSync(join(directory, 'rules.json'), JSON.stringify(rules));
    const { stdout, stderr } = await against('stem.safetensors', '--rules', 'rules.json');
    expect(stdout).toMatch(/^ +state_dict\.stem\.weight → state_dict\.line1\.weight +unexpected, 4×4 *$/m);
    expect(stderr).toBe('note: rules.json[1] ("nothing") and 1 more rule apply to no name in stem.safetensors\n');
    writeFileSync(join(directory, 'rules.json'), JSON.stringify(rules.slice(0, 2)));
    expect((await against('stem.safetensors', '--rules', 'rules.json')).stderr).toBe(
      'note: rules.json[1] ("nothing") applies to no name in stem.safetensors\n',
    );
  });
});

describe('the width of weights that do not fit a network by name', () => {
  const write = (name: string, graph: ModelGraph): void =>
    writeWeights(name, parameterLayout(graph).parameters.map(({ name: tensor, shape }) => [tensor, shape] as const));
  it.each([
    ['features of a token', 'mixer', 16, { width: 24, depth: 2 }, ['--depth', '2'], 24],
    ['channels of the first stage', 'small-conv', 16, { width: 12 }, [], 12],
    ['a factor', 'conv4', 16, { width: 0.25 }, [], 0.25],
    ['a factor, where its extents as one would make too large a network', 'vgg11', 32, { width: 0.5 }, [], 0.5],
  ] as const)('%s', async (_, model, side, options, words, width) => {
    write('narrow.safetensors', preset(model, { input: [3, side, side], classes: 4, ...options }));
    const args = ['inspect', 'narrow.safetensors', '--model', model, '--input', `3,${side},${side}`, '--classes', '4', ...words];
    expect((await run(...args)).stdout).toContain(`it is of another width: --width ${width}\n`);
    expect(jsonLines((await run(...args, '--json')).stdout)).toMatchObject([
      { event: 'result', kind: 'fit', fits: false, fittingWidth: width },
    ]);
    expect((await run(...args, '--width', `${width}`)).code).toBe(0);
  });

  it('is not told where another width would not do', async () => {
    write('deep.safetensors', preset('mixer', { input: [3, 16, 16], classes: 4, width: 24, depth: 3 }));
    const { code, stdout } = await run(
      'inspect', 'deep.safetensors', '--model', 'mixer', '--input', '3,16,16', '--classes', '4', '--depth', '2',
    );
    expect([code, stdout.includes('--width')]).toEqual([1, false]);
  });
});

it('tells a dozen of what a file says besides its tensors, and how much more there is', async () => {
  const metadata = (count: number) => new Map(Array.from({ length: count }, (_, i) => [`setting${i}`, `${i}`] as const));
  writeWeights('dozen.safetensors', shapes, metadata(12));
  expect((await run('inspect', 'dozen.safetensors')).stdout.match(/setting\d+:/g)).toHaveLength(12);
  writeWeights('more.safetensors', shapes, metadata(40));
  const { stdout } = await run('inspect', 'more.safetensors');
  expect(stdout.match(/setting\d+:/g)).toHaveLength(12);
  expect(stdout).toContain('\n  … and 28 more of what is no tensor (--json has all)\n');
  const [{ metadata: all } = {}] = jsonLines((await run('inspect', 'more.safetensors', '--json')).stdout);
  expect(Object.keys(all as object)).toHaveLength(40);
});
