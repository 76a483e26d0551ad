/**
 * Gradient histories under a byte budget, run for real: `npm run -s bench:history-budget -- [--json] [CASE…]`. The same FGMT pairs
 * go into a history with the budget and into an exact one, each in a process of its own that reads them one by one from a
 * file, so that its peak memory is its own. The budgeted solution is judged by the exact gradients; the exit status is 1 when a
 * bar falls short.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openCore } from '../src/core/core.ts';
import { solveMatching } from '../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../src/matching/history.ts';
import { historySize } from '../src/matching/history-size.ts';
import { matchingObjective } from '../src/matching/objective.ts';
import { identityPermutations } from '../src/matching/permutation.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import { preset } from '../src/model/presets.ts';
import { formatTable } from '../src/report/table.ts';
import { formatBytes } from '../src/report/text.ts';
import { Random, streams } from '../src/tensor/random.ts';
import { type PairsOptions, pairsFile } from './gradient-pairs.ts';
import { clocked, machine, processPeakBytes } from './measure.ts';

interface Case {
  readonly graph: () => ModelGraph;
  readonly pairs: PairsOptions;
  readonly budgetBytes: number;
}

const cases: Readonly<Record<string, Case>> = {
  conv8: {
    graph: () => preset('conv8', { input: [3, 32, 32], classes: 10 }),
    pairs: { pairs: 30, batchSize: 32, trainingSteps: 20, learningRate: 0.05 },
    budgetBytes: 4e8,
  },
  resnet18: {
    graph: () => preset('resnet18', { input: [3, 32, 32], classes: 10 }),
    pairs: { pairs: 15, batchSize: 16, trainingSteps: 10, learningRate: 0.02 },
    budgetBytes: 1e9,
  },
};
/** Share of the exact objective that a budget may cost. */
const LARGEST_LOSS = 0.005;
const EXACT = 2 ** 34;

interface Run {
  readonly bytes: number;
  readonly coded: boolean;
  readonly objective: number;
  /** By exact gradients, of the permutations given; those found here where none are. */
  readonly judged: number;
  readonly errorBound: number;
  readonly sweeps: number;
  readonly cpuMs: number;
  readonly peakResidentBytes: number;
  readonly heapBytes: number;
}

const { values, positionals } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    child: { type: 'string' },
    budget: { type: 'string' },
    judge: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const folder = join('build', 'bench');

if (values.child === undefined) runAll();
else if (values.budget === undefined) await makePairs(values.child);
else await runChild(values.child, Number(values.budget), values.judge);

function runAll(): void {
  const lines = [];
  if (values.json) console.log(JSON.stringify({ bench: 'machine', ...machine() }));
  for (const name of positionals.length > 0 ? positionals : Object.keys(cases)) {
    const entry = cases[name];
    if (entry === undefined) throw new Error(`no case ${name}; there are ${Object.keys(cases).join(', ')}`);
    // In a process of its own as well: Linux hands the parent's peak on to its children.
    spawnSync(process.execPath, ['scripts/run.mjs', 'bench/history-budget.ts', '--child', name], { stdio: 'inherit' });
    const held = child(name, entry.budgetBytes, false);
    const exact = child(name, EXACT, true);
    const loss = 1 - exact.judged / exact.objective;
    const line = {
      bench: 'history-budget',
      network: name,
      pairs: entry.pairs.pairs,
      budgetBytes: entry.budgetBytes,
      bytes: held.bytes,
      exactBytes: exact.bytes,
      coded: held.coded,
      loss,
      codingError: Math.abs(held.objective / exact.judged - 1),
      reportedBound: held.errorBound / Math.abs(held.objective),
      cpuMs: held.cpuMs,
      exactCpuMs: exact.cpuMs,
      peakResidentBytes: held.peakResidentBytes,
      exactPeakResidentBytes: exact.peakResidentBytes,
      heapBytes: held.heapBytes,
      pass: held.bytes <= entry.budgetBytes && loss <= LARGEST_LOSS,
    };
    lines.push(line);
    if (values.json) console.log(JSON.stringify(line));
  }
  process.exitCode = lines.every(({ pass }) => pass) ? 0 : 1;
  if (values.json) return;
  console.log(Object.entries(machine()).map(([key, value]) => `${key} ${value}`).join(' · '));
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  console.log(
    formatTable(
      [
        { title: 'network' },
        numeric('pairs'),
        numeric('budget'),
        numeric('held'),
        numeric('exact'),
        numeric('objective lost'),
        numeric('bar'),
        numeric('bound said'),
        numeric('resident'),
        numeric('exact resident'),
        { title: '' },
      ],
      lines.map((line) => [
        line.network,
        String(line.pairs),
        formatBytes(line.budgetBytes),
        formatBytes(line.bytes),
        formatBytes(line.exactBytes),
        `${(100 * line.loss).toFixed(3)} %`,
        `${100 * LARGEST_LOSS} %`,
        `${(100 * line.reportedBound).toFixed(1)} %`,
        formatBytes(line.peakResidentBytes),
        formatBytes(line.exactPeakResidentBytes),
        line.pass ? 'pass' : 'FALLS SHORT',
      ]),
    ),
  );
}

