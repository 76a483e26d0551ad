// `trajport convert` and `trajport pack` on files that torch and Keras's layout made (test/bundle/foreign/vectors).
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import { writeSafetensors } from '../../src/bundle/safetensors.ts';
import { sequential } from '../../src/model/builder.ts';
import { expectVector, expectedTensors, pytorchNetwork, vector } from '../bundle/foreign/support.ts';
import { jsonLines, root, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(join(directory, name)));

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-convert-'));
  mkdirSync(join(directory, 'run'));
  const vectors = join(root, 'test', 'bundle', 'foreign', 'vectors');
  for (const name of ['state-dict.pt', 'dtypes.pth', 'model.keras', 'refused-call.pt'])
    copyFileSync(join(vectors, name), join(directory, name));
  copyFileSync(join(vectors, 'state-dict.pt'), join(directory, 'run', 'epoch-9.pt'));
  copyFileSync(join(vectors, 'checkpoint.pt'), join(directory, 'run', 'epoch-10.pt'));
  writeFileSync(join(directory, 'network.json'), JSON.stringify(pytorchNetwork));
  writeFileSync(join(directory, 'run', 'notes.txt'), 'not a checkpoint');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('trajport convert', () => {
  it('keeps names and bytes from PyTorch to safetensors', async () => {
    const { code, stdout, stderr } = await run('convert', 'dtypes.pth', 'dtypes.safetensors', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(jsonLines(stdout).at(-1)).toMatchObject({ event: 'result', format: 'pytorch', files: [{ name: 'dtypes.safetensors' }] });
    expectVector('dtypes.pth', (await readForeign({ name: 'x', bytes: read('dtypes.safetensors') })).tensors);
  });

  it('lists tensors where asked, and else only those whose type changes', async () => {
    const plain = await run('convert', 'state-dict.pt', 'plain.safetensors');
    expect(plain.stdout.split('\n')).toHaveLength(3);
    expect(plain.stdout).toMatch(/^state-dict\.pt \(PyTorch\): \d+ tensors\nwrote plain\.safetensors/);
    expect((await run('convert', 'state-dict.pt', 'plain.safetensors', '--verbose')).stdout).toContain('head.weight');
    expect((await run('convert', 'state-dict.pt', 'types.json')).stdout).toMatch(/^ {2}I64 → I32: 1 tensor, \S*num_batches_tracked$/m);
  });

  it('takes a folder for the one checkpoint in it, and names one of several', async () => {
    mkdirSync(join(directory, 'hub', 'v2'), { recursive: true });
    copyFileSync(join(directory, 'state-dict.pt'), join(directory, 'hub', 'v2', 'pytorch_model.bin'));
    writeFileSync(join(directory, 'hub', 'v2', 'config.json'), '{}');
    const hashOf = async (from: string): Promise<unknown> =>
      jsonLines((await run('convert', from, 'out.safetensors', '--json')).stdout).at(-1)?.['files'];
    const files = await hashOf('hub/v2');
    expect(files).toMatchObject([{ name: 'out.safetensors' }]);
    expect(files).toEqual(await hashOf('state-dict.pt'));
    const several = await run('convert', 'run', 'one.safetensors');
    expect(several.code).toBe(3);
    expect(several.stderr).toBe('error: run: a folder of 2 checkpoints, where one is wanted: run/epoch-9.pt, say\n');
  });

  it('writes TensorFlow.js weights with their parts, which it reads again', async () => {
    expect((await run('convert', 'state-dict.pt', 'web/model.json')).code).toBe(0);
    expect(readdirSync(join(directory, 'web')).toSorted()).toEqual(['model-shard1of1.bin', 'model.json']);
    expect((await run('convert', 'web/model.json', 'again.safetensors')).code).toBe(0);
    const { tensors } = await readForeign({ name: 'x', bytes: read('again.safetensors') });
    expect(tensors.get('head.weight')).toEqual((await readForeign(vector('state-dict.pt'))).tensors.get('head.weight'));
  });

  it('gets a checkpoint out of a bundle, as the bytes that its hash is of', async () => {
    await run('pack', 'run', '--graph', 'network.json', '--out', 'two.zip');
    using bundle = await openBundle(read('two.zip'));
    const made = async (...more: string[]) => jsonLines((await run('convert', 'two.zip', ...more, '--json')).stdout).at(-1);
    expect(await made('last.safetensors')).toMatchObject({ format: 'bundle', checkpoint: 'epoch-10' });
    expect(await made('first.safetensors', '--checkpoint', 'epoch-9')).toMatchObject({ format: 'bundle', checkpoint: 'epoch-9' });
    for (const [file, index] of [['last.safetensors', 1], ['first.safetensors', 0]] as const) {
      expect(createHash('sha256').update(read(file)).digest('hex')).toBe(bundle.checkpoints[index]?.sha256);
    }
    await made('last.npz');
    const { tensors } = await readForeign({ name: 'x', bytes: read('last.npz') });
    expect(tensors.get('head.weight')?.bytes).toEqual(
      (await readForeign({ name: 'x', bytes: read('last.safetensors') })).tensors.get('head.weight')?.bytes,
    );
    writeFileSync(join(directory, 'cut.zip'), read('two.zip').subarray(0, 400));
    expect(await run('convert', 'cut.zip', 'o.npz')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('cut.zip: is not a bundle, or is cut short'),
    });
  });

  it('goes back to a LayersModel, topology and all', async () => {
    for (const name of ['tfjs-layers.json', 'tfjs-layers.bin'])
      copyFileSync(join(root, 'test', 'bundle', 'foreign', 'vectors', name), join(directory, name));
    const network = ['--graph', 'tfjs-layers.json'];
    expect(await run('convert', 'tfjs-layers.json', 'inside.safetensors', ...network)).toMatchObject({ code: 0, stderr: '' });
    const back = await run('convert', 'inside.safetensors', 'back/model.json', ...network, '--like', 'tfjs-layers.json');
    expect(back).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('8 tensors as tfjs-layers.json has them') });
    const json = (name: string) =>
      JSON.parse(readFileSync(join(directory, name), 'utf8')) as { weightsManifest: [{ weights: unknown; paths: unknown }] };
    const [there, again] = [json('tfjs-layers.json'), json('back/model.json')];
    expect(again).toEqual({ ...there, weightsManifest: [{ ...there.weightsManifest[0], paths: ['model-shard1of1.bin'] }] });
    expect(read('back/model-shard1of1.bin')).toEqual(read('tfjs-layers.bin'));
  });

  it('goes back to what PyTorch holds: the state dict of a training checkpoint, of a bundle too', async () => {
    await run('pack', 'run', '--graph', 'network.json', '--out', 'two.zip');
    const back = await run('convert', 'two.zip', 'back.safetensors', '--checkpoint', 'epoch-9', '--like', join('run', 'epoch-10.pt'));
    expect(back).toMatchObject({ code: 0, stderr: '' });
    const { tensors, metadata } = await readForeign({ name: 'x', bytes: read('back.safetensors') });
    expect([...metadata]).toEqual([['format', 'pt']]);
    const original = (await readForeign(vector('state-dict.pt'))).tensors;
    expect([...tensors.keys()].toSorted()).toEqual([...original.keys()].toSorted());
    for (const name of ['conv.weight', 'norm.running_var', 'head.bias']) expect(tensors.get(name)).toEqual(original.get(name));
  });

  it('wants a network for that, and one that both files hold', async () => {
    expect(await run('convert', 'state-dict.pt', 'never.safetensors', '--like', 'state-dict.pt')).toMatchObject({
      code: 2, stderr: expect.stringContaining('--like needs the network'),
    });
    expect(await run('convert', 'state-dict.pt', 'never.safetensors', '--graph', 'network.json', '--like', 'dtypes.pth')).toMatchObject({
      code: 3, stderr: expect.stringContaining('dtypes.pth'),
    });
    expect(
      await run('convert', 'dtypes.pth', 'never.safetensors', '--graph', 'network.json', '--like', 'state-dict.pt'),
    ).toMatchObject({ code: 3 });
    expect(existsSync(join(directory, 'never.safetensors'))).toBe(false);
  });

  const numbers = (shape: readonly number[], from: number) => {
    const data = Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, i) => from + i);
    return { dtype: 'F32' as const, shape, bytes: new Uint8Array(data.buffer) };
  };

  it('joins tensors by rules, and says of which', async () => {
    writeFileSync(
      join(directory, 'apart.safetensors'),
      writeSafetensors(
        new Map([
          ['h.0.v', numbers([1, 3], 30)],
          ['h.0.q', numbers([2, 3], 10)],
          ['h.0.o', numbers([2], 0)],
        ]),
      ),
    );
    writeFileSync(
      join(directory, 'join.json'),
      JSON.stringify([
        { from: 'h.*.q', to: 'h.$1.qv', part: [0, 2] },
        { from: 'h.*.v', to: 'h.$1.qv', part: [1, 2] },
      ]),
    );
    const { stdout } = await run('convert', 'apart.safetensors', 'joined.safetensors', '--rules', 'join.json', '--verbose');
    expect(stdout).toMatch(/^apart\.safetensors \(safetensors\): 2 tensors$/m);
    expect(stdout).toMatch(/h\.0\.qv +3×3 +F32 +h\.0\.q \+ h\.0\.v/);
    const { tensors } = await readForeign({ name: 'x', bytes: read('joined.safetensors') });
    expect([...new Float32Array(new Uint8Array(tensors.get('h.0.qv')?.bytes ?? []).buffer)]).toEqual([10, 11, 12, 13, 14, 15, 30, 31, 32]);
    const json = jsonLines((await run('convert', 'apart.safetensors', 'joined.safetensors', '--rules', 'join.json', '--json')).stdout).at(
      -1,
    );
    expect(json).toMatchObject({
      tensors: expect.arrayContaining([expect.objectContaining({ name: 'h.0.qv', shape: [3, 3], parts: ['h.0.q', 'h.0.v'] })]),
    });
  });

  it("inspect and pack take Hugging Face's vision transformer for the preset", async () => {
    const block = 'vit.encoder.layer.0';
    const affine = (name: string, shape: readonly number[]): [string, readonly number[]][] => [
      [`${name}.weight`, shape],
      [`${name}.bias`, shape.slice(0, 1)],
    ];
    const shapes = [
      ['vit.embeddings.cls_token', [1, 1, 4]] as const,
      ['vit.embeddings.position_embeddings', [1, 5, 4]] as const,
      ...affine('vit.embeddings.patch_embeddings.projection', [4, 1, 4, 4]),
      ...['query', 'key', 'value'].flatMap((part) => affine(`${block}.attention.attention.${part}`, [4, 4])),
      ...affine(`${block}.attention.output.dense`, [4, 4]),
      ...affine(`${block}.intermediate.dense`, [16, 4]),
      ...affine(`${block}.output.dense`, [4, 16]),
      ...affine(`${block}.layernorm_before`, [4]),
      ...affine(`${block}.layernorm_after`, [4]),
      ...affine('vit.layernorm', [4]),
      ...affine('classifier', [3, 4]),
    ];
    writeFileSync(
      join(directory, 'hf-vit.safetensors'),
      writeSafetensors(new Map(shapes.map(([name, shape], i) => [name, numbers(shape, 100 * i)]))),
    );
    const network = [
      '--model', 'vit', '--input', '1,8,8', '--classes', '3', '--width', '4', '--depth', '1', '--heads', '1', '--patch', '4',
    ];
    const { code, stdout } = await run('inspect', 'hf-vit.safetensors', ...network);
    expect(stdout).toMatch(
      /^ +blocks\.0\.attn\.qkv\.weight +12×4 +vit\.\S+\.query\.weight \+ +fits\n +vit\.\S+\.key\.weight \+ *\n +vit\.\S+\.value\.weight *\n/m,
    );
    expect(stdout).toMatch(/^fits: 20 fit, .*by the names of Hugging Face's vision transformer$/m);
    expect(code).toBe(0);
    expect((await run('pack', 'hf-vit.safetensors', ...network, '--out', 'hf-vit.zip')).code).toBe(0);
    // And from then on by the preset's names.
    const converted = await run('convert', 'hf-vit.safetensors', 'vit.safetensors', ...network);
    expect(converted.stdout).toMatch(
      /^hf-vit\.safetensors \(safetensors\): 20 tensors; by the names of Hugging Face's vision transformer$/m,
    );
    expect((await run('inspect', 'vit.safetensors', ...network)).stdout).toMatch(
      /^fits: 20 fit, 0 missing, 0 unexpected, 0 of another shape$/m,
    );
    expect(await run('convert', 'hf-vit.safetensors', 'vit.safetensors', ...network.with(5, '4'))).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/head\.weight expected \[4, 4\], got \[3, 4\]/),
    });
    expect(await run('convert', 'hf-vit.zip', 'vit.safetensors', ...network)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('a bundle carries its own network'),
    });
    expect(await run('convert', 'hf-vit.safetensors', 'vit.safetensors', '--classes', '3')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--classes goes with --model'),
    });
  });

  it("puts what reads Keras's flattened images into the network's order", async () => {
    const graph = sequential(
      [1, 2, 2],
      [{ op: 'conv2d', name: 'conv', out: 2, kernel: 1 }, { op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 }],
    );
    writeFileSync(join(directory, 'flatten.json'), JSON.stringify(graph));
    const tensors = new Map([
      ['conv/kernel', numbers([1, 1, 1, 2], 0)],
      ['conv/bias', numbers([2], 10)],
      ['fc/kernel', numbers([8, 3], 100)],
      ['fc/bias', numbers([3], 20)],
    ]);
    for (const { name, bytes } of (await writeForeign(tensors, { format: 'tfjs', name: 'flattened.json' })).files)
      writeFileSync(join(directory, name), bytes);
    expect(await run('convert', 'flattened.json', 'flattened.safetensors', '--graph', 'flatten.json')).toMatchObject({
      code: 0,
      stderr: '',
    });
    const { tensors: ours } = await readForeign({ name: 'x', bytes: read('flattened.safetensors') });
    expect([...ours.keys()].toSorted()).toEqual(['conv.bias', 'conv.weight', 'fc.bias', 'fc.weight']);
    // Unit (h, w, c) of Keras stands at 2 · (2h + w) + c, the network's at 4c + 2h + w.
    const weight = new Float32Array(new Uint8Array(ours.get('fc.weight')?.bytes ?? []).buffer);
    const expected = [0, 1, 2].flatMap((out) => [0, 1].flatMap((c) => [0, 1, 2, 3].map((pixel) => 100 + 3 * (2 * pixel + c) + out)));
    expect([...weight]).toEqual(expected);
  });

  it("gives Keras weights PyTorch's names and layouts by rules", async () => {
    writeFileSync(
      join(directory, 'rules.json'),
      JSON.stringify([
        { from: 'optimizer/**', to: null },
        { from: 'layers/*/**', to: '$1.$2' },
      ]),
    );
    expect((await run('convert', 'model.keras', 'keras.safetensors', '--rules', 'rules.json')).code).toBe(0);
    const { tensors } = await readForeign({ name: 'x', bytes: read('keras.safetensors') });
    expect(tensors.get('conv2d.weight')?.shape).toEqual([2, 1, 3, 3]);
    expect(tensors.get('dense.weight')?.shape).toEqual([3, 8]);
  });

  it.each([
    [['convert', 'refused-call.pt', 'o.safetensors'], 3, 'posix.system'],
    [['convert', 'dtypes.pth', 'o.json'], 3, 'float64'],
    [['convert', 'network.json', 'o.npz'], 3, '--graph'],
    [['convert', 'dtypes.pth', 'o.xyz'], 2, '.safetensors'],
    [['convert', 'dtypes.pth'], 2, 'OUT'],
    [['convert', 'dtypes.pth', 'o.npz', '--checkpoint', 'epoch-9'], 2, '--checkpoint needs a bundle'],
  ])('%j: exit %i, naming %s, nothing written', async (args, code, named) => {
    const result = await run(...args);
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(named);
    expect(['o.safetensors', 'o.json', 'o.npz', 'o.xyz'].some((name) => existsSync(join(directory, name)))).toBe(false);
  });
});

