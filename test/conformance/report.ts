// One record a run, and the bounds it is held to: those of the cases' README, and of our own where it names none.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Network } from '../../src/gradient/network.ts';
import type { Compute } from '../../src/transfer/compute.ts';
import { largest } from './errors.ts';
import { type FreeRunning, replayFreeRunning } from './free-running.ts';
import type { RunRecord } from './manifest.ts';
import { type OwnDraws, ownDraws } from './own-draws.ts';
import { ReferenceCase } from './reference-case.ts';
import { replaySafetensors } from './safetensors.ts';
import { type KnifeEdge, replayTeacherForced, type TeacherForced } from './teacher-forced.ts';
import { replayTraining } from './training.ts';

const bounds = {
  /** Per tensor, relative Frobenius; batch norm divides by batch deviations and amplifies rounding. */
  gradient: 1e-4,
  gradientWithBatchNorm: 1e-3,
  similarity: 1e-5,
  parameterAbsolute: 1e-6,
  objective: 1e-6,
  training: 1e-5,
  /** Percentage points; one of 360 validation rows is 0.28. */
  accuracyPoints: 0.6,
  /** Of the recorded spread over other batches. */
  drawDeviations: 1.2,
} as const;

export interface ReportLine {
  readonly case: string;
  readonly run: string;
  readonly pass: boolean;
  /** What fell short, in words; empty when it passes. */
  readonly failures: readonly string[];
  readonly gradientError?: number;
  readonly knifeEdges?: readonly KnifeEdge[];
  readonly similarityError?: number;
  readonly parameterError?: number;
  readonly objectiveError?: number;
  readonly lossError?: number;
  readonly statisticsError?: number;
  readonly validationLossError?: number;
  readonly accuracies?: { readonly ours: readonly number[]; readonly theirs: readonly number[] };
  readonly freeRunning?: FreeRunning;
  readonly ownDraws?: OwnDraws;
  readonly checked?: Readonly<Record<string, number | string>>;
}

export interface ReportOptions {
  /** Draws of our own for each run whose spread is recorded; 0 leaves them out. */
  readonly draws: number;
}

/**
 * Replays all cases and safetensors files in the folders; a folder that holds neither stands for its subfolders. Whatever
 * throws becomes a failing line: one broken case must not hide the others.
 */
export async function* conformance(compute: Compute, folders: readonly string[], options: ReportOptions): AsyncGenerator<ReportLine> {
  const failed: ReportLine[] = [];
  const attempt = async <T>(name: string, run: string, body: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await body();
    } catch (error) {
      failed.push({ case: name, run, pass: false, failures: [error instanceof Error ? error.message : String(error)] });
      return undefined;
    }
  };
  const directories: string[] = [];
  for (const folder of folders) directories.push(...((await attempt(folder, 'folder', () => expand(folder))) ?? []));
  const cases: ReferenceCase[] = [];
  for (const directory of directories.filter((name) => existsSync(join(name, 'manifest.json')))) {
    const reference = await attempt(directory, 'manifest', () => new ReferenceCase(directory));
    if (reference !== undefined) cases.push(reference);
  }
  for (const reference of cases) {
    const name = reference.manifest.case;
    using network = await attempt(name, 'graph', () => compute.engine.compile(reference.graph));
    if (network === undefined) continue;
    const training = await attempt(name, 'first training epoch', () => trainingLine(network, reference));
    if (training !== undefined) yield training;
    for (const [run, record] of Object.entries(reference.manifest.runs)) {
      const line = await attempt(name, run, () => runLine(compute, network, reference, run, record, options));
      if (line !== undefined) yield line;
    }
  }
  for (const directory of directories) {
    for (const file of safetensorsFiles(directory)) {
      const line = await attempt('safetensors', file, () =>
        safetensorsLine(join(directory, file), file, [...cases, ...neighbours(directory, cases)]),
      );
      if (line !== undefined) yield line;
    }
  }
  yield* failed;
}

function safetensorsFiles(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.endsWith('.safetensors')).toSorted();
}

function expand(folder: string): string[] {
  const isOne = (directory: string): boolean => existsSync(join(directory, 'manifest.json')) || safetensorsFiles(directory).length > 0;
  if (isOne(folder)) return [folder];
  const inside = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const found = inside.map((entry) => join(folder, entry.name)).filter(isOne).toSorted();
  if (found.length === 0) throw new Error('holds neither a manifest.json nor safetensors files, and no folder that does');
  return found;
}

function trainingLine(network: Network, reference: ReferenceCase): ReportLine | undefined {
  const replay = replayTraining(network, reference);
  if (replay === undefined) return undefined;
  const failures = [
    ...above('parameters after the first epoch', replay.parameter, bounds.training),
    ...above('losses of the first epoch', replay.loss, bounds.training),
  ];
  return {
    case: reference.manifest.case,
    run: 'first training epoch',
    pass: failures.length === 0,
    failures,
    parameterError: replay.parameter,
    lossError: replay.loss,
    ...(reference.hasBatchNorm ? { statisticsError: replay.statistics } : {}),
    checked: { batches: replay.batches },
  };
}