function child(name: string, budgetBytes: number, judge: boolean): Run {
  const flags = ['--child', name, '--budget', String(budgetBytes), ...(judge ? ['--judge'] : [])];
  const { status, stdout } = spawnSync(process.execPath, ['scripts/run.mjs', 'bench/history-budget.ts', ...flags], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error(`${name} with a budget of ${budgetBytes} bytes ended with status ${status}`);
  return JSON.parse(stdout) as Run;
}

async function makePairs(name: string): Promise<void> {
  const { graph, pairs } = cases[name] as Case;
  using core = await openCore();
  pairsFile(core, name, graph(), pairs);
}

/** Adds the pairs, solves from the identity, and keeps the permutations for the run that judges them. */
async function runChild(name: string, budgetBytes: number, judge: boolean): Promise<void> {
  const { graph, pairs } = cases[name] as Case;
  using core = await openCore();
  const file = pairsFile(core, name, graph(), pairs);
  const history = new GradientHistory(core, file.spec, {
    budgetBytes: Math.min(budgetBytes, judge ? historySize(file.spec, pairs.pairs).totalBytes * 2 : budgetBytes),
  });
  const { value: solved, ms: cpuMs } = clocked(() => {
    const handle = openSync(file.path, 'r');
    for (let index = 0; index < pairs.pairs; index++) {
      const bytes = new Uint8Array(file.pairBytes);
      readSync(handle, bytes, 0, bytes.length, index * bytes.length);
      const { target, source } = file.decode(bytes);
      history.add(target, source);
    }
    closeSync(handle);
    const random = new Random(11, streams.sweepOrder, pairs.pairs);
    return solveMatching(history, { start: identityPermutations(file.spec), random });
  });
  const permutationsPath = join(folder, `${name}-budget-permutations.json`);
  const found = history.layout.groups.map(({ id }) => solved.permutations.get(id) as Int32Array);
  mkdirSync(folder, { recursive: true });
  if (!judge) writeFileSync(permutationsPath, JSON.stringify(found.map((perm) => [...perm])));
  const judged = judge ? (JSON.parse(readFileSync(permutationsPath, 'utf8')) as number[][]).map((perm) => Int32Array.from(perm)) : found;
  const run: Run = {
    bytes: history.bytes,
    coded: history.coded,
    objective: solved.objective,
    judged: matchingObjective(history, judged),
    errorBound: solved.objectiveErrorBound,
    sweeps: solved.sweeps,
    cpuMs,
    peakResidentBytes: processPeakBytes(),
    heapBytes: core.heapBytes,
  };
  console.log(JSON.stringify(run));
}
