/**
 * Coordinate descent against its alternatives (several seeded starts; Frank–Wolfe over all layers at once): the objective each
 * reaches on the same 10 gradient pairs and its CPU time, then whole FGMT transfers of a fine-tune from one base to another with
 * it: CPU time and accuracy on test images of the new task, before any training. `npm run -s bench:alternatives -- [--json] [CASE…]`. A comparison without a bar.
 */
import { parseArgs } from 'node:util';
import { openCore } from '../src/core/core.ts';
import { generateTaskPair } from '../src/data/generated.ts';
import { shrink } from '../src/data/image-set.ts';
import { evaluate, openCompute, train, transfer } from '../src/index.ts';
import { GradientHistory } from '../src/matching/history.ts';
import { identityPermutations } from '../src/matching/permutation.ts';
import { matchingSolvers, solverNames } from '../src/matching/solvers.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import { type PresetOptions, preset } from '../src/model/presets.ts';
import { formatTable } from '../src/report/table.ts';
import { Random, streams } from '../src/tensor/random.ts';
import type { NetworkState } from '../src/tensor/tensor.ts';
import { gradientPairs } from './gradient-pairs.ts';
import { machine } from './measure.ts';

const cases: Readonly<Record<string, (options: Pick<PresetOptions, 'input' | 'classes'>) => ModelGraph>> = {
  'mlp-256-256': (options) => preset('mlp', { ...options, widths: [256, 256] }),
  'small-conv-16': (options) => preset('small-conv', { ...options, width: 16 }),
  'resnet-small': (options) => preset('resnet-small', { ...options, width: 16 }),
};
const PAIRS = 10;
const STEPS = 5;
/** Of each base and of the fine-tune. */
const EPOCHS = 10;

const { values, positionals } = parseArgs({ options: { json: { type: 'boolean', default: false } }, allowPositionals: true });
const cpuMs = async <T>(body: () => T | Promise<T>): Promise<{ value: T; ms: number }> => {
  const start = process.cpuUsage();
  const value = await body();
  const { user, system } = process.cpuUsage(start);
  return { value, ms: (user + system) / 1000 };
};

if (values.json) console.log(JSON.stringify({ bench: 'machine', ...machine() }));
const SIDE = 14;
const CLASSES = 10;
const chosen = positionals.length > 0 ? positionals : Object.keys(cases);
const prepared = new Map<string, { graph: ModelGraph } & ReturnType<typeof gradientPairs>>();
{
  // Before anything else is open: there is one gradient engine a process.
  using core = await openCore();
  for (const name of chosen) {
    const build = cases[name];
    if (build === undefined) throw new Error(`no case ${name}; there are ${Object.keys(cases).join(', ')}`);
    const graph = build({ input: [1, SIDE, SIDE], classes: CLASSES });
    prepared.set(name, { graph, ...gradientPairs(core, name, graph, { pairs: PAIRS, batchSize: 128, trainingSteps: 40, learningRate: 0.05 }) });
  }
}
using compute = await openCompute();
const { before, after } = generateTaskPair(compute.core, { seed: 1, trainCount: 4000, testCount: 1000 });
const [oldTask, newTask, tests] = [shrink(before.train, 2), shrink(after.train, 2), shrink(after.test, 2)];
const rows: string[][] = [];
for (const [name, { graph, spec, pairs }] of prepared) {
  const base = (seed: number) => train({ graph, data: oldTask, seed, epochs: EPOCHS, learningRate: 0.05, checkpointEpochs: [], compute });
  const source = await train({ graph, data: newTask, seed: 3, epochs: EPOCHS, learningRate: 0.05, initial: (await base(1)).state, checkpointEpochs: [], compute });
  const target = (await base(2)).state;
  const accuracyOf = async (state: NetworkState): Promise<number> => (await evaluate({ graph, state, data: tests, compute })).accuracy;
  const naive = await transfer({ source: source.trajectory, target, data: newTask, method: 'naive', steps: STEPS, seed: 3, stopRule: 'last', compute });
  const yardsticks = { sourceAccuracy: await accuracyOf(source.state), naiveAccuracy: await accuracyOf(naive.state) };
  let reference: number | undefined;
  for (const solver of solverNames) {
    const history = new GradientHistory(compute.core, spec, { budgetBytes: 2 ** 31 });
    for (const pair of pairs) history.add(pair.target, pair.source);
    const solve = await cpuMs(() => matchingSolvers[solver](history, { start: identityPermutations(spec), random: new Random(11, streams.sweepOrder) }));
    reference ??= solve.value.objective;
    const moved = await cpuMs(() => transfer({ source: source.trajectory, target, data: newTask, method: 'fgmt', steps: STEPS, seed: 3, solver, stopRule: 'last', compute }));
    const accuracy = await accuracyOf(moved.value.state);
    const line = {
      bench: 'alternatives', network: name, solver, pairs: PAIRS, objective: solve.value.objective, objectiveRatio: solve.value.objective / reference, solveCpuMs: solve.ms,
      assignments: solve.value.assignments, transferObjective: moved.value.steps.at(-1)?.objective, transferCpuMs: moved.ms, accuracy, ...yardsticks,
    };
    if (values.json) console.log(JSON.stringify(line));
    rows.push([name, solver, line.objectiveRatio.toFixed(4), `${(solve.ms / 1000).toFixed(2)} s`, String(line.assignments), `${(moved.ms / 1000).toFixed(2)} s`, `${(100 * accuracy).toFixed(1)} %`, `${(100 * yardsticks.naiveAccuracy).toFixed(1)} %`, `${(100 * yardsticks.sourceAccuracy).toFixed(1)} %`]);
  }
}
if (!values.json) {
  console.log(Object.entries(machine()).map(([key, value]) => `${key} ${value}`).join(' · '));
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  console.log(formatTable([{ title: 'network' }, { title: 'solver' }, numeric('objective'), numeric('solve'), numeric('assignments'), numeric('transfer'), numeric('accuracy'), numeric('naive'), numeric('source')], rows));
}
