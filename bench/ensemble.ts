/**
 * npm run -s bench:ensemble [-- --folder DIR] [--members N] [--json]
 *
 * How good is an ensemble that comes of one training run? The run is ported by GMT to random networks, and each port is trained onward
 * for so many iterations. Beside it as many networks trained from scratch for the same iterations. Fashion-MNIST, the first 20,000 images
 * of which a tenth is held out, an MLP 784-512-10. Accuracies of the test part, which nothing is chosen on. Without the files
 * (`node dist/cli.js download fashion-mnist --to ../shared/data`) it says so and ends.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  channelStatistics, evaluate, evaluateEnsemble, imageSetFromIdx, initialise, normalised, openCompute, preset, selectRows, train, transfer,
} from '../src/index.ts';
import type { ImageSet, NetworkState } from '../src/index.ts';
import { formatTable } from '../src/report/table.ts';
import { machine } from './measure.ts';

const TRAIN_COUNT = 20_000;
const EPOCHS = 10;
const job = { learningRate: 0.01, batchSize: 128 } as const;
/** Iterations of an epoch of the source's training: what is not held out, in batches of which the last is smaller. */
const EPOCH = Math.ceil((0.9 * TRAIN_COUNT) / job.batchSize);
/** Onward: none, some, an epoch and as many as the source had. */
const iterations = [0, 50, EPOCH, EPOCHS * EPOCH];

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: '../shared/data/fashion-mnist' },
    members: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});
const members = Number(values.members);
if (!Number.isInteger(members) || members < 2) throw new Error('--members is an integer of at least 2');
if (!existsSync(join(values.folder, 'train-images-idx3-ubyte.gz'))) {
  console.error(`SKIPPED: ${values.folder} is not there; node dist/cli.js download fashion-mnist --to ../shared/data makes it`);
  process.exit(process.env['TRAJPORT_REQUIRE_SHARED'] === '1' ? 1 : 0);
}

async function load(part: 'train' | 't10k', most: number): Promise<ImageSet> {
  const file = (kind: string): Uint8Array<ArrayBuffer> => Uint8Array.from(readFileSync(join(values.folder, `${part}-${kind}-ubyte.gz`)));
  const whole = await imageSetFromIdx({ name: 'fashion-mnist', images: file('images-idx3'), labels: file('labels-idx1') });
  return selectRows(whole, Int32Array.from({ length: Math.min(most, whole.count) }, (_, i) => i));
}

const raw = await load('train', TRAIN_COUNT);
const { mean, standardDeviation } = channelStatistics(raw);
const data = normalised(raw, mean, standardDeviation);
const test = normalised(await load('t10k', 10_000), mean, standardDeviation);
const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [512] });
using compute = await openCompute();

const report = (record: object): void => {
  if (values.json) console.log(JSON.stringify(record));
};
if (values.json) report({ bench: 'machine', ...machine() });
else console.log(Object.entries(machine()).map(([name, value]) => `${name} ${value}`).join(', '));

const source = await train({ graph, data, epochs: EPOCHS, seed: 1, compute, ...job });
const alone = await evaluate({ graph, state: source.state, data: test, compute });
report({ bench: 'ensemble', what: 'source', iterations: EPOCHS * EPOCH, accuracy: alone.accuracy, loss: alone.loss });

const targets = Array.from({ length: members }, (_, i) => initialise(compute.core, graph, { seed: 100 + i }));
const ports: NetworkState[] = [];
for (const [i, target] of targets.entries()) {
  const { state } = await transfer({ source: source.trajectory, target, data, method: 'gmt', seed: 10 + i, steps: 10, compute });
  ports.push(state);
}

const percent = (share: number): string => (100 * share).toFixed(1);
const rows: string[][] = [];
for (const count of iterations) {
  for (const [what, starts] of [['ports', ports], ['from scratch', targets]] as const) {
    if (count === 0 && what === 'from scratch') continue;
    const states: NetworkState[] = [];
    for (const [i, initial] of starts.entries()) states.push(await onward(initial, count, 50 + i));
    const result = await evaluateEnsemble({ graph, states, data: test, compute });
    const meanAccuracy = result.members.reduce((sum, { accuracy }) => sum + accuracy, 0) / members;
    const meanLoss = result.members.reduce((sum, { loss }) => sum + loss, 0) / members;
    // Every iteration there is: those of the run that was ported, too.
    const all = members * count + (what === 'ports' ? EPOCHS * EPOCH : 0);
    const { accuracy, loss, disagreement } = result;
    report({
      bench: 'ensemble', what, members, iterations: count, iterationsInAll: all, meanAccuracy, accuracy, meanLoss, loss, disagreement,
    });
    rows.push([
      what, `${count}`, `${all}`, percent(meanAccuracy), percent(accuracy), meanLoss.toFixed(3), loss.toFixed(3), percent(disagreement),
    ]);
  }
}

if (!values.json) {
  console.log(`the run itself: ${EPOCHS * EPOCH} iterations, accuracy ${percent(alone.accuracy)} %, loss ${alone.loss.toFixed(3)}`);
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  console.log(formatTable(
    [
      { title: `${members} networks` }, numeric('iterations each'), numeric('in all'), numeric('one, %'), numeric('ensemble, %'),
      numeric('loss, one'), numeric('ensemble'), numeric('disagree, %'),
    ],
    rows,
  ));
}

async function onward(initial: NetworkState, count: number, seed: number): Promise<NetworkState> {
  if (count === 0) return initial;
  const choices = { iterations: count, heldOutFraction: 0, checkpointEpochs: [] };
  return (await train({ graph, data, initial, seed, compute, ...choices, ...job })).state;
}
