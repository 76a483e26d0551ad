// Whole coordinate-descent solves against the straightforward loop of bench/straightforward-matching.ts, same orders, same
// pairs, one process, CPU time: npm run -s bench:matching-solve -- [CASE…] [--all] [--json]. Default: all pairs at once (`cold`); --all
// adds the last step of a transfer, which has met the other pairs before (`identity`, `previous`: where its descent starts).
// The exit status is 1 when a bar falls short.
import { openCore } from '../src/core/core.ts';
import { type MatchingResult, solveMatching } from '../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../src/matching/history.ts';
import { historySize } from '../src/matching/history-size.ts';
import { matchingObjective } from '../src/matching/objective.ts';
import { type Permutations, identityPermutations } from '../src/matching/permutation.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import { preset } from '../src/model/presets.ts';
import { Random, streams } from '../src/tensor/random.ts';
import { addPair, type GradientPair, gradientPairs, type PairsOptions } from './gradient-pairs.ts';
import { clocked, machine } from './measure.ts';
import { straightforwardMatching } from './straightforward-matching.ts';

const cases: Readonly<Record<string, { graph: () => ModelGraph; options: PairsOptions; bar: number }>> = {
  'conv8-quarter': {
    graph: () => preset('conv8', { input: [3, 32, 32], classes: 10, width: 0.25 }),
    options: { pairs: 15, batchSize: 32, trainingSteps: 40, learningRate: 0.05 },
    bar: 0,
  },
  conv8: {
    graph: () => preset('conv8', { input: [3, 32, 32], classes: 10 }),
    options: { pairs: 15, batchSize: 32, trainingSteps: 20, learningRate: 0.05 },
    bar: 4,
  },
  resnet18: {
    graph: () => preset('resnet18', { input: [3, 32, 32], classes: 10 }),
    options: { pairs: 15, batchSize: 16, trainingSteps: 10, learningRate: 0.02 },
    bar: 4,
  },
  'mlp-4096': {
    graph: () => preset('mlp', { input: [784], classes: 10, widths: [4096] }),
    options: { pairs: 15, batchSize: 128, trainingSteps: 40, learningRate: 0.05 },
    bar: 10,
  },
};

/** Largest relative difference between the two objectives. */
const LARGEST_DIFFERENCE = 1e-6;
const json = process.argv.includes('--json');
const modes = process.argv.includes('--all') ? (['cold', 'identity', 'previous'] as const) : (['cold'] as const);
const chosen = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));

if (json) console.log(JSON.stringify({ bench: 'machine', ...machine() }));
else console.log(machine());
using core = await openCore();
for (const name of chosen.length > 0 ? chosen : ['conv8', 'resnet18', 'mlp-4096']) {
  const entry = cases[name];
  if (entry === undefined) throw new Error(`unknown case ${name}: one of ${Object.keys(cases).join(', ')}`);
  const { spec, pairs } = gradientPairs(core, name, entry.graph(), entry.options);
  const steps = pairs.length;
  const random = (step: number): Random => new Random(11, streams.sweepOrder, step);
  // From the identity the straightforward loop does the same whichever pairs came when.
  let fromIdentity: ReturnType<typeof plainSolve> | undefined;
  // `cold`: all pairs at once. Otherwise as a transfer meets it: a pair and a solve at every step; the last step is timed.
  for (const mode of modes) {
    const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 33 });
    const spent = { similarity: 0, assignment: 0 };
    const add = (index: number): void => addPair(history, pairs[index] as GradientPair);
    const solve = (start: Permutations, step: number): MatchingResult =>
      solveMatching(history, {
        start,
        random: random(step),
        measure: (part, body) => {
          const { value, ms } = clocked(body);
          spent[part] += ms;
          return value;
        },
      });
    let start = identityPermutations(spec);
    for (let index = 0; index < steps - 1; index++) {
      if (mode === 'cold') continue;
      add(index);
      const solved = solve(start, index);
      if (mode === 'previous') start = solved.permutations;
    }
    spent.similarity = 0;
    spent.assignment = 0;
    // The other side comes into a process that has computed for seconds: ours does too, on a heap that has grown to its size.
    if (mode === 'cold') {
      for (let index = 0; index < steps; index++) add(index);
      solve(start, steps);
      history.clear();
      spent.similarity = 0;
      spent.assignment = 0;
    }
    const adding = clocked(() => {
      for (let index = history.pairs; index < steps; index++) add(index);
    });
    const ours = clocked(() => solve(start, steps));
    const plain = mode === 'previous' ? plainSolve(start) : (fromIdentity ??= plainSolve(start));
    const plainPermutations = history.layout.groups.map(({ id }) => plain.value.permutations.get(id) as Int32Array);
    const plainObjective = matchingObjective(history, plainPermutations);
    const speedup = plain.ms / (ours.ms + adding.ms);
    const objectiveDifference = (ours.value.objective - plainObjective) / Math.abs(plainObjective);
    // The straightforward loop may stop lower (it refuses nothing, and rounds differently); it must not end higher.
    const pass = speedup >= entry.bar && objectiveDifference >= -LARGEST_DIFFERENCE;
    if (!pass) process.exitCode = 1;
    const result = {
      bench: 'matching-solve',
      case: name,
      mode,
      pairs: steps,
      speedup,
      bar: entry.bar,
      pass,
      oursMs: ours.ms + adding.ms,
      straightforwardMs: plain.ms,
      addMs: adding.ms,
      similarityMs: spent.similarity,
      assignmentMs: spent.assignment,
      objective: ours.value.objective,
      objectiveDifference,
      relativeObjective: ours.value.relativeObjective,
      sweeps: [ours.value.sweeps, plain.value.sweeps],
      assignments: [ours.value.assignments, plain.value.laps],
      counts: ours.value.counts,
      historyBytes: history.bytes,
    };
    console.log(json ? JSON.stringify(result) : result);
    if (mode === 'cold')
      console.log(json ? JSON.stringify(codedResult(name, history, ours.value)) : codedResult(name, history, ours.value));
  }

  function plainSolve(start: Permutations) {
    return clocked(() => straightforwardMatching(core, spec, pairs, start, random(steps)));
  }

  /** The same pairs under a third of their budget: 8-bit codes. Judged by the exact gradients. */
  function codedResult(case_: string, exact: GradientHistory, solved: MatchingResult): object {
    const { fixedBytes, bytesPerPair, totalBytes } = historySize(spec, steps);
    const history = new GradientHistory(core, spec, { budgetBytes: fixedBytes + Math.ceil((steps * bytesPerPair) / 3) });
    for (const pair of pairs) addPair(history, pair);
    const coded = solveMatching(history, { start: identityPermutations(spec), random: random(steps) });
    const objective = matchingObjective(exact, exact.layout.groups.map(({ id }) => coded.permutations.get(id) as Int32Array));
    return {
      bench: 'matching-solve',
      case: case_,
      mode: 'budget',
      budgetBytes: history.budgetBytes,
      wholeBytes: totalBytes,
      bytes: history.bytes,
      coded: history.coded,
      objectiveShare: objective / solved.objective,
      reportedErrorBound: coded.objectiveErrorBound / Math.abs(coded.objective),
      codingError: Math.abs(coded.objective - objective) / Math.abs(objective),
    };
  }
}
