/**
 * Linear sum assignment against scipy's linear_sum_assignment, CPU time, interleaved runs on the same matrices.
 * bench:assignment -- [--json] [--only PATTERN] [--rounds N] [--full] [--matrices DIR] [--curve]
 *   --full      the kinds at n = 2048, too      --matrices DIR  also every square f32 *.bin of a folder
 *   --curve     instead: our time and memory against n to 8192
 * Exit status 1 when a bar is missed. Without scipy the ratios are left out, in plain sight.
 */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Core, openCore } from '../src/core/core.ts';
import { type Duals, linearSumAssignment } from '../src/matching/assignment.ts';
import { normal, type Uniform, uniformFrom } from '../test/matching/matrices.ts';
import { constants, deadUnits, duplicates, integers, kinds, nearlyAPermutation, rank } from './assignment-kinds.ts';
import { gradientMatrix, gradientSteps } from './gradient-matrices.ts';
import { machine, median, timed, warmUp } from './measure.ts';
import { Scipy, scipyIsMissing } from './scipy.ts';

interface Case {
  readonly name: string;
  readonly n: number;
  /** Times scipy's CPU time at least. */
  readonly bar: number;
  readonly make: () => Float32Array | Promise<Float32Array>;
}

export interface AssignmentRow {
  readonly matrix: string;
  readonly n: number;
  readonly milliseconds: number;
  readonly peerMilliseconds: number | null;
  readonly ratio: number | null;
  readonly bar: number;
  /** |objective − scipy's| and the certificate, as shares of Σ|a|. */
  readonly gap: number | null;
  readonly certificate: number;
  readonly pass: boolean | null;
}

const seeded = (name: string, n: number): Uniform => {
  let seed = n;
  for (const letter of name) seed = (Math.imul(seed, 31) + letter.charCodeAt(0)) | 0;
  return uniformFrom(seed);
};
const f32 = (name: string, n: number, make: (random: Uniform, n: number) => Float64Array) => (): Float32Array =>
  Float32Array.from(make(seeded(name, n), n));

function tableCases(): Case[] {
  const dense: readonly [string, (random: Uniform, n: number) => Float64Array][] = [
    ['Gaussian', kinds['gaussian'] as (random: Uniform, n: number) => Float64Array],
    ['X·Yᵀ of rank 784', rank(784)],
    ['X·Yᵀ of rank 100', rank(100)],
    ['X·Yᵀ of rank 10', rank(10)],
  ];
  const cases: Case[] = [];
  const add = (name: string, n: number, bar: number, make: (random: Uniform, n: number) => Float64Array): void => {
    cases.push({ name, n, bar, make: f32(name, n, make) });
  };
  for (const [n, bar] of [[128, 2], [256, 2], [1024, 12], [4096, 35]] as const) {
    for (const [name, make] of dense) add(name, n, bar, make);
    for (const step of gradientSteps)
      cases.push({ name: `gradient, step ${step} of a transfer`, n, bar, make: () => gradientMatrix(n, step) });
  }
  for (const [n, bar] of [[1024, 10], [4096, 24]] as const) add('20 % dead units', n, bar, deadUnits);
  for (const n of [1024, 4096]) {
    add('duplicates ×8', n, 4, duplicates);
    add('integers 0–99', n, 4, integers);
    add('constant', n, 4, constants);
  }
  add('nearly a permutation', 4096, 12, nearlyAPermutation);
  return cases;
}

function kindCases(full: boolean): Case[] {
  const sizes = full ? [256, 1024, 2048] : [256, 1024];
  return sizes.flatMap((n) =>
    Object.entries(kinds).map(([name, make]) => ({ name: `kind: ${name}`, n, bar: 1, make: f32(name, n, make) })),
  );
}

function savedCases(folder: string): Case[] {
  return readdirSync(folder).filter((file) => file.endsWith('.bin')).map((file) => {
    const bytes = readFileSync(join(folder, file));
    const n = Math.round(Math.sqrt(bytes.length / 4));
    const bar = n >= 4096 ? 35 : n >= 1024 ? 12 : n >= 128 ? 2 : 1;
    return {
      name: `saved: ${basename(file, '.bin')}`,
      n,
      bar,
      make: () => new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 4 * n * n)),
    };
  });
}

