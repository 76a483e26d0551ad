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
  const { graph, before, after, settings, compute, signal, onProgress, onRow } = options;
  const seedOf = (job: keyof typeof jobs): number => options.seed * 8 + jobs[job];
  const common = { graph, batchSize: settings.batchSize, learningRate: settings.learningRate, compute, signal };
  const learn = (label: string, job: keyof typeof jobs, choice: Pick<TrainOptions, 'data' | 'epochs' | 'initial'>): Promise<TrainResult> =>
    train({ ...common, ...choice, seed: seedOf(job), checkpointEpochs: [], onProgress: (event) => onProgress(label, event) });
  const accuracyOf = async (state: NetworkState, data: ImageSet): Promise<number> =>
    (await evaluate({ graph, state, data, compute, signal })).accuracy;

  const baseOf = async (version: 'v1' | 'v2'): Promise<NetworkState> => {
    const job = `${version}Base` as const;
    if (settings.baseEpochs === 0) return initialise(compute.core, graph, { seed: seedOf(job) });
    const base = (await learn(`training base ${version} on A`, job, { data: before.train, epochs: settings.baseEpochs })).state;
    return settings.freshHeads ? withFreshHead(compute, graph, base, seedOf(`${version}Head`)) : base;
  };
  const v1Base = await baseOf('v1');
  const v2Base = await baseOf('v2');
  const tune = { data: after.train, epochs: settings.fineTuneEpochs };
  const source = await train({
    ...common, ...tune, initial: v1Base, seed: seedOf('v1FineTune'), onProgress: (event) => onProgress('fine-tuning v1 on B', event),
  });
  const oracle = await learn('fine-tuning v2 on B (for Oracle)', 'v2FineTune', { ...tune, initial: v2Base });

  const onward = async (label: string, state: NetworkState): Promise<number[]> => {
    const accuracies: number[] = [];
    for (const iterations of settings.iterations) {
      // Each count anew from the same state: the same seed makes the shorter run a beginning of the longer one.
      const trained =
        iterations === 0
          ? state
          : (
              await train({
                ...common, data: after.train, initial: state, iterations, heldOutFraction: 0, checkpointEpochs: [], seed: seedOf('onward'),
                onProgress: (event) => onProgress(`${label}: training onward`, event),
              })
            ).state;
      accuracies.push(await accuracyOf(trained, after.test));
    }
    return accuracies;
  };

  const rows: PortRow[] = [];
  const complete = (row: PortRow): void => {
    rows.push(row);
    onRow?.(row);
  };
  for (const method of settings.methods) {
    const result = await transfer({
      source: source.trajectory, target: v2Base, data: after.train, method, seed: seedOf('transfer'), steps: settings.steps,
      batchesPerStep: settings.batchesPerStep, batchSize: settings.batchSize, zeroHead: settings.zeroHead, compute, signal,
      ...(method === 'oracle' ? { oracleTarget: oracle.state } : {}),
      onProgress: (event) => onProgress(`porting by ${methodLabels[method]}`, event),
    });
    complete({
      method,
      accuracies: await onward(methodLabels[method], result.state),
      gradients: result.counts.gradients,
      milliseconds: result.timings.totalMs,
      chosenStep: result.chosenStep,
      result,
    });
  }
  const scratch = await onward(methodLabels.scratch, settings.zeroHead ? withZeroHead(graph, v2Base) : v2Base);
  complete({ method: 'scratch', accuracies: scratch, gradients: 0, milliseconds: 0, chosenStep: 0 });

  return {
    seed: options.seed,
    rows,
    source,
    target: v2Base,
    reference: {
      v1Base: await accuracyOf(v1Base, before.test),
      v2Base: await accuracyOf(v2Base, before.test),
      v1FineTuned: await accuracyOf(source.state, after.test),
      v2FineTuned: await accuracyOf(oracle.state, after.test),
    },
  };
}

/** How the methods are called in tables and figures. */
export const methodLabels: Readonly<Record<PortRow['method'], string>> = {
  naive: 'Naive', fgmt: 'FGMT', gmt: 'GMT', oracle: 'Oracle', scratch: 'From scratch',
};
