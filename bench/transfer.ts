/**
 * Wall time of whole transfers, split into what it is spent on, with the peak memory of a process that does nothing
 * else: `npm run -s bench:transfer -- [--runs N] [--json] [CASE…]`. Each case runs in a process of its own, so that its
 * peak is its own; the median of N runs is printed (default 3; 1 for mlp-4096, which takes longest). Progress: stderr.
 */
import { spawnSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { generateTaskPair } from '../src/data/generated.ts';
import { shrink } from '../src/data/image-set.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset } from '../src/model/presets.ts';
import { openCompute, train, transfer } from '../src/index.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import type { PresetOptions } from '../src/model/presets.ts';
import type { Timings } from '../src/index.ts';
import { formatTable } from '../src/report/table.ts';
import { formatBytes, formatDuration, formatInteger } from '../src/report/text.ts';
import { clockedLater, processPeakBytes } from './measure.ts';

/** What is transferred: the networks of REFERENCE's and the paper's smallest experiments. */
const cases: Readonly<Record<string, (options: Pick<PresetOptions, 'input' | 'classes'>) => ModelGraph>> = {
  'mlp-512': (options) => preset('mlp', { ...options, widths: [512] }),
  'mlp-4096': (options) => preset('mlp', { ...options, widths: [4096] }),
  'small-conv-32': (options) => preset('small-conv', { ...options, width: 32 }),
};
const methods = ['fgmt', 'gmt'] as const;
const STEPS = 10;

interface Line {
  readonly bench: 'transfer';
  readonly network: string;
  readonly parameters: number;
  readonly method: string;
  readonly steps: number;
  readonly gradients: number;
  readonly assignments: number;
  /** Figures of the median run. */
  readonly timings: Timings;
  readonly cpuMs: number;
  readonly peakHeapBytes: number;
  readonly peakResidentBytes: number;
  readonly sha256: string;
}

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean', default: false }, runs: { type: 'string' }, case: { type: 'string' } },
  allowPositionals: true,
});
/** The slowest case takes as long in one run as the others in three. */
const defaultRuns = (name: string): number => (name === 'mlp-4096' ? 1 : 3);
const runsOf = (name: string): number => (values.runs === undefined ? defaultRuns(name) : Number(values.runs));
if (!Number.isInteger(runsOf('')) || runsOf('') < 1) throw new Error(`--runs ${values.runs} is not a number of runs`);

if (values.case === undefined) runAll();
else await runCase(values.case);

/** Every case in a child process; prints what they measured. */
function runAll(): void {
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    runtime: `node ${process.version}`,
    platform: `${process.platform} ${process.arch}`,
  };
  if (values.json) console.log(JSON.stringify({ bench: 'machine', ...machine }));
  const lines: Line[] = [];
  for (const name of positionals.length > 0 ? positionals : Object.keys(cases)) {
    if (!Object.hasOwn(cases, name)) throw new Error(`no case ${name}; there are ${Object.keys(cases).join(', ')}`);
    const child = spawnSync(process.execPath, ['scripts/run.mjs', 'bench/transfer.ts', '--case', name, '--runs', String(runsOf(name))], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (child.status !== 0) throw new Error(`case ${name} ended with status ${child.status}`);
    for (const text of child.stdout.trim().split('\n')) {
      if (values.json) console.log(text);
      lines.push(JSON.parse(text) as Line);
    }
  }
  if (!values.json) printTable(lines, machine);
}

async function runCase(name: string): Promise<void> {
  const build = cases[name] as (typeof cases)[string];
  using compute = await openCompute();
  const { before } = generateTaskPair(compute.core, { seed: 1, trainCount: 4000, testCount: 1 });
  // REFERENCE.md's convolutional cases have images of 14 × 14.
  const data = name.startsWith('mlp') ? before.train : shrink(before.train, 2);
  const graph = build({ input: [data.channels, data.height, data.width], classes: data.classes });
  // A true trajectory, since assignments are slower on gradient matrices than on random ones.
  const source = await train({ graph, data, seed: 1, epochs: 2, checkpointEpochs: [], compute });
  const target = initialise(compute.core, graph, { seed: 2 });
  for (const method of methods) {
    const measured = [];
    const runs = runsOf(name);
    for (let run = 0; run < runs; run++) {
      console.error(`${name} ${method}: run ${run + 1} of ${runs}`);
      const { value: result, ms: cpuMs } = await clockedLater(() => transfer({
        source: source.trajectory, target, data, method, steps: STEPS, seed: 3, compute,
      }));
      measured.push({ result, cpuMs });
    }
    const sorted = measured.toSorted((a, b) => a.result.timings.totalMs - b.result.timings.totalMs);
    const { result, cpuMs } = sorted[Math.floor((runs - 1) / 2)] as (typeof measured)[number];
    const line: Line = {
      bench: 'transfer',
      network: name,
      parameters: [...target.parameters.values()].reduce((sum, { data: { length } }) => sum + length, 0),
      method,
      steps: STEPS,
      gradients: result.counts.gradients,
      assignments: result.counts.assignments,
      timings: result.timings,
      cpuMs,
      peakHeapBytes: compute.core.heapBytes,
      peakResidentBytes: processPeakBytes(),
      sha256: result.record.sha256,
    };
    console.log(JSON.stringify(line));
  }
}

function printTable(lines: readonly Line[], machine: Readonly<Record<string, string | number>>): void {
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  const share = (part: number, { totalMs }: Timings): string => `${((part / totalMs) * 100).toFixed(0)} %`;
  console.log(Object.entries(machine).map(([key, value]) => `${key} ${value}`).join(' · '));
  console.log(
    formatTable(
      [
        { title: 'network' },
        { title: 'method' },
        numeric('parameters'),
        numeric('wall'),
        numeric('cpu'),
        numeric('gradients'),
        numeric('similarity'),
        numeric('assignment'),
        numeric('evaluation'),
        numeric('other'),
        numeric('wasm heap'),
        numeric('resident'),
      ],
      lines.map(({ network, method, parameters, timings, cpuMs, peakHeapBytes, peakResidentBytes }) => [
        network,
        method,
        formatInteger(parameters),
        formatDuration(timings.totalMs),
        formatDuration(cpuMs),
        share(timings.gradientsMs, timings),
        share(timings.similarityMs, timings),
        share(timings.assignmentMs, timings),
        share(timings.evaluationMs, timings),
        share(timings.otherMs, timings),
        formatBytes(peakHeapBytes),
        formatBytes(peakResidentBytes),
      ]),
    ),
  );
}
