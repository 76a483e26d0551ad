/**
 * Coordinate descent against its alternatives (several seeded starts; Frank–Wolfe over all layers at once). Over several
 * draws of a fine-tune and another base: the same ten gradient pairs, objective and CPU time; then whole FGMT transfers (T = 10), CPU time
 * and accuracy on test images of the new task before any training, beside the plain shift, the oracle and the source itself.
 * `npm run -s bench:alternatives -- [--json] [--draws N] [CASE…]`. A comparison without a bar; trained networks are kept under build/.
 */
import { parseArgs } from 'node:util';
import { generateTaskPair } from '../src/data/generated.ts';
import { shrink } from '../src/data/image-set.ts';
import { evaluate, openCompute, trajectoryFromStates, transfer, type TransferOptions } from '../src/index.ts';
import { GradientHistory } from '../src/matching/history.ts';
import { matchingLayout } from '../src/matching/layout.ts';
import { identityPermutations } from '../src/matching/permutation.ts';
import { matchingSolvers } from '../src/matching/exported-solvers.ts';
import { solverNames, type SolverName } from '../src/matching/solvers.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import { derivePermutationSpec } from '../src/model/permutation-spec.ts';
import { type PresetOptions, preset } from '../src/model/presets.ts';
import { mean } from '../src/report/statistics.ts';
import { formatTable } from '../src/report/table.ts';
import type { NetworkState } from '../src/tensor/tensor.ts';
import { fineTunedPair, pairsAlong } from './fine-tuned-pair.ts';
import { clocked, clockedLater, machine } from './measure.ts';

type Shape = Pick<PresetOptions, 'input' | 'classes'>;

/** `epochs`: of each base and of each fine-tune; enough for sources of more than nine in ten. */
const cases: Readonly<Record<string, { readonly graph: (shape: Shape) => ModelGraph; readonly epochs: number; readonly draws: number }>> = {
  'mlp-256-256': { graph: (shape) => preset('mlp', { ...shape, widths: [256, 256] }), epochs: 10, draws: 4 },
  'small-conv-32': { graph: (shape) => preset('small-conv', { ...shape, width: 32 }), epochs: 8, draws: 3 },
  'resnet-small-32': { graph: (shape) => preset('resnet-small', { ...shape, width: 32 }), epochs: 5, draws: 2 },
};
/** Pairs of gradients of a solve, and steps of a transfer. */
const PAIRS = 10;
const SIDE = 14;
const CLASSES = 10;

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean', default: false }, draws: { type: 'string' } },
  allowPositionals: true,
});

if (values.json) console.log(JSON.stringify({ bench: 'machine', ...machine() }));
const chosen = positionals.length > 0 ? positionals : Object.keys(cases);
using compute = await openCompute();
const generated = generateTaskPair(compute.core, { seed: 1, trainCount: 6000, testCount: 1000 });
const tasks = { before: shrink(generated.before.train, 2), after: shrink(generated.after.train, 2) };
const tests = shrink(generated.after.test, 2);
const rows: string[][] = [];
for (const name of chosen) {
  const { draws, solvers, naive, oracle, source } = await compare(name);
  const reference = solvers[solverNames[0] as SolverName].objectives;
  for (const solver of solverNames) {
    const { objectives, solveMs, transferMs, laps, accuracies } = solvers[solver];
    const line = {
      bench: 'alternatives', network: name, solver, draws, pairs: PAIRS,
      objectiveRatio: mean(objectives.map((objective, draw) => objective / (reference[draw] as number))),
      solveCpuMs: mean(solveMs), transferCpuMs: mean(transferMs), laps: mean(laps), accuracy: mean(accuracies), accuracies,
      naiveAccuracy: mean(naive), oracleAccuracy: mean(oracle), sourceAccuracy: mean(source),
    };
    if (values.json) console.log(JSON.stringify(line));
    const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
    rows.push([
      name,
      solver,
      line.objectiveRatio.toFixed(4),
      `${(line.solveCpuMs / 1000).toFixed(2)} s`,
      `${(line.transferCpuMs / 1000).toFixed(2)} s`,
      line.laps.toFixed(1),
      percent(line.accuracy),
      accuracies.map((share) => (100 * share).toFixed(0)).join(' '),
      percent(line.naiveAccuracy),
      percent(line.oracleAccuracy),
      percent(line.sourceAccuracy),
    ]);
  }
}
if (!values.json) {
  console.log(Object.entries(machine()).map(([key, value]) => `${key} ${value}`).join(' · '));
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  const titles = ['objective', 'solve', 'transfer', 'laps', 'accuracy', 'draws', 'naive', 'oracle', 'source'];
  console.log(formatTable([{ title: 'network' }, { title: 'solver' }, ...titles.map(numeric)], rows));
}

interface Measured {
  readonly objectives: number[];
  readonly solveMs: number[];
  readonly transferMs: number[];
  /** Assignments a group and matching of the transfer: what `plan` reckons with. */
  readonly laps: number[];
  readonly accuracies: number[];
}

/** Every draw of a case: the yardsticks' test accuracies, and for each solver a solve of the same pairs and a whole transfer. */
async function compare(name: string) {
  const entry = cases[name];
  if (entry === undefined) throw new Error(`no case ${name}; there are ${Object.keys(cases).join(', ')}`);
  const graph = entry.graph({ input: [1, SIDE, SIDE], classes: CLASSES });
  const spec = derivePermutationSpec(graph);
  const draws = values.draws === undefined ? entry.draws : Number(values.draws);
  const solvers = Object.fromEntries(
    solverNames.map((solver) => [solver, { objectives: [], solveMs: [], transferMs: [], laps: [], accuracies: [] }]),
  ) as unknown as Record<SolverName, Measured>;
  const yardsticks = { naive: [] as number[], oracle: [] as number[], source: [] as number[] };
  for (let draw = 1; draw <= draws; draw++) {
    const pair = await fineTunedPair(compute, name, graph, tasks, entry.epochs, draw);
    const accuracyOf = async (state: NetworkState): Promise<number> => (await evaluate({ graph, state, data: tests, compute })).accuracy;
    const source = trajectoryFromStates(graph, [{ label: 'start', state: pair.start }, { label: 'end', state: pair.end }]);
    const port = (options: Pick<TransferOptions, 'method' | 'solver' | 'oracleTarget'>) =>
      transfer({ source, target: pair.target, data: tasks.after, steps: PAIRS, seed: draw, heldOutSeed: pair.seed, compute, ...options });
    yardsticks.source.push(await accuracyOf(pair.end));
    yardsticks.naive.push(await accuracyOf((await port({ method: 'naive' })).state));
    yardsticks.oracle.push(await accuracyOf((await port({ method: 'oracle', oracleTarget: pair.truth })).state));
    const pairs = pairsAlong(compute, graph, pair, tasks.after, PAIRS);
    for (const solver of solverNames) {
      const history = new GradientHistory(compute.core, spec, { budgetBytes: 2 ** 31 });
      for (const { target, source: own } of pairs) history.add(target, own);
      const solve = clocked(() => matchingSolvers[solver](history, { start: identityPermutations(spec), seed: draw }));
      const moved = await clockedLater(() => port({ method: 'fgmt', solver }));
      const measured = solvers[solver];
      measured.objectives.push(solve.value.objective);
      measured.solveMs.push(solve.ms);
      measured.transferMs.push(moved.ms);
      const { assignments, matchings } = moved.value.counts;
      measured.laps.push(assignments / (matchings * matchingLayout(spec, []).groups.length));
      measured.accuracies.push(await accuracyOf(moved.value.state));
    }
  }
  return { draws, solvers, ...yardsticks };
}