async function measure(core: Core, scipy: Scipy | undefined, folder: string, item: Case, rounds: number): Promise<AssignmentRow> {
  const { n } = item;
  const data = await item.make();
  // A name of its own: the peer keeps the last file it has read.
  const path = join(folder, `${item.name.replace(/[^a-z0-9]+/gi, '-')}-${n}.bin`);
  writeFileSync(path, new Uint8Array(data.buffer));
  const matrix = { rows: n, columns: n, data };
  const solved = linearSumAssignment(core, matrix, { certify: true });
  let magnitude = 0;
  for (const value of data) magnitude += Math.abs(value);
  const solve = (): void => void linearSumAssignment(core, matrix);
  const repetitions = warmUp(solve, 500);
  const ours: number[] = [];
  const theirs: number[] = [];
  let gap: number | null = null;
  let peerRepetitions = 1;
  for (let round = 0; round < rounds; round++) {
    ours.push(timed(repetitions, solve));
    if (scipy === undefined) continue;
    const answer = await scipy.solve(path, n, n, peerRepetitions);
    // The first, short answer says how many repetitions make a measurable one.
    if (round === 0 && answer.milliseconds < 10) {
      peerRepetitions = Math.ceil(20 / Math.max(answer.milliseconds, 0.05));
      theirs.push((await scipy.solve(path, n, n, peerRepetitions)).milliseconds);
    } else {
      theirs.push(answer.milliseconds);
    }
    gap = magnitude === 0 ? 0 : Math.abs(answer.objective - solved.objective) / magnitude;
  }
  rmSync(path);
  const milliseconds = median(ours);
  const peerMilliseconds = theirs.length === 0 ? null : median(theirs);
  const ratio = peerMilliseconds === null ? null : peerMilliseconds / milliseconds;
  const certificate = magnitude === 0 ? (solved.certificate as number) : (solved.certificate as number) / magnitude;
  const pass = ratio === null ? null : ratio >= item.bar && (gap as number) <= 1e-12 && certificate <= 1e-12;
  return { matrix: item.name, n, milliseconds, peerMilliseconds, ratio, bar: item.bar, gap, certificate, pass };
}

/** Cold against warm, from the duals of the matrix before it drifted by 1 %. */
function measureWarm(core: Core, width: number, bar: number, rounds: number): AssignmentRow {
  const n = 2048;
  const random = seeded('drift', width);
  const x = Float64Array.from({ length: n * width }, () => normal(random));
  const y = Float64Array.from({ length: n * width }, () => normal(random));
  const product = (): Float32Array => {
    const data = new Float32Array(n * n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let k = 0; k < width; k++) sum += (x[i * width + k] as number) * (y[j * width + k] as number);
        data[i * n + j] = sum;
      }
    }
    return data;
  };
  const before = { rows: n, columns: n, data: product() };
  for (let k = 0; k < x.length; k++) x[k]! += 0.01 * normal(random);
  const after = { rows: n, columns: n, data: product() };
  const warmStart: Duals = linearSumAssignment(core, before).duals;
  const certificate = linearSumAssignment(core, after, { warmStart, certify: true }).certificate as number;
  const cold: number[] = [];
  const warm: number[] = [];
  for (let round = 0; round < 2 * rounds + 3; round++) {
    cold.push(timed(2, () => linearSumAssignment(core, after)));
    warm.push(timed(2, () => linearSumAssignment(core, after, { warmStart })));
  }
  const ratio = median(cold) / median(warm);
  return {
    matrix: `warm start, 1 % drift, rank ${width} (against its own cold start)`, n, milliseconds: median(warm),
    peerMilliseconds: median(cold), ratio, bar, gap: 0, certificate: certificate / (n * n), pass: ratio >= bar,
  };
}

function line(row: AssignmentRow): string {
  const figures =
    row.ratio === null
      ? 'no scipy'
      : `${(row.peerMilliseconds as number).toFixed(2).padStart(9)} ms  ${row.ratio.toFixed(1).padStart(6)} × (bar ${row.bar})  gap ` +
        `${(row.gap as number).toExponential(0)}`;
  const verdict = row.pass === null ? '' : row.pass ? '  ok' : '  SHORT';
  return `${row.matrix.padEnd(62)} ${String(row.n).padStart(5)} ${row.milliseconds.toFixed(3).padStart(9)} ms  ${figures}${verdict}`;
}

