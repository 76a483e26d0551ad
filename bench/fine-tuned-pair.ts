/**
 * A fine-tune and another base to port it to, as comparisons of solvers need them: both bases trained on the old task,
 * both last layers drawn anew, then both fine-tuned on the new one (the second only as a yardstick). Kept under build/,
 * because training takes a minute a draw.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Batch } from '../src/data/batch.ts';
import { makeBatch } from '../src/data/data-set.ts';
import type { ImageSet } from '../src/data/image-set.ts';
import { withFreshHead } from '../src/transfer/replaced-head.ts';
import { type Compute, type ModelGraph, parameterLayout, stateFromSafetensors, stateToSafetensors, train } from '../src/index.ts';
import { identityPermutations } from '../src/matching/permutation.ts';
import { permutedChange, pointBetween } from '../src/matching/permuted-change.ts';
import { derivePermutationSpec } from '../src/model/permutation-spec.ts';
import { Random, streams } from '../src/tensor/random.ts';
import type { NamedTensors, NetworkState, TensorWriter } from '../src/tensor/tensor.ts';
import type { GradientPair } from './gradient-pairs.ts';

export interface FineTunedPair {
  /** The first base with a new last layer, and where fine-tuning brought it. */
  readonly start: NetworkState;
  readonly end: NetworkState;
  /** The second base with a new last layer, and the fine-tune that a port should spare. */
  readonly target: NetworkState;
  readonly truth: NetworkState;
  /** Of the first fine-tune: its held-out images. */
  readonly seed: number;
}

const parts = ['start', 'end', 'target', 'truth'] as const;

/** @param draw seeds of the two networks follow from it. */
export async function fineTunedPair(
  compute: Compute,
  name: string,
  graph: ModelGraph,
  tasks: { readonly before: ImageSet; readonly after: ImageSet },
  epochs: number,
  draw: number,
): Promise<FineTunedPair> {
  const seed = 10 * draw;
  const layout = parameterLayout(graph);
  const folder = join('build', 'bench', 'fine-tuned');
  const path = (part: string): string => join(folder, `${name}-${tasks.after.count}-${epochs}-${draw}-${part}.safetensors`);
  if (!parts.every((part) => existsSync(path(part)))) {
    console.error(`${name}, draw ${draw}: training two bases and their fine-tunes`);
    const learn = async (data: ImageSet, jobSeed: number, initial?: NetworkState): Promise<NetworkState> =>
      (
        await train({
          graph,
          data,
          seed: jobSeed,
          epochs,
          learningRate: 0.05,
          learningRateSchedule: 'cosine',
          checkpointEpochs: [],
          compute,
          ...(initial === undefined ? {} : { initial }),
        })
      ).state;
    const start = withFreshHead(compute, graph, await learn(tasks.before, seed + 1), seed + 5);
    const target = withFreshHead(compute, graph, await learn(tasks.before, seed + 2), seed + 6);
    const made = { start, target, end: await learn(tasks.after, seed + 3, start), truth: await learn(tasks.after, seed + 4, target) };
    mkdirSync(folder, { recursive: true });
    for (const part of parts) writeFileSync(path(part), stateToSafetensors(layout, made[part]));
  }
  const [start, end, target, truth] = parts.map((part) => stateFromSafetensors(layout, readFileSync(path(part)))) as [
    NetworkState,
    NetworkState,
    NetworkState,
    NetworkState,
  ];
  return { start, end, target, truth, seed: seed + 3 };
}

/**
 * Pairs of gradients of the same mini-batches along the fine-tune's line: on the first network, and on the second
 * shifted as it is (π = identity).
 */
export function pairsAlong(
  compute: Compute,
  graph: ModelGraph,
  { start, end, target, seed }: FineTunedPair,
  data: ImageSet,
  count: number,
): Omit<GradientPair, 'factored'>[] {
  using network = compute.engine.compile(graph);
  const random = new Random(seed, streams.batches, 2);
  const spec = derivePermutationSpec(graph);
  const gradient = (writeParameter: TensorWriter, { buffers }: NetworkState, batch: Batch): NamedTensors =>
    network.gradient({ writeParameter, buffers }, [batch]).gradients;
  return Array.from({ length: count }, (_, step) => {
    const batch = makeBatch(
      data,
      Array.from({ length: 128 }, () => random.below(data.count)),
    );
    const source = pointBetween(compute.core, spec, start.parameters, end.parameters, step / count);
    const shifted = permutedChange(compute.core, spec, target.parameters, source.writeChange, identityPermutations(spec));
    return { target: gradient(shifted, target, batch), source: gradient(source.write, start, batch) };
  });
}
