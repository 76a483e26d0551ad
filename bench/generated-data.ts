/**
 * How hard the embedded data is, and what a transfer makes of it: `npm run -s bench:generated-data [-- --json] [--seed N]`.
 * A linear classifier and an MLP are trained on each task; then a base model v1 is fine-tuned from the first task to the
 * second and its fine-tune is ported to a base model v2.
 */
import {
  evaluate,
  generateTaskPair,
  openCompute,
  preset,
  train,
  trajectoryFromStates,
  transfer,
  type ImageSet,
  type NetworkState,
} from '../src/index.ts';

const json = process.argv.includes('--json');
const seed = Number(process.argv[process.argv.indexOf('--seed') + 1] ?? 1) || 1;
const WIDTH = 1024;

const compute = await openCompute();
const { before, after } = generateTaskPair(compute.core, { seed, trainCount: 6000, testCount: 2000 });
const options = { input: [1, 28, 28], classes: 10 };
const linear = preset('mlp', { ...options, widths: [] });
const deep = preset('mlp', { ...options, widths: [256, 256] });
const wide = preset('mlp', { ...options, widths: [WIDTH] });

function report(what: string, accuracy: number): void {
  if (json) console.log(JSON.stringify({ what, seed, accuracy: Math.round(accuracy * 1000) / 10 }));
  else console.log(`${what.padEnd(56)} ${(100 * accuracy).toFixed(1).padStart(5)} %`);
}

async function trained(
  graph: typeof linear,
  data: ImageSet,
  learningRate: number,
  initial?: NetworkState,
  trainSeed = seed,
): Promise<NetworkState> {
  const settings = {
    graph,
    data,
    seed: trainSeed,
    epochs: 10,
    batchSize: 64,
    learningRate,
    learningRateSchedule: 'cosine',
    heldOutFraction: 0,
    compute,
  } as const;
  const { checkpoints } = await train(initial === undefined ? settings : { ...settings, initial });
  return checkpoints.at(-1)!.state;
}

async function accuracyOf(graph: typeof linear, state: NetworkState, data: ImageSet): Promise<number> {
  return (await evaluate({ graph, state, data, compute })).accuracy;
}

for (const [name, task] of [['before', before], ['after', after]] as const) {
  report(`${name}: linear`, await accuracyOf(linear, await trained(linear, task.train, 0.01), task.test));
  report(`${name}: MLP 256, 256`, await accuracyOf(deep, await trained(deep, task.train, 0.05), task.test));
}

const sourceBase = await trained(wide, before.train, 0.01);
const targetBase = await trained(wide, before.train, 0.01, undefined, seed + 1);
const sourceTuned = await trained(wide, after.train, 0.01, sourceBase);
const targetTuned = await trained(wide, after.train, 0.01, targetBase, seed + 1);
report(`after: MLP ${WIDTH}, v1 fine-tuned`, await accuracyOf(wide, sourceTuned, after.test));
report(`after: MLP ${WIDTH}, v2 fine-tuned (what a transfer saves)`, await accuracyOf(wide, targetTuned, after.test));
const source = trajectoryFromStates(wide, [{ label: 'base', state: sourceBase }, { label: 'tuned', state: sourceTuned }]);
for (const method of ['naive', 'fgmt', 'gmt'] as const) {
  const { state } = await transfer({ source, target: targetBase, data: after.train, method, steps: 10, seed, compute });
  report(`after: v2 by ${method}, without training`, await accuracyOf(wide, state, after.test));
}
compute[Symbol.dispose]();
