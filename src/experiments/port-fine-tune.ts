/**
 * The case that pays, from end to end: base v1 was fine-tuned from task A to task B; base v2 (another seed) is given;
 * v1's fine-tune is ported to it by every method, and each result is trained onward. Test accuracy is reported at the
 * end of it all and chosen on nowhere.
 */
import type { ImageSet } from '../data/image-set.ts';
import type { ModelGraph } from '../model/graph.ts';
import { initialise } from '../model/initialise.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { Compute } from '../transfer/compute.ts';
import { evaluate } from '../transfer/evaluate.ts';
import type { ProgressEvent } from '../transfer/progress.ts';
import type { TransferMethod } from '../transfer/settings.ts';
import { train } from '../transfer/train.ts';
import type { TrainOptions, TrainResult } from '../transfer/train.ts';
import { withFreshHead, withZeroHead } from '../transfer/replaced-head.ts';
import { transfer } from '../transfer/transfer.ts';
import type { TransferResult } from '../transfer/transfer.ts';

/** How the networks are trained and ported; the same for both bases. */
export interface PortSettings {
  /** Training of the bases on task A; with 0 the bases are fresh random weights, and the port is of a whole training. */
  readonly baseEpochs: number;
  /** Whether both bases get fresh weights in their last layer before fine-tuning, as the authors' code does. */
  readonly freshHeads: boolean;
  /** Whether ports begin with zeros as last layer, on both sides, and From scratch does. */
  readonly zeroHead: boolean;
  readonly fineTuneEpochs: number;
  readonly batchSize: number;
  /** SGD with momentum 0.9, for bases, fine-tunes and onward training alike. */
  readonly learningRate: number;
  /** T of the transfer. */
  readonly steps: number;
  /** g of the transfer. */
  readonly batchesPerStep: number;
  readonly methods: readonly TransferMethod[];
  /** Onward iterations after which the test accuracy is read; begins with 0, ascending. */
  readonly iterations: readonly number[];
}

export const defaultPortSettings: PortSettings = {
  baseEpochs: 10,
  freshHeads: false,
  zeroHead: false,
  fineTuneEpochs: 10,
  batchSize: 128,
  learningRate: 0.02,
  steps: 10,
  batchesPerStep: 1,
  methods: ['naive', 'fgmt', 'gmt', 'oracle'],
  iterations: [0, 10, 20, 50],
};

/** Training and test part of one task. */
export interface Task {
  readonly train: ImageSet;
  readonly test: ImageSet;
}

export interface PortOptions {
  readonly graph: ModelGraph;
  readonly before: Task;
  readonly after: Task;
  /** Everything random of this pair of networks follows from it. */
  readonly seed: number;
  readonly settings: PortSettings;
  readonly compute: Compute;
  readonly signal: AbortSignal;
  readonly onProgress: (label: string, event: ProgressEvent) => void;
  /** Told of each row as soon as it is complete. */
  readonly onRow?: (row: PortRow) => void;
}

/** One row of the table. `scratch` is base v2 trained on B without any port. */
export interface PortRow {
  readonly method: TransferMethod | 'scratch';
  /** Test accuracy 0..1 after each of `settings.iterations`. */
  readonly accuracies: readonly number[];
  /** Backward passes that the port took, before onward training. */
  readonly gradients: number;
  /** Wall milliseconds of the port. */
  readonly milliseconds: number;
  readonly chosenStep: number;
  /** The transferred weights, and what they came from; absent for `scratch`. */
  readonly result?: TransferResult;
}

export interface PortOutcome {
  readonly seed: number;
  readonly rows: readonly PortRow[];
  /** v1's fine-tune: the trajectory that is ported. */
  readonly source: TrainResult;
  readonly target: NetworkState;
  /** Test accuracies 0..1: the bases (with fresh heads, if asked for) on task A, the true fine-tunes on task B. */
  readonly reference: { readonly v1Base: number; readonly v2Base: number; readonly v1FineTuned: number; readonly v2FineTuned: number };
}

/**
 * Seeds of the jobs of a pair, apart from one another for any two pairs below 2^28. The port shares that of v1's
 * fine-tune: the split follows from the seed, so the port's held-out images are ones that the source never trained on
 * (with a seed of its own, held-out accuracy on MNIST came out 2 points above test accuracy); mini-batches differ anyway.
 */
const jobs = { v1Base: 0, v2Base: 1, v1FineTune: 2, v2FineTune: 3, transfer: 2, onward: 5, v1Head: 6, v2Head: 7 } as const;

/**
 * Trains two bases on `before`, fine-tunes both on `after`, ports v1's fine-tune to v2 by every method and trains onward.
 * @throws what `train`, `transfer` and `evaluate` throw.
 */
