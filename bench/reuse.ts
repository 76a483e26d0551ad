/**
 * npm run -s bench:reuse [-- --pairs N] [--json]
 *
 * Can one permutation serve all fine-tunes of a base? Two MLPs 784-512-10 of MNIST, v1 fine-tuned to Fashion-MNIST and to MNIST turned by
 * a quarter, both from zeros as last layer. Each fine-tune is ported by GMT, and once more by the permutation that its sister was ported
 * by. Accuracy on test images, before any training. Without the files (`node dist/cli.js download mnist fashion-mnist --to
 * ../shared/data`) it says so and ends.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  derivePermutationSpec, evaluate, imageSet, normalised, openCompute, permuteTensors, preset, train, transfer, withZeroHead,
} from '../src/index.ts';
import type { ImageSet, NamedTensors, NetworkState, Permutations } from '../src/index.ts';
import { formatTable } from '../src/report/table.ts';
import { getTensor } from '../src/tensor/tensor.ts';
import { machine } from './measure.ts';
import { MNIST_FOLDER, mnist } from './mnist.ts';

const FASHION_FOLDER = '../shared/data/fashion-mnist';
const [TRAIN_COUNT, TEST_COUNT, SIDE] = [15_000, 5_000, 28] as const;
const job = { epochs: 6, batchSize: 128, learningRate: 0.02 } as const;

const { values } = parseArgs({ options: { pairs: { type: 'string', default: '3' }, json: { type: 'boolean', default: false } } });
const pairs = Number(values.pairs);
if (!Number.isInteger(pairs) || pairs < 1) throw new Error('--pairs is an integer of at least 1');
for (const folder of [MNIST_FOLDER, FASHION_FOLDER])
  if (!existsSync(folder)) {
    console.error(`SKIPPED: ${folder} is not there; node dist/cli.js download mnist fashion-mnist --to ../shared/data makes it`);
    process.exit(process.env['TRAJPORT_REQUIRE_SHARED'] === '1' ? 1 : 0);
  }

async function load(folder: string, part: 'train' | 't10k'): Promise<ImageSet> {
  return (await mnist(folder, part, part === 'train' ? TRAIN_COUNT : TEST_COUNT)) as ImageSet;
}

function turned(set: ImageSet): ImageSet {
  const images = new Uint8Array(set.count * SIDE * SIDE);
  for (let i = 0; i < images.length; i++) {
    const [column, row] = [i % SIDE, Math.floor(i / SIDE) % SIDE];
    images[i] = set.images[i - column - row * SIDE + column * SIDE + (SIDE - 1 - row)] as number;
  }
  return imageSet({ name: 'turned MNIST', images, labels: set.labels, channels: 1, height: SIDE, width: SIDE });
}

const scaled = (set: ImageSet): ImageSet => normalised(set, [0.2], [0.35]);
const digits = { train: await load(MNIST_FOLDER, 'train'), test: await load(MNIST_FOLDER, 't10k') };
const tasks = {
  'Fashion-MNIST': { train: scaled(await load(FASHION_FOLDER, 'train')), test: scaled(await load(FASHION_FOLDER, 't10k')) },
  'turned MNIST': { train: scaled(turned(digits.train)), test: scaled(turned(digits.test)) },
} as const;
type TaskName = keyof typeof tasks;
const names = Object.keys(tasks) as TaskName[];

const graph = preset('mlp', { input: [1, SIDE, SIDE], classes: 10, widths: [512] });
const spec = derivePermutationSpec(graph);
using compute = await openCompute();
if (values.json) console.log(JSON.stringify({ bench: 'machine', ...machine() }));
else console.log(Object.entries(machine()).map(([name, value]) => `${name} ${value}`).join(', '));

const combined = (a: NamedTensors, b: NamedTensors, of: (x: number, y: number) => number): NamedTensors =>
  new Map([...a].map(([name, { shape, data }]) => {
    const other = getTensor(b, name).data;
    return [name, { shape, data: data.map((x, i) => of(x, other[i] as number)) }];
  }));
/** target + π(after − before) */
function shifted(target: NetworkState, before: NetworkState, after: NetworkState, permutations: Permutations): NetworkState {
  const change = permuteTensors(spec, combined(after.parameters, before.parameters, (x, y) => x - y), permutations);
  return { parameters: combined(target.parameters, change, (x, y) => x + y), buffers: target.buffers };
}

const scores = new Map<string, number[]>();
async function note(task: TaskName, what: string, pair: number, state: NetworkState): Promise<void> {
  const { accuracy } = await evaluate({ graph, state, data: tasks[task].test, compute });
  scores.set(`${task}\t${what}`, [...(scores.get(`${task}\t${what}`) ?? []), accuracy]);
  if (values.json) console.log(JSON.stringify({ bench: 'reuse', pair, task, what, accuracy }));
}

for (let pair = 1; pair <= pairs; pair++) {
  const base = async (seed: number): Promise<NetworkState> =>
    withZeroHead(graph, (await train({ graph, data: scaled(digits.train), seed, compute, ...job })).state);
  const [v1, v2] = [await base(10 * pair), await base(10 * pair + 1)];
  const tuned = new Map<TaskName, NetworkState>();
  const found = new Map<TaskName, Permutations>();
  for (const name of names) {
    const { state, trajectory } = await train({ graph, data: tasks[name].train, seed: 3, initial: v1, compute, ...job });
    const common = { source: trajectory, target: v2, data: tasks[name].train, seed: 5, zeroHead: true, compute } as const;
    const [naive, gmt] = [await transfer({ ...common, method: 'naive' }), await transfer({ ...common, method: 'gmt' })];
    tuned.set(name, state);
    found.set(name, gmt.permutations);
    await note(name, 'v1 itself', pair, state);
    await note(name, 'Naive', pair, naive.state);
    await note(name, 'GMT', pair, gmt.state);
  }
  for (const [i, name] of names.entries()) {
    const sister = found.get(names[1 - i] as TaskName) as Permutations;
    await note(name, "by the other fine-tune's permutation", pair, shifted(v2, v1, tuned.get(name) as NetworkState, sister));
  }
}

const percent = (value: number): string => (100 * value).toFixed(1);
if (!values.json)
  console.log(formatTable(
    [{ title: 'fine-tune' }, { title: 'ported' }, { title: 'right, %', align: 'right' }, { title: 'of each pair' }],
    [...scores].toSorted(([a], [b]) => names.indexOf(a.split('\t')[0] as TaskName) - names.indexOf(b.split('\t')[0] as TaskName))
      .map(([key, list]) => [...key.split('\t'), percent(list.reduce((a, b) => a + b) / list.length), list.map(percent).join(', ')]),
  ));