describe('trajport pack', () => {
  it('makes a bundle of a folder in the order of its numbers, a state dict inside a training checkpoint among it', async () => {
    const { code, stdout, stderr } = await run('pack', 'run', '--graph', 'network.json', '--out', 'run.zip', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = jsonLines(stdout);
    expect(lines.filter(({ event }) => event === 'mapping').map(({ prefix }) => prefix)).toEqual(['', 'state_dict.']);
    using bundle = await openBundle(read('run.zip'));
    expect(bundle.checkpoints.map(({ label, epoch }) => [label, epoch])).toEqual([['epoch-9', 9], ['epoch-10', 10]]);
    const last = await bundle.readCheckpoint(1);
    expect([...(last.parameters.get('head.weight')?.data ?? [])]).toEqual(
      expectedTensors('checkpoint.pt')['state_dict.head.weight']?.values,
    );
    expect((await run('inspect', 'run.zip')).stdout).toContain('epoch-10');
  });

  it('notes a folder whose names do not tell the order', async () => {
    mkdirSync(join(directory, 'two'));
    copyFileSync(join(directory, 'run', 'epoch-9.pt'), join(directory, 'two', 'v1.pt'));
    copyFileSync(join(directory, 'run', 'epoch-10.pt'), join(directory, 'two', 'tuned.pt'));
    const { code, stderr } = await run('pack', 'two', '--graph', 'network.json', '--out', 'two-packed.zip');
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'note: two: not all of its checkpoints have a number in their names, so they come as the alphabet has them: tuned.pt first\n',
    });
    expect((await run('pack', 'two/v1.pt', 'two/tuned.pt', '--graph', 'network.json', '--out', 'in-order.zip')).stderr).toBe('');
  });

  it('bounds chains by key frames, states what int8 loses, and warns of 16-bit files', async () => {
    const halves = async (name: string, target: string): Promise<void> => {
      const { tensors } = await readForeign(vector(name));
      const state = [...tensors]
        .filter(([key]) => !key.startsWith('optimizer') && key !== 'parameter')
        .map(([key, tensor]) => [key.replace('state_dict.', ''), tensor] as const);
      // The upper half of an f32 is a bf16.
      const cut = (bytes: Uint8Array): Uint8Array => bytes.filter((_, i) => i % 4 >= 2);
      const narrow = state.map(
        ([key, tensor]) =>
          [key, tensor.dtype === 'F32' ? { ...tensor, dtype: 'BF16' as const, bytes: cut(tensor.bytes) } : tensor] as const,
      );
      writeFileSync(join(directory, target), writeSafetensors(new Map(narrow)));
    };
    await halves('state-dict.pt', 'a.safetensors');
    await halves('checkpoint.pt', 'b.safetensors');
    const args = [
      'a.safetensors', 'b.safetensors', 'run/epoch-9.pt', 'run/epoch-10.pt', '--graph', 'network.json', '--coding', 'int8',
      '--key-frame-every', '3',
    ];
    const { code, stdout, stderr } = await run('pack', ...args, '--out', 'int8.zip');
    expect(code).toBe(0);
    expect(stderr.match(/16-bit floats/g)?.length).toBe(2);
    expect(stdout).toMatch(/b +int8 .*e-/);
    using bundle = await openBundle(read('int8.zip'));
    expect(bundle.checkpoints.map(({ coding }) => coding)).toEqual(['planes', 'int8', 'int8', 'planes']);
    expect((await run('verify', 'int8.zip')).code).toBe(0);
  });

  it('says everything that does not fit and writes nothing', async () => {
    const { code, stdout, stderr } = await run('pack', 'dtypes.pth', '--graph', 'network.json', '--out', 'misfit.zip');
    expect(code).toBe(3);
    expect(stdout).toContain('missing: conv.weight [2, 1, 3, 3]');
    expect(stdout).toContain('unexpected: float32 [3]');
    expect(stderr).toContain('dtypes.pth');
    expect(existsSync(join(directory, 'misfit.zip'))).toBe(false);
  });

  it('needs a network, an output and files', async () => {
    expect((await run('pack', 'run', '--out', 'x.zip')).stderr).toContain('--graph');
    expect((await run('pack', 'run', '--graph', 'network.json')).stderr).toContain('--out');
    expect((await run('pack', '--out', 'x.zip')).stderr).toContain('FILES');
    expect((await run('pack', 'run', '--model', 'mlp', '--out', 'x.zip')).stderr).toContain('--input');
  });
});

