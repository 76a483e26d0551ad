/** What a message says to do next, and that what it names cannot pretend to be more of it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeBundle } from '../../src/bundle/writer.ts';
import { openCore } from '../../src/core/core.ts';
import { officialTrainings } from '../../src/data/official-files.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-messages-'));
  writeImageFolder(join(directory, 'three'));
  writeImageFolder(join(directory, 'five'), { classes: 5 });
  mkdirSync(join(directory, 'folder'));
  writeFileSync(join(directory, 'rules.json'), JSON.stringify([{ from: 'a', to: 'b' }]));
  const { code, stderr } = await run('train', '--data', 'three', '--widths', '24,8', '--iterations', '1', '--final', 'v.safetensors');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  // What a training on the whole of Fashion-MNIST records, without the minute that it takes.
  using core = await openCore();
  const graph = preset('mlp', { input: [1, 28, 28], widths: [4], classes: 10 });
  const checkpoints = [1, 2].map((seed) => ({ label: `c${seed}`, state: initialise(core, graph, { seed }) }));
  const sha256 = officialTrainings.find(({ dataset }) => dataset === 'fashion-mnist')?.sha256 as string;
  writeFileSync(
    join(directory, 'fashion.zip'),
    await writeBundle({
      graph,
      checkpoints,
      training: { kind: 'train', inputs: { data: sha256 }, settings: { seed: 1, heldOutFraction: 0.2 } },
    }),
  );
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it.each<[number, readonly string[], string]>([
  [
    2,
    ['evaluate', 'fashion.zip'],
    'fashion.zip was trained on fashion-mnist: give --data DIR, the folder of its files (trajport download fashion-mnist fetches them)',
  ],
  [
    2,
    ['transfer', 'fashion.zip', '--target-seed', '1', '--out', 'x.safetensors'],
    'fashion.zip was trained on fashion-mnist: give --data DIR',
  ],
  [
    3,
    ['train', '--data', 'three', '--initial', 'v.safetensors', '--final', 'x.safetensors'],
    'no network is named, so it is --model mlp --widths 512; were these weights of an MLP, it would be --widths 24,8\n',
  ],
  [
    2,
    ['inspect', 'v.safetensors', '--model', 'resnet18'],
    '--model needs --input C,H,W and --classes N, e.g. --input 3,224,224 --classes 1000',
  ],
  [
    3,
    ['inspect', 'v.safetensors', '--graph', 'rules.json'],
    'rules.json: is a JSON list and no network: a graph is a JSON object { "version": 1, "input", "nodes", "output" }',
  ],
  [3, ['inspect', '-'], '-: no such file: standard input is not read, give the name of a file'],
  [2, ['inspect', '-v2.safetensors'], 'did you mean ./-v2.safetensors ?'],
  [3, ['inspect', 'folder'], 'folder: holds no file that is named like a checkpoint (.safetensors, .pt, '],
  [3, ['inspect', 'a\nerror: b'], 'error: a\ufffderror: b: no such file'],
])('%i for %j', async (expected, args, message) => {
  const { code, stderr } = await run(...args);
  expect({ code, stderr }).toEqual({ code: expected, stderr: expect.stringContaining(message) });
});

it('knows the number of images of an official set without its files', async () => {
  const { stdout } = await run('plan', 'fashion.zip', '--method', 'fgmt', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ images: 60_000, testImages: 10_000 });
  expect((await run('plan', 'fashion.zip')).stdout).toContain('12,000 held-out inputs at every step');
});

it('tells of each task of the demo the classes that it has', async () => {
  const { code, stdout } = await run(
    'demo', '--data', 'three', '--data-after', 'five', '--widths', '8', '--pairs', '1', '--base-epochs', '1', '--fine-tune-epochs',
    '1', '--iterations', '0', '--steps', '1',
  );
  expect(code).toBe(0);
  expect(stdout).toMatch(/task A +three: 240 images 1×6×6, 3 classes\n +task B +five: 240 images 1×6×6, 5 classes\n/);
});