/** Our CPU time and the memory beside the matrix, against n. */
function curve(core: Core, json: boolean): void {
  for (const name of ['gaussian', 'rank 10', 'dead units 20 %'] as const) {
    for (const n of [64, 128, 256, 512, 1024, 2048, 4096, 8192]) {
      const data = f32(name, n, kinds[name] as (random: Uniform, size: number) => Float64Array)();
      const matrix = { rows: n, columns: n, data };
      const solve = (): void => void linearSumAssignment(core, matrix);
      const repetitions = warmUp(solve, 500);
      const milliseconds = median([0, 1, 2, 3, 4].map(() => timed(repetitions, solve)));
      const scratchBytes = core.kernels.assignmentScratchBytes(n, n, 4, Number(n > 192)) + 16 * n;
      const row = {
        matrix: name,
        n,
        milliseconds,
        nanosecondsAnElement: (milliseconds * 1e6) / (n * n),
        matrixBytes: 4 * n * n,
        scratchBytes,
      };
      const times = `${milliseconds.toFixed(3).padStart(9)} ms ${row.nanosecondsAnElement.toFixed(2).padStart(7)} ns/element`;
      const memory = `matrix ${(row.matrixBytes / 2 ** 20).toFixed(2)} MiB + ${(scratchBytes / 2 ** 20).toFixed(2)} MiB`;
      console.log(json ? JSON.stringify(row) : `${name.padEnd(18)} ${String(n).padStart(5)} ${times}  ${memory}`);
    }
  }
}

async function assignmentRows(
  options: { readonly only?: RegExp; readonly rounds?: number; readonly full?: boolean; readonly matrices?: string },
  emit: (row: AssignmentRow) => void,
): Promise<{ readonly versions: Scipy['versions'] | undefined; readonly short: number }> {
  const scipy = await Scipy.open();
  const core = await openCore();
  const folder = mkdtempSync(join(tmpdir(), 'trajport-bench-'));
  const rounds = options.rounds ?? 3;
  let short = 0;
  const take = (row: AssignmentRow): void => {
    if (row.pass === false) short++;
    emit(row);
  };
  try {
    const saved = options.matrices === undefined ? [] : savedCases(options.matrices);
    for (const item of [...tableCases(), ...saved, ...kindCases(options.full ?? false)]) {
      if (options.only !== undefined && !options.only.test(`${item.name} ${item.n}`)) continue;
      take(await measure(core, scipy, folder, item, rounds));
    }
    for (const [width, bar] of [[10, 4.5], [784, 1.5]] as const) {
      if (options.only !== undefined && !options.only.test(`warm start rank ${width}`)) continue;
      take(measureWarm(core, width, bar, rounds));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
    scipy?.close();
    core[Symbol.dispose]();
  }
  return { versions: scipy?.versions, short };
}

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    json: { type: 'boolean', default: false }, only: { type: 'string' }, rounds: { type: 'string' },
    full: { type: 'boolean', default: false }, matrices: { type: 'string' }, curve: { type: 'boolean', default: false },
  },
});
const say = (text: string): void => (values.json ? console.error(text) : console.log(text));
say(`machine ${JSON.stringify(machine())}`);
if (values.curve) {
  curve(await openCore(), values.json);
} else {
  const { versions, short } = await assignmentRows(
    {
      full: values.full,
      ...(values.only === undefined ? {} : { only: new RegExp(values.only) }),
      ...(values.rounds === undefined ? {} : { rounds: Number(values.rounds) }),
      ...(values.matrices === undefined ? {} : { matrices: values.matrices }),
    },
    (row) => console.log(values.json ? JSON.stringify(row) : line(row)),
  );
  say(versions === undefined ? scipyIsMissing : `peer ${JSON.stringify(versions)}`);
  if (short > 0) {
    say(`${short} rows fell short`);
    process.exitCode = 1;
  }
}