describe('what convert and pack say they did', () => {
  const numbers = (shape: readonly number[]) =>
    ({ dtype: 'F32' as const, shape, bytes: new Uint8Array(4 * shape.reduce((product, extent) => product * extent, 1)) });
  const network = ['--model', 'mlp', '--widths', '4', '--input', '1,2,2', '--classes', '3'];
  const hidden = [['linear1.weight', numbers([4, 4])], ['linear1.bias', numbers([4])]] as const;
  const whole = [...hidden, ['linear2.weight', numbers([3, 4])], ['linear2.bias', numbers([3])]] as const;
  const write = (name: string, tensors: Iterable<readonly [string, ReturnType<typeof numbers>]>) =>
    writeFileSync(join(directory, name), writeSafetensors(new Map(tensors)));

  it('names the last layer that became zeros, and what the file has there', async () => {
    write('tuned.safetensors', whole);
    write('base.safetensors', [...hidden, ['linear2.weight', numbers([9, 4])], ['linear2.bias', numbers([9])]]);
    write('headless.safetensors', hidden);
    const zeros = 'the last layer becomes zeros, linear2.weight 3×4, linear2.bias 3; the file has';
    for (const [base, there] of [['base', 'linear2.weight 9×4, linear2.bias 9'], ['headless', 'none']] as const) {
      const { code, stdout } = await run(
        'pack', `${base}.safetensors`, 'tuned.safetensors', ...network, '--zero-head', '--out', 'zeroed.zip',
      );
      expect(code).toBe(0);
      expect(stdout.split('\n').filter((line) => line.includes('zeros'))).toEqual([`${base}.safetensors: ${zeros} ${there}`]);
    }
    expect((await run('pack', 'tuned.safetensors', 'tuned.safetensors', ...network, '--out', 'kept.zip')).stdout).not.toContain('zeros');
  });

  it('counts what they left out of a file, and is silent on counts of batches', async () => {
    write(
      'training.safetensors',
      [
        ...whole.map(([name, tensor]) => [`state_dict.${name}`, tensor] as const),
        ['optimizer.a', numbers([1])],
        ['optimizer.b', numbers([1])],
      ],
    );
    const told = '2 tensors of it left out, no part of the network: optimizer.a and others';
    expect(
      (await run('pack', 'training.safetensors', ...network, '--out', 'left.zip')).stdout,
    ).toContain(`\ntraining.safetensors: ${told}\n`);
    expect((await run('convert', 'training.safetensors', 'left.safetensors', ...network)).stdout).toContain(`\n  ${told}\n`);
    const [record] = jsonLines((await run('convert', 'training.safetensors', 'left.safetensors', ...network, '--json')).stdout);
    expect(record).toMatchObject({ event: 'result', leftOut: ['optimizer.a', 'optimizer.b'] });
    // It has num_batches_tracked.
    expect((await run('convert', 'state-dict.pt', 'counts.safetensors', '--graph', 'network.json')).stdout).not.toContain('left out');
  });

  it('note the heads, patches and separator that a transformer is taken to have where none are given', async () => {
    const vit = ['--model', 'vit', '--input', '1,8,8', '--classes', '3', '--width', '128', '--depth', '1'];
    for (const [options, note] of [
      [[], 'note: vit of width 128 is taken to have 2 heads and patches of 4×4 pixels (--heads, --patch)\n'],
      [['--patch', '4'], 'note: vit of width 128 is taken to have 2 heads (--heads)\n'],
      [['--heads', '4', '--patch', '4'], ''],
    ] as const) {
      for (const command of [
        ['inspect', 'tuned.safetensors'],
        ['convert', 'tuned.safetensors', 'never.safetensors'],
        ['pack', 'tuned.safetensors', '--out', 'never.zip'],
      ])
        expect((await run(
          ...command, ...vit, ...options,
        )).stderr.split(/(?<=\n)/).filter((line) => line.includes('taken to have')).join('')).toBe(note);
    }
    const small = ['--input', '4', '--classes', '8', '--width', '64', '--depth', '1'];
    for (const model of ['gpt2', 'distilbert', 'bert'])
      expect((await run('inspect', 'tuned.safetensors', '--model', model, ...small)).stderr).toBe(
        `note: ${model} of width 64 is taken to have 1 head (--heads)\n`,
      );
    // Of another vocabulary than the published one the separator may be another token.
    for (const [options, what] of [
      [['--vocabulary-size', '28996'], '1 head and the separator 102 (--heads, --separator)'],
      [['--vocabulary-size', '50'], '1 head and no separator (--heads, --separator)'],
      [['--vocabulary-size', '50', '--separator', '4'], '1 head (--heads)'],
    ] as const)
      expect((await run('inspect', 'tuned.safetensors', '--model', 'bert', ...small, ...options)).stderr).toBe(
        `note: bert of width 64 is taken to have ${what}\n`,
      );
  });

  it('note rules that apply to no name: of the file, of that of --like, or of all files that are packed', async () => {
    write('mine.safetensors', whole.map(([name, tensor]) => [`my_${name}`, tensor]));
    writeFileSync(join(directory, 'mine.json'), JSON.stringify([{ from: 'my_**', to: '$1' }, { from: 'extra', to: null }]));
    const note = (files: string) => `note: mine.json[1] ("extra") applies to no name in ${files}\n`;
    const rules = ['--rules', 'mine.json', ...network];
    expect(
      await run('convert', 'mine.safetensors', 'm.safetensors', ...rules),
    ).toMatchObject({ code: 0, stderr: note('mine.safetensors') });
    expect(
      await run('convert', 'tuned.safetensors', 'm.safetensors', ...rules, '--like', 'mine.safetensors'),
    ).toMatchObject({ code: 0, stderr: note('mine.safetensors') });
    expect(
      await run('pack', 'tuned.safetensors', 'mine.safetensors', ...rules, '--out', 'm.zip'),
    ).toMatchObject({ code: 0, stderr: note('any of the 2 files') });
    write('more.safetensors', [...whole, ['extra', numbers([1])]]);
    expect(await run('pack', 'more.safetensors', 'mine.safetensors', ...rules, '--out', 'm.zip')).toMatchObject({ code: 0, stderr: '' });
    // Where the file does not fit, that may be why.
    expect(
      (await run('pack', 'dtypes.pth', 'mine.safetensors', ...rules, '--out', 'm.zip')).stderr,
    ).toContain('note: mine.json[0] ("my_**") and 1 more rule apply to no name in dtypes.pth\n');
  });
});