export async function portFineTune(options: PortOptions): Promise<PortOutcome> {
  const { before, after, seed, onRow } = options;
  const networks = await trainNetworks(options);
  const rows: PortRow[] = [];
  for await (const row of rowsOf(options, networks)) {
    rows.push(row);
    onRow?.(row);
  }
  const { v1Base, v2Base, source, oracle } = networks;
  return {
    seed,
    rows,
    source,
    target: v2Base,
    reference: {
      v1Base: await accuracyOf(options, v1Base, before.test),
      v2Base: await accuracyOf(options, v2Base, before.test),
      v1FineTuned: await accuracyOf(options, source.state, after.test),
      v2FineTuned: await accuracyOf(options, oracle.state, after.test),
    },
  };
}

/** What is trained before anything is ported. */
interface Networks {
  readonly v1Base: NetworkState;
  readonly v2Base: NetworkState;
  /** v1's fine-tune, with its trajectory. */
  readonly source: TrainResult;
  /** v2's, which a port does without. */
  readonly oracle: TrainResult;
}

function seedOf({ seed }: PortOptions, job: keyof typeof jobs): number {
  return seed * 8 + jobs[job];
}

type Training = Pick<TrainOptions, 'data'> & Partial<Omit<TrainOptions, 'onProgress'>>;

/** A training as all of the pair are, with what is particular to it. */
function learn(options: PortOptions, label: string, job: keyof typeof jobs, particulars: Training): Promise<TrainResult> {
  const { graph, settings: { batchSize, learningRate }, compute, signal, onProgress } = options;
  return train({
    graph, batchSize, learningRate, compute, signal, ...particulars, seed: seedOf(options, job),
    onProgress: (event) => onProgress(label, event),
  });
}

async function accuracyOf({ graph, compute, signal }: PortOptions, state: NetworkState, data: ImageSet): Promise<number> {
  return (await evaluate({ graph, state, data, compute, signal })).accuracy;
}

async function trainNetworks(options: PortOptions): Promise<Networks> {
  const { after, settings } = options;
  const v1Base = await baseOf(options, 'v1');
  const v2Base = await baseOf(options, 'v2');
  const tune = { data: after.train, epochs: settings.fineTuneEpochs };
  const source = await learn(options, 'fine-tuning v1 on B', 'v1FineTune', { ...tune, initial: v1Base });
  const oracle = await learn(options, 'fine-tuning v2 on B (for Oracle)', 'v2FineTune', { ...tune, initial: v2Base, checkpointEpochs: [] });
  return { v1Base, v2Base, source, oracle };
}

async function baseOf(options: PortOptions, version: 'v1' | 'v2'): Promise<NetworkState> {
  const { graph, before, settings, compute } = options;
  const job = `${version}Base` as const;
  if (settings.baseEpochs === 0) return initialise(compute.core, graph, { seed: seedOf(options, job) });
  const choices = { data: before.train, epochs: settings.baseEpochs, checkpointEpochs: [] };
  const { state } = await learn(options, `training base ${version} on A`, job, choices);
  return settings.freshHeads ? withFreshHead(compute, graph, state, seedOf(options, `${version}Head`)) : state;
}

/** A port by every method and From scratch, each trained onward. */
async function* rowsOf(options: PortOptions, { v2Base, source, oracle }: Networks): AsyncGenerator<PortRow> {
  const { graph, after, settings, compute, signal, onProgress } = options;
  const { steps, batchesPerStep, batchSize, zeroHead } = settings;
  for (const method of settings.methods) {
    const result = await transfer({
      source: source.trajectory, target: v2Base, data: after.train, method, seed: seedOf(options, 'transfer'),
      steps, batchesPerStep, batchSize, zeroHead, compute, signal,
      ...(method === 'oracle' ? { oracleTarget: oracle.state } : {}),
      onProgress: (event) => onProgress(`porting by ${methodLabels[method]}`, event),
    });
    yield {
      method,
      accuracies: await accuraciesOnward(options, methodLabels[method], result.state),
      gradients: result.counts.gradients,
      milliseconds: result.timings.totalMs,
      chosenStep: result.chosenStep,
      result,
    };
  }
  const scratch = await accuraciesOnward(options, methodLabels.scratch, zeroHead ? withZeroHead(graph, v2Base) : v2Base);
  yield { method: 'scratch', accuracies: scratch, gradients: 0, milliseconds: 0, chosenStep: 0 };
}

/** Test accuracies after each of the numbers of onward iterations. */
async function accuraciesOnward(options: PortOptions, label: string, state: NetworkState): Promise<number[]> {
  const { after, settings } = options;
  const accuracies: number[] = [];
  for (const iterations of settings.iterations) {
    // Each count anew from the same state: the same seed makes the shorter run a beginning of the longer one.
    const choices = { data: after.train, initial: state, iterations, heldOutFraction: 0, checkpointEpochs: [] };
    const trained = iterations === 0 ? state : (await learn(options, `${label}: training onward`, 'onward', choices)).state;
    accuracies.push(await accuracyOf(options, trained, after.test));
  }
  return accuracies;
}

/** How the methods are called in tables and figures. */
export const methodLabels: Readonly<Record<PortRow['method'], string>> = {
  naive: 'Naive', fgmt: 'FGMT', gmt: 'GMT', oracle: 'Oracle', scratch: 'From scratch',
};
