/**
 * The whole way for one small network, and SHA-256 of everything that came out: what the identity command runs in each
 * host. Train two bases, fine-tune one of them, pack its trajectory into a bundle, port it by FGMT and GMT, train onward.
 */
import {
  evaluate, openBundle, openCompute, preset, stateSha256, train, transfer, verify, writeBundle,
} from '../../src/index.ts';
import type { Core, ModelGraph, NetworkState, TransferResult } from '../../src/index.ts';
import { sha256Hex } from '../../src/core/sha256.ts';
import { sequential } from '../../src/model/builder.ts';
import type { Layer } from '../../src/model/builder.ts';
import type { NetworkName } from './networks.ts';
import { CONTEXT, LANGUAGES, VOCABULARY, glyphs, language, texts } from './tasks.ts';
import type { Tasks } from './tasks.ts';

export interface IdentityResult {
  /** SHA-256 over `parts`, in order. */
  readonly sha256: string;
  /** Hashes by name of what came out on the way: tells where two runtimes part. */
  readonly parts: Readonly<Record<string, string>>;
}

/** The heap of a Worker: every host keeps to it, so that none can take a way that another has no room for. */
const HEAP_LIMIT_BYTES = 96 * 2 ** 20;
const BATCH_SIZE = 32;

const image = { input: [1, 28, 28], classes: 10 };
const framedImage = { input: [1, 32, 32], classes: 10 };

function graphOf(network: NetworkName): ModelGraph {
  switch (network) {
    case 'mlp':
      return preset('mlp', { ...image, widths: [96, 64] });
    case 'conv':
      return preset('small-conv', { ...image, width: 8 });
    case 'vgg':
      return preset('vgg11_bn', { ...framedImage, width: 0.06 });
    case 'resnet':
      return preset('resnet-small', { ...image, width: 4 });
    case 'mobilenet':
      return depthwiseNetwork(image.input, image.classes);
    case 'convnext':
      return preset('convnext', { ...framedImage, width: 8, blocks: [1, 1, 1, 1] });
    case 'vit':
      return preset('vit', { ...image, width: 24, depth: 2, heads: 2, patch: 7 });
    case 'mixer':
      return preset('mixer', { ...image, width: 24, depth: 2, patch: 7 });
    case 'gpt2':
      return preset('gpt2', { input: [CONTEXT], classes: VOCABULARY, width: 24, depth: 2, heads: 2 });
    case 'distilbert':
      return preset('distilbert', { input: [CONTEXT], classes: LANGUAGES, vocabulary: VOCABULARY + 1, width: 24, depth: 2, heads: 2 });
  }
}

function tasksOf(network: NetworkName, core: Core): Tasks {
  if (network === 'gpt2') return language();
  if (network === 'distilbert') return texts();
  return glyphs(core, network === 'vgg' || network === 'convnext' ? 2 : 0);
}

/** MobileNetV2's parts without its depth (the preset's 53 convolutions would take a minute a host): both strides, one residual. */
function depthwiseNetwork(input: readonly number[], classes: number): ModelGraph {
  const normed = (
    name: string,
    settings: {
      readonly out: number; readonly kernel: number; readonly stride?: number; readonly padding?: number; readonly groups?: number;
    },
  ): Layer[] => [
    { op: 'conv2d', name, bias: false, ...settings }, { op: 'batch_norm', name: `${name}.norm` },
  ];
  const inverted = (name: string, out: number, stride: number): Layer[] => [
    ...normed(`${name}.up`, { out: 24, kernel: 1 }), { op: 'relu6' },
    ...normed(`${name}.depthwise`, { out: 24, kernel: 3, stride, padding: 1, groups: 24 }), { op: 'relu6' },
    ...normed(`${name}.down`, { out, kernel: 1 }),
  ];
  return sequential(input, [
    ...normed('stem', { out: 8, kernel: 3, stride: 2, padding: 1 }), { op: 'relu6' },
    { op: 'residual', body: inverted('block1', 8, 1) },
    ...inverted('block2', 16, 2),
    { op: 'global_average_pool' }, { op: 'flatten' }, { op: 'dense', name: 'classifier', out: classes },
  ]);
}

export async function run({ network }: { readonly network: NetworkName }): Promise<IdentityResult> {
  using compute = await openCompute({ heapLimitBytes: HEAP_LIMIT_BYTES });
  const { before, after, test } = tasksOf(network, compute.core);
  const graph = graphOf(network);
  const parts: Record<string, string> = {};
  const common = { graph, batchSize: BATCH_SIZE, compute } as const;
  const sgd = { kind: 'sgd', momentum: 0.9, weightDecay: 1e-4 } as const;

  const base = async (seed: number): Promise<NetworkState> =>
    (await train({ ...common, data: before, seed, iterations: 20, learningRate: 0.02, optimiser: sgd })).state;
  const source = await base(1);
  const target = await base(2);
  parts['source base'] = await stateSha256(graph, source);
  parts['target base'] = await stateSha256(graph, target);

  const tuned = await train({
    ...common,
    data: after,
    seed: 3,
    epochs: 2,
    checkpointEpochs: [1, 2],
    learningRate: 1e-3,
    optimiser: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
    initial: source,
  });
  parts['losses'] = await numbersSha256(tuned.losses);
  const file = await writeBundle({ graph, checkpoints: tuned.checkpoints });
  parts['bundle'] = await sha256Hex(file);

  using bundle = await openBundle(file);
  for (const method of ['fgmt', 'gmt'] as const) {
    const ported = await transfer({
      source: bundle,
      target,
      data: after,
      method,
      ...(method === 'fgmt' ? { steps: 4, trajectory: 'linear' } : { trajectory: 'real' }),
      batchSize: BATCH_SIZE,
      seed: 4,
      statisticsBatches: 4,
      compute,
    });
    parts[`${method} state`] = ported.record.sha256;
    parts[`${method} steps`] = await stepsSha256(ported);
    const onward = await train({
      ...common,
      data: after,
      seed: 5,
      iterations: 20,
      learningRate: 0.01,
      optimiser: sgd,
      initial: ported.state,
    });
    parts[`${method} onward losses`] = await numbersSha256(onward.losses);
    const { state } = onward;
    parts[`${method} onward state`] = await stateSha256(graph, state);
    const { loss, correct } = await evaluate({ graph, state, data: test, compute });
    parts[`${method} onward test`] = await numbersSha256([loss, correct]);
  }
  const { largestOutputDifference } = await verify({ graph, state: target, seed: 6, compute });
  parts['verify'] = await numbersSha256([largestOutputDifference]);
  return { sha256: await textSha256(Object.values(parts).join('\n')), parts };
}

async function stepsSha256({ chosenStep, steps, permutations }: TransferResult): Promise<string> {
  const numbers = steps.flatMap(({ step, fraction, objective, sweeps, heldOut }) => {
    if (heldOut === undefined) throw new Error('nothing was held out');
    return [step, fraction, objective ?? -1, sweeps ?? -1, heldOut.loss, heldOut.accuracy];
  });
  return numbersSha256([chosenStep, ...numbers, ...[...permutations.values()].flatMap((perm) => [...perm])]);
}

function numbersSha256(numbers: readonly number[]): Promise<string> {
  return sha256Hex(new Uint8Array(new Float64Array(numbers).buffer));
}

function textSha256(text: string): Promise<string> {
  return sha256Hex(new TextEncoder().encode(text));
}
