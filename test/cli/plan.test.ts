/** `plan`: evaluation is reckoned as the command evaluates, and what the heap has no room for is said, with what it has room for. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { globalOptionsOf } from '../../src/cli/command.ts';
import { commands } from '../../src/cli/commands.ts';
import { gradientHeapBytes } from '../../src/gradient/memory.ts';
import { preset } from '../../src/model/presets.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

interface Planned {
  readonly method: string;
  readonly microBatch: number;
  readonly images: number | null;
  readonly testImages: number | null;
  readonly seconds: number;
  readonly flops: {
    readonly gradients: number; readonly recomputation: number; readonly similarity: number; readonly assignment: number;
    readonly evaluation?: number;
  };
  readonly bytes: { readonly heap: number };
}

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });
const plan = async (...args: string[]) => {
  const { code, stdout, stderr } = await run('plan', ...args, '--json');
  return { code, stderr, plans: jsonLines(stdout) as unknown as Planned[] };
};
const only = async (...args: string[]): Promise<Planned> => (await plan(...args)).plans[0] as Planned;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-plan-'));
  writeImageFolder(join(directory, 'a'));
  const made = [
    await run('train', '--data', 'a', '--widths', '16', '--epochs', '1', '--held-out', '0.2', '--out', 'folder.zip'),
    await run('train', '--data', 'generated:after', '--train-count', '200', '--widths', '16', '--iterations', '1', '--out', 'glyphs.zip'),
  ];
  for (const { code, stderr } of made) expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('evaluation', () => {
  // 36 pixels, 16 hidden units, 3 classes: products, and a ReLU of 16.
  const forward = 2 * (36 * 16 + 16 * 3) + 16;
  // The first layer of a held-out image is two products for all points.
  const saved = (steps: number): number => 2 * 36 * 16 * (steps + 1 - 2);

  it('is that of the result, of the plain shift and of three networks on the test images', async () => {
    // The training held out a fifth of these 240 images.
    const { plans } = await plan('folder.zip', '--data', 'a', '--steps', '5');
    const [steps, tests] = [48 * 6, 3 * 60];
    for (const { method, flops, images, testImages, seconds } of plans) {
      expect({ method, images, testImages }).toEqual({ method, images: 240, testImages: 60 });
      expect(flops.evaluation).toBeCloseTo((method === 'naive' ? 1 : 2) * (forward * steps - 48 * saved(5)) + forward * tests, 3);
      expect(seconds).toBeGreaterThan(0);
    }
    const [naive] = plans as [Planned];
    expect((await only('folder.zip', '--data', 'a', '--held-out', '0')).flops.evaluation).toBeCloseTo(forward * tests, 3);
    expect((await only('folder.zip', '--data', 'a', '--steps', '5', '--held-out', '0.1')).flops.evaluation).toBeCloseTo(
      forward * (24 * 6 + tests) - 24 * saved(5),
      3,
    );
    // Those of the rule that shows them, too.
    expect((await only('folder.zip', '--data', 'a', '--steps', '5', '--stop-rule', 'last')).flops.evaluation).toBeCloseTo(
      naive.flops.evaluation as number,
      3,
    );
  });

  it('follows from what the bundle was trained on, where that is known; otherwise a line says that it is left out', async () => {
    expect(await only('glyphs.zip', '--train-count', '200')).toMatchObject({
      images: 200,
      testImages: 2000,
      flops: { evaluation: expect.any(Number) },
    });
    const unknown = await only('folder.zip');
    expect(unknown).toMatchObject({ images: null, testImages: null });
    expect(unknown.flops).not.toHaveProperty('evaluation');
    expect((await run('plan', 'folder.zip')).stdout).toContain(
      'Evaluation is not in the time, since the number of inputs is not known (--data says it)',
    );
    expect((await run('plan', 'folder.zip', '--data', 'a')).stdout).toMatch(
      /The time includes \S+ [kM] FLOP of evaluation: 48 held-out inputs at every step \(--held-out 0: none\), 60 test inputs thrice\./,
    );
    expect(await run('plan', 'folder.zip', '--train-count', '5')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--train-count goes with --data'),
    });
    expect(await run('plan', 'glyphs.zip', '--data', 'a')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('data: expected images of shape [1, 28, 28]'),
    });
  });
});

it('reckons with the solver and its sweeps, and says how many', async () => {
  const net = ['--model', 'mlp', '--widths', '64,64', '--input', '1,8,8', '--classes', '4', '--method', 'fgmt'];
  const at = async (...more: string[]) => (await only(...net, ...more)) as unknown as { assignments: number; laps: number; sweeps: number };
  expect(await at()).toMatchObject({ assignments: 2 * 10 * 4, laps: 4, sweeps: 4 });
  expect(await at('--max-sweeps', '2')).toMatchObject({ assignments: 2 * 10 * 2, laps: 2, sweeps: 2 });
  expect(await at('--solver', 'seeded-starts', '--max-sweeps', '2')).toMatchObject({ assignments: 2 * 10 * 10, laps: 10, sweeps: 2 });
  const text = async (...more: string[]) => (await run('plan', ...net, ...more)).stdout;
  expect(await text('--max-sweeps', '1')).toContain('reckoned at 1 sweep a matching;');
  expect(await text('--solver', 'seeded-starts')).toContain(
    'reckoned at 24 assignments of each group (seeded-starts, 4 sweeps a descent) a matching;',
  );
});

it('takes the command line of a transfer: what nothing follows from is named, neither read nor written, and the rest reckoned with', async () => {
  const more = ['--method', 'gmt', '--steps', '3'];
  const { code, stderr, plans } = await plan(
    'folder.zip', ...more, '--target', 'nowhere.safetensors', '--zero-head', '--seed', '7', '--resume', 'new', '--out', 'none.safetensors',
  );
  expect({ code, stderr }).toEqual({
    code: 0, stderr: 'note: --target, --zero-head, --seed, --resume, --out: passed over, since nothing here follows from that\n',
  });
  const { seconds: _seconds, ...expected } = await only('folder.zip', ...more);
  expect(plans).toEqual([{ ...expected, seconds: expect.any(Number) as number }]);
  expect(existsSync(join(directory, 'none.safetensors'))).toBe(false);
  const transfer = commands.find(({ name }) => name === 'transfer');
  const planned = commands.find(({ name }) => name === 'plan');
  const taken = { ...planned?.passedOver, ...planned?.options, ...globalOptionsOf(planned ?? {}) };
  for (const option of Object.keys({ ...transfer?.options, ...globalOptionsOf(transfer ?? {}) })) expect(taken).toHaveProperty(option);
});

it('reckons with the part that is carried over', async () => {
  expect((await run('train', '--data', 'a', '--widths', '16', '--epochs', '3', '--out', 'three.zip')).code).toBe(0);
  const real = ['three.zip', '--method', 'fgmt', '--trajectory', 'real'];
  expect([
    await only(...real), await only(...real, '--from', 'epoch-1'), await only(...real, '--from', 'epoch-1', '--to', 'epoch-2'),
  ]).toMatchObject([
    { steps: 3 }, { steps: 2 }, { steps: 1 },
  ]);
  // A first layer that stays is on no line, and its outputs are computed at every step: of the plain shift, and of nothing beside it.
  const scored = async (...more: string[]) =>
    (await only('three.zip', '--data', 'a', '--method', 'naive', '--steps', '5', ...more)).flops.evaluation as number;
  expect((await scored('--skip', 'linear1')) - (await scored())).toBeCloseTo(24 * 2 * 36 * 16 * (6 - 2), 3);
});

it('--micro-batch auto is what transfer then takes', async () => {
  const net = ['--model', 'small-conv', '--width', '16'];
  expect((await run('train', '--data', 'a', ...net, '--iterations', '1', '--out', 'conv.zip')).code).toBe(0);
  const how = [
    '--data', 'a', '--method', 'fgmt', '--steps', '1', '--batch-size', '128', '--batches-per-step', '3', '--micro-batch', 'auto',
    '--heap-limit', '16MiB',
  ];
  const ported = await run('transfer', 'conv.zip', '--target-seed', '2', ...how, '--record', 'auto.json');
  expect(ported.code).toBe(0);
  const { settings } = JSON.parse(readFileSync(join(directory, 'auto.json'), 'utf8')) as { settings: { microBatch: number } };
  expect((await only('conv.zip', ...how)).microBatch).toBe(settings.microBatch);
});

describe('the heap', () => {
  const large = ['--input', '3,224,224', '--classes', '1000', '--method', 'fgmt', '--history-budget', '4GiB'];

  it('has a cap, over which a plan says so and ends with 1; what it names as fitting fits', async () => {
    const { code, stderr } = await plan('--model', 'resnet18', ...large, '--batch-size', '512');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(
        /^note: a gradient of 512 inputs at once may take [\d.]+ GiB of heap, over the cap of 2\.0 GiB; --batch-size 128 fits\n$/,
      ),
    });
    expect(gradientHeapBytes(preset('resnet18', { input: [3, 224, 224], classes: 1000 }), 64)).toBeLessThanOrEqual(2 ** 31);
    const fits = await plan('--model', 'resnet18', ...large, '--batch-size', '64');
    expect(fits).toMatchObject({ code: 0, stderr: '', plans: [{ flops: { recomputation: 0 } }] });
  });

  it('has room for whole batches of batch norm where values are computed anew', async () => {
    const whole = gradientHeapBytes(preset('resnet18', { input: [3, 224, 224], classes: 1000 }), 128);
    expect(whole).toBeGreaterThan(2.5 * 2 ** 30);
    const { code, stderr, plans: [planned] } = await plan('--model', 'resnet18', ...large);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { flops, bytes } = planned as Planned;
    expect(bytes.heap).toBeLessThanOrEqual(2 ** 31);
    expect(flops.recomputation / flops.gradients).toBeGreaterThan(0.001);
    expect(flops.recomputation / flops.gradients).toBeLessThan(1 / 3);
    const { stdout } = await run('plan', '--model', 'resnet18', ...large);
    expect(stdout).toMatch(/To fit the cap of 2\.0 GiB, gradients compute values anew on their way back, [\d.]+ % of their FLOP more/);
  });

  it('is that of --heap-limit', async () => {
    const conv = ['--model', 'conv4', '--input', '3,32,32', '--classes', '10', '--method', 'fgmt'];
    const whole = await plan(...conv);
    expect(whole).toMatchObject({ code: 0, stderr: '' });
    const [{ bytes: { heap } }] = whole.plans as [Planned];
    expect(await plan(...conv, '--heap-limit', `${heap}`)).toMatchObject({ code: 0 });
    const tight = await plan(...conv, '--heap-limit', '64MiB');
    expect(tight.code).toBe(1);
    const fits = /over --heap-limit 64\.0 MiB; --micro-batch (\d+) fits/.exec(tight.stderr)?.[1] as string;
    const little = await run('plan', ...conv, '--heap-limit', `${Math.floor(0.85 * heap)}`);
    expect(little).toMatchObject({ code: 0, stdout: expect.stringMatching(/same bytes\. --micro-batch \d+ does without\./) });
    const parts = await plan(...conv, '--heap-limit', '64MiB', '--micro-batch', fits);
    expect(parts).toMatchObject({ code: 0, stderr: '', plans: [{ microBatch: Number(fits) }] });
    expect((await only(...conv, '--heap-limit', '64MiB', '--micro-batch', 'auto')).microBatch).toBe(Number(fits));
    // Twice as many do not.
    expect((await plan(...conv, '--heap-limit', '64MiB', '--micro-batch', `${2 * Number(fits)}`)).code).toBe(1);
  });

  it('holds a smaller batch of BERT, where no part of a larger one fits beside the sum of gradients', async () => {
    const bert = ['--model', 'bert', '--input', '128', '--classes', '2', '--history-budget', '8GiB', '--heap-limit', '1800MiB'];
    for (const more of [[], ['--micro-batch', 'auto']]) {
      const { code, stderr } = await plan(...bert, ...more);
      expect(code).toBe(1);
      expect(stderr).toMatch(/over --heap-limit 1\.8 GiB; --batch-size 32 fits\n$/);
      expect(await plan(...bert, ...more, '--batch-size', '32')).toMatchObject({ code: 0, stderr: '' });
      expect((await plan(...bert, ...more, '--batch-size', '64')).code).toBe(1);
    }
  });

  it('does not hold some networks at all; micro-batches are not for batch norm', async () => {
    const none = await plan('--model', 'vgg16', ...large, '--heap-limit', '64MiB');
    expect(none).toMatchObject({ code: 1, stderr: expect.stringMatching(/over --heap-limit 64\.0 MiB; and of one [\d.]+ GiB\n$/) });
    expect(await plan('--model', 'resnet18', ...large, '--micro-batch', '4')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--micro-batch: expected whole batches of 128'),
    });
    expect(await plan('--model', 'resnet18', ...large, '--batch-size', '512', '--micro-batch', 'auto')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--batch-size 128 fits'),
    });
  });
});