async function runLine(
  compute: Compute,
  network: Network,
  reference: ReferenceCase,
  name: string,
  run: RunRecord,
  options: ReportOptions,
): Promise<ReportLine> {
  const { manifest, hasBatchNorm } = reference;
  const forced = replayTeacherForced(compute.core, network, reference, run, hasBatchNorm ? bounds.gradientWithBatchNorm : bounds.gradient);
  const failures = forcedFailures(forced, hasBatchNorm);
  const matches = run.mode === 'fgmt' || run.mode === 'gmt';
  const comparable =
    typeof manifest.free_running_comparable === 'boolean'
      ? manifest.free_running_comparable
      : manifest.free_running_comparable[name] === true;
  const freeRunning = matches && comparable ? replayFreeRunning(compute.core, network, reference, run) : undefined;
  if (freeRunning !== undefined) {
    if (freeRunning.agreement < 1) failures.push(`free-running permutations agree in ${freeRunning.agreement} only`);
    failures.push(...accuracyFailures('free-running', freeRunning.accuracies));
  }
  const spread = manifest.fragility?.[name]?.other_batches_12;
  const draws =
    matches && spread !== undefined && options.draws > 0 ? await ownDraws(compute, reference, run, spread, options.draws) : undefined;
  if (draws !== undefined)
    failures.push(...above('mean of own draws, in their deviations', Math.abs(draws.deviations), bounds.drawDeviations));
  return {
    case: manifest.case,
    run: name,
    pass: failures.length === 0,
    failures,
    gradientError: forced.gradient,
    ...(forced.knifeEdges.length > 0 ? { knifeEdges: forced.knifeEdges } : {}),
    similarityError: Math.max(forced.similarity, forced.similarityOfOurGradients),
    parameterError: forced.parameter,
    objectiveError: forced.objective,
    lossError: forced.loss,
    ...(hasBatchNorm ? { statisticsError: forced.statistics } : {}),
    validationLossError: forced.validationLoss,
    accuracies: forced.accuracies,
    ...(freeRunning === undefined ? {} : { freeRunning }),
    ...(draws === undefined ? {} : { ownDraws: draws }),
    checked: { gradients: forced.gradients, laps: forced.laps, steps: run.steps.length },
  };
}

function forcedFailures(forced: TeacherForced, hasBatchNorm: boolean): string[] {
  const gradient = hasBatchNorm ? bounds.gradientWithBatchNorm : bounds.gradient;
  return [
    ...above('gradients', forced.gradient, gradient),
    ...above('losses', forced.loss, gradient),
    ...above('similarities', forced.similarity, bounds.similarity),
    // These carry the error of two gradients of ours.
    ...above('similarities of our gradients', forced.similarityOfOurGradients, 2 * gradient),
    ...above('parameters', forced.parameter, bounds.parameterAbsolute),
    ...above('objectives', forced.objective, bounds.objective),
    ...above('batch-norm statistics', forced.statistics, gradient),
    ...above('validation losses', forced.validationLoss, gradient),
    ...accuracyFailures('teacher-forced', forced.accuracies),
  ];
}

function safetensorsLine(path: string, file: string, cases: readonly ReferenceCase[]): ReportLine {
  const replay = replaySafetensors(path, cases);
  if (replay === undefined)
    return { case: 'safetensors', run: file, pass: false, failures: ['its case is not at hand: name the case folder too'] };
  const failures = above('values', replay.error, replay.bound);
  return {
    case: replay.case,
    run: file,
    pass: failures.length === 0,
    failures,
    parameterError: replay.error,
    checked: { checkpoint: replay.checkpoint, dtypes: replay.dtypes.join(' ') },
  };
}

/** Case folders beside a folder of safetensors files, where they were not named themselves. */
function neighbours(directory: string, known: readonly ReferenceCase[]): ReferenceCase[] {
  const parent = join(directory, '..');
  return readdirSync(parent, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(parent, entry.name, 'manifest.json')))
    .filter((entry) => !known.some(({ manifest }) => manifest.case === entry.name))
    .map((entry) => new ReferenceCase(join(parent, entry.name)));
}

function above(what: string, error: number, bound: number): string[] {
  return error <= bound ? [] : [`${what}: ${error.toExponential(2)} is above ${bound}`];
}

function accuracyFailures(what: string, { ours, theirs }: TeacherForced['accuracies']): string[] {
  const difference = largest(theirs.map((accuracy, i) => Math.abs(accuracy - (ours[i] ?? Number.NaN))));
  return above(`${what} accuracy, points`, difference, bounds.accuracyPoints);
}