describe('trajport inspect against a network', () => {
  it('says that weights fit', async () => {
    const { code, stdout } = await run('inspect', 'state-dict.pt', '--graph', 'network.json', '--verbose');
    expect(code).toBe(0);
    expect(stdout).toMatch(/conv\.weight +2×1×3×3 +conv\.weight +fits/);
    expect(stdout).toMatch(/fits: 8 fit, 0 missing, 0 unexpected, 0 of another shape/);
  });

  it('names what is missing, unexpected and of another shape, and exits with 1', async () => {
    const wider = {
      ...pytorchNetwork,
      nodes: pytorchNetwork.nodes.map((node) => (node.name === 'head'
        ? { ...node, out: 5 }
        : node.name === 'conv' ? { ...node, name: 'stem' } : node.name === 'norm' ? { ...node, inputs: ['stem'] } : node)),
    };
    writeFileSync(join(directory, 'wider.json'), JSON.stringify(wider));
    const human = await run('inspect', 'state-dict.pt', '--graph', 'wider.json');
    expect(human.code).toBe(1);
    expect(human.stdout).toMatch(/stem\.weight +2×1×3×3 +missing/);
    expect(human.stdout).toMatch(/conv\.weight +unexpected, 2×1×3×3/);
    expect(human.stdout).toMatch(/head\.weight +5×8 +head\.weight +is 3×8/);
    expect(human.stdout).toMatch(/does not fit: 4 fit, 2 missing, 2 unexpected, 2 of another shape/);
    const json = await run('inspect', 'state-dict.pt', '--graph', 'wider.json', '--json');
    expect(json.code).toBe(1);
    expect(jsonLines(json.stdout)).toMatchObject([{
      event: 'result', kind: 'fit', fits: false, missing: [{ name: 'stem.weight', shape: [2, 1, 3, 3] }, { name: 'stem.bias' }],
      misshapen: [{ to: 'head.weight', expected: [5, 8], got: [3, 8] }, { to: 'head.bias' }],
    }]);
  });

  it('says in one line what fits as it is, and lists it only where asked', async () => {
    const fitting = async (...more: string[]) =>
      (await run('inspect', 'state-dict.pt', '--graph', 'network.json', ...more)).stdout.split('\n');
    const brief = await fitting();
    expect(brief).toContain('all 8 tensors fit');
    expect(brief.filter((line) => line.includes('conv.weight'))).toEqual([]);
    const whole = await fitting('--verbose');
    expect(whole.filter((line) => line.endsWith('fits'))).toHaveLength(8);
    expect(whole.some((line) => line.includes('all 8'))).toBe(false);
    const some = (await run('inspect', 'state-dict.pt', '--graph', 'wider.json')).stdout.split('\n');
    expect(some).toContain('4 tensors besides fit as they are (--verbose lists them)');
    expect(some.filter((line) => line.endsWith('fits'))).toEqual([]);
    for (const [args, message] of [
      [['--graph', 'wider.json', '--verbose', '--json'], '--verbose is for text'],
      [['--verbose'], '--verbose goes with --model or --graph'],
    ] as const) expect(await run('inspect', 'state-dict.pt', ...args)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
  });

  it('lists what does not fit first, and what is left out and why', async () => {
    const lines = (await run('inspect', 'state-dict.pt', '--graph', 'wider.json', '--verbose')).stdout.split('\n');
    expect(lines.findIndex((line) => line.endsWith('missing'))).toBeLessThan(lines.findIndex((line) => line.endsWith('fits')));
    expect(lines.some((line) => line.endsWith('missing'))).toBe(true);
    expect(lines.filter((line) => /num_batches_tracked +a count of batches$/.test(line))).toHaveLength(1);
  });

  it('takes the network of a LayersModel, and fits its weights', async () => {
    for (const name of ['tfjs-layers.json', 'tfjs-layers.bin'])
      copyFileSync(join(root, 'test', 'bundle', 'foreign', 'vectors', name), join(directory, name));
    const { code, stdout } = await run('inspect', 'tfjs-layers.json', '--graph', 'tfjs-layers.json');
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/dense\.weight +3×8 +dense\/kernel +fits, turned/) });
  });

  it('takes presets, and wants their shapes', async () => {
    expect(
      (await run('inspect', 'state-dict.pt', '--model', 'mobilenet_v2', '--input', '3,32,32', '--classes', '10', '--stem', 'cifar')).code,
    ).toBe(1);
    expect(await run('inspect', 'state-dict.pt', '--model', 'resnet18')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--model needs --input'),
    });
    expect((await run('inspect', 'state-dict.pt', '--classes', '10')).code).toBe(2);
  });
});

describe('weights of any kind', () => {
  it('are taken where weights are asked for', async () => {
    const inspected = await run('inspect', 'state-dict.pt', '--json');
    expect(jsonLines(inspected.stdout)[0]).toMatchObject({ event: 'result', kind: 'weights', format: 'pytorch' });
    writeImageFolder(join(directory, 'images'), { size: 4, classes: 3 });
    const evaluated = await run('evaluate', 'run/epoch-10.pt', '--graph', 'network.json', '--data', 'images', '--json');
    expect({ code: evaluated.code, stderr: evaluated.stderr }).toEqual({ code: 0, stderr: '' });
    expect(jsonLines(evaluated.stdout)[0]).toMatchObject({ event: 'result', count: 60 });
  });
});
