/**
 * The two real-data cases that an independent implementation should reproduce (REFERENCE.md): a whole training of a
 * ReLU MLP on MNIST ported to another random initialisation, and a Fashion-MNIST fine-tune ported between two bases
 * that were trained on MNIST; and the latter once more by ports that begin with zeros as last layer, which no reference has. What is asked
 * of the figures stands here, once.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultPortSettings, portFineTune } from '../../src/experiments/port-fine-tune.ts';
import type { PortOutcome, PortRow, PortSettings, Task } from '../../src/experiments/port-fine-tune.ts';
import { imageSetFromIdx } from '../../src/data/idx.ts';
import { normalised } from '../../src/data/image-set.ts';
import { preset } from '../../src/model/presets.ts';
import type { ImageSet } from '../../src/data/image-set.ts';
import type { Compute } from '../../src/index.ts';

export interface RealDataSize {
  readonly trainCount: number;
  readonly testCount: number;
  readonly epochs: number;
  readonly pairs: number;
}

/** Of 22,222 images a tenth is held out, which leaves the 20,000 that REFERENCE.md trains on. */
export const fullSize: RealDataSize = { trainCount: 22_222, testCount: 10_000, epochs: 10, pairs: 3 };

/** One asked-for property and whether the figures have it. */
export interface Check {
  readonly name: string;
  readonly got: number;
  readonly bound: string;
  readonly passed: boolean;
}

export interface CaseResult {
  readonly name: RealDataCase;
  readonly outcomes: readonly PortOutcome[];
  readonly checks: readonly Check[];
}

/**
 * MNIST's own, as in PyTorch's examples, for both tasks (a base network knows no other). REFERENCE.md does not say how its
 * inputs were scaled; with bytes ÷ 255 the trained target reaches 94.5 instead of its 96.3, and Naive 91 instead of 86.
 */
const MEAN = 0.1307;
const STANDARD_DEVIATION = 0.3081;

export const realDataCases = ['mnist', 'mnist-to-fashion', 'mnist-to-fashion-zero-heads'] as const;
export type RealDataCase = (typeof realDataCases)[number];

/** Held-out accuracy in percent of the last step, from REFERENCE.md's table (mean over three pairs). */
const reference = {
  mnist: { fgmt: 93.8, gmt: 94.2 },
  'mnist-to-fashion': { fgmt: 80.6, gmt: 83.1 },
  // Zeros are to be no worse.
  'mnist-to-fashion-zero-heads': { fgmt: 80.6, gmt: 83.1 },
} as const;

/** `../shared/data` beside the repository. */
export function sharedData(root: string): string | undefined {
  const path = join(root, '..', 'shared', 'data');
  return existsSync(join(path, 'mnist')) && existsSync(join(path, 'fashion-mnist')) ? path : undefined;
}

async function loadTask(folder: string, { trainCount, testCount }: RealDataSize): Promise<Task> {
  const load = async (part: string, count: number): Promise<ImageSet> => {
    const file = (kind: string): Uint8Array<ArrayBuffer> => Uint8Array.from(readFileSync(join(folder, `${part}-${kind}-ubyte.gz`)));
    const raw = await imageSetFromIdx({
      name: folder.split('/').at(-1) as string,
      images: file('images-idx3'),
      labels: file('labels-idx1'),
    });
    const whole = normalised(raw, [MEAN], [STANDARD_DEVIATION]);
    const size = whole.channels * whole.height * whole.width;
    return { ...whole, count, images: whole.images.subarray(0, count * size), labels: whole.labels.subarray(0, count) };
  };
  return { train: await load('train', trainCount), test: await load('t10k', testCount) };
}

export async function runCase(
  name: RealDataCase,
  data: string,
  size: RealDataSize,
  compute: Compute,
  onProgress: (text: string) => void = () => undefined,
): Promise<CaseResult> {
  const mnist = await loadTask(join(data, 'mnist'), size);
  const after = name === 'mnist' ? mnist : await loadTask(join(data, 'fashion-mnist'), size);
  // What REFERENCE.md leaves open follows the authors' released code: its MLP has no biases, and a fine-tune begins with a fresh
  // head. With biases and the bases' own heads Naive stays at 24 where the reference has 42, and FGMT and GMT end at 66 to 77.
  const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [512], bias: false });
  const settings: PortSettings = {
    ...defaultPortSettings,
    baseEpochs: name === 'mnist' ? 0 : size.epochs,
    freshHeads: true,
    zeroHead: name === 'mnist-to-fashion-zero-heads',
    fineTuneEpochs: size.epochs,
    learningRate: 0.01,
  };
  const outcomes: PortOutcome[] = [];
  for (let pair = 1; pair <= size.pairs; pair++) {
    const outcome = await portFineTune({
      graph, before: mnist, after, seed: pair, settings, compute, signal: new AbortController().signal,
      onProgress: (label, { done, total }) => onProgress(`${name}, pair ${pair}: ${label} ${done}/${total}`),
    });
    outcomes.push(outcome);
  }
  return { name, outcomes, checks: size === fullSize ? fullChecks(name, outcomes) : [] };
}

function fullChecks(name: RealDataCase, outcomes: readonly PortOutcome[]): Check[] {
  const within = name === 'mnist' ? 1.5 : 3;
  const checks: Check[] = [];
  for (const method of ['fgmt', 'gmt'] as const) {
    const last = heldOutPercent(outcomes, method, 'last');
    const expected = reference[name][method];
    checks.push({
      name: `${method}: held-out accuracy of the last step`,
      got: last,
      bound: `${expected} ± ${within}`,
      passed: Math.abs(last - expected) <= within,
    });
    if (name !== 'mnist') continue;
    const lead = last - heldOutPercent(outcomes, 'naive', 'last');
    checks.push({ name: `${method}: points above Naive`, got: lead, bound: '≥ 5', passed: lead >= 5 });
    const onward = testPercent(outcomes, method, 1);
    checks.push({ name: `${method}: test accuracy after 10 iterations onward`, got: onward, bound: '≥ 90', passed: onward >= 90 });
  }
  return checks;
}

/** Mean over pairs of the held-out accuracy, in percent, of the last or the kept step. */
export function heldOutPercent(outcomes: readonly PortOutcome[], method: PortRow['method'], which: 'last' | 'kept'): number {
  return meanPercent(
    outcomes,
    method,
    ({ result, chosenStep }) => (which === 'last' ? result?.steps.at(-1) : result?.steps[chosenStep])?.heldOut?.accuracy ?? NaN,
  );
}

/** Mean over pairs of the test accuracy, in percent, at the n-th of the onward iterations. */
export function testPercent(outcomes: readonly PortOutcome[], method: PortRow['method'], n: number): number {
  return meanPercent(outcomes, method, ({ accuracies }) => accuracies[n] ?? NaN);
}

function meanPercent(outcomes: readonly PortOutcome[], method: PortRow['method'], read: (row: PortRow) => number): number {
  const shares = outcomes.map(({ rows }) => read(rows.find((row) => row.method === method) as PortRow));
  return (shares.reduce((sum, share) => sum + share, 0) / shares.length) * 100;
}
