/** Adapters of PEFT as parts of requests: the fixtures' networks, a v2 with the names of v1's file, and data of each kind. */
import { readFileSync } from 'node:fs';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import type { ForeignFileRead } from '../../src/bundle/foreign/formats.ts';
import { stateFromAdapter, stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { imageSet, normalised } from '../../src/data/image-set.ts';
import { portAdapter, sequenceSet, tokenSet, trajectoryFromStates, transfer, writeBundle } from '../../src/index.ts';
import type { Compute, DataSet, NetworkState, TransferChoices, TransferMethod } from '../../src/index.ts';
import { adaptedCase, folderOf, valuesOf } from '../bundle/foreign/adapters/cases.ts';
import type { AdaptedCase, AdaptedNetwork } from '../bundle/foreign/adapters/cases.ts';
import { idxLabels } from '../cli/fixtures.ts';

const COUNT = 60;
const labels = Uint8Array.from({ length: COUNT }, (_, i) => i % 3);
export const lines = Array.from({ length: COUNT }, (_, i) =>
  `${JSON.stringify({ tokens: Array.from({ length: 6 }, (__, k) => 1 + ((i * 7 + k * k + i * k) % 10)), label: i % 3 })}\n`).join('');
export const numbers = Array.from({ length: 401 }, (_, i) => (i * i + 3 * i) % 11);
export const pixels = Uint8Array.from({ length: COUNT * 192 }, (_, i) => (i * 37 + Math.floor(i / 192) * 91) % 256);
export const normalisation = { mean: [0.5, 0.4, 0.3], std: [0.5, 0.25, 0.5] };

const parse = (line: string): { tokens: number[]; label: number } => JSON.parse(line) as { tokens: number[]; label: number };

/** The data by ways of its own, and as parts. */
const data: Readonly<Record<AdaptedNetwork, { readonly set: DataSet; readonly parts: Readonly<Record<string, Uint8Array | string>> }>> = {
  distilbert: {
    set: sequenceSet({
      name: 'texts', length: 8, padding: 0, vocabulary: 11, classes: 3, labels: [...labels],
      sequences: lines.trimEnd().split('\n').map((line) => parse(line).tokens),
    }),
    parts: { sequences: new TextEncoder().encode(lines) },
  },
  gpt2: {
    set: tokenSet({ name: 'tokens', tokens: Uint16Array.from(numbers), length: 8, vocabulary: 11 }),
    parts: { tokens: Uint8Array.from(numbers.flatMap((number) => [number, 0])) },
  },
  vit: {
    set: normalised(
      imageSet({ name: 'images', images: pixels, labels, channels: 3, height: 8, width: 8, classes: 3 }),
      normalisation.mean, normalisation.std,
    ),
    parts: {
      images: Buffer.concat([Buffer.from([0, 0, 8, 4, 0, 0, 0, COUNT, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 8]), pixels]),
      labels: idxLabels(labels),
    },
  },
};

export const choices = { method: 'fgmt', seed: 4, steps: 3, batchSize: 16, stopRule: 'last' } as const;

export interface Material extends AdaptedCase {
  readonly v2: ForeignFileRead;
  /** Without those that say what is ported. */
  readonly common: Readonly<Record<string, Uint8Array | string>>;
  readonly adapterParts: Readonly<Record<'adapter' | 'config', Uint8Array>>;
  readonly basePart: Readonly<Record<'base' | 'graph', Uint8Array | string>>;
  readonly bundle: Uint8Array<ArrayBuffer>;
}

const fileOf = (network: AdaptedNetwork, name: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(readFileSync(`${folderOf(network)}/${name}`));
const stateOf = (graph: AdaptedCase['graph'], file: ForeignFileRead): NetworkState => stateFromForeign(graph, file).state as NetworkState;

export async function materialOf(network: AdaptedNetwork): Promise<Material> {
  const given = await adaptedCase(network);
  const { graph, base, adapter } = given;
  const other = new Map([...base.tensors].map(([name, tensor]): [string, RawTensor] => {
    const values = valuesOf(base.tensors, name).map((value, i) => value / 2 + ((i * 37) % 11) / 50);
    return [name, { dtype: 'F32', shape: tensor.shape, bytes: new Uint8Array(values.buffer) }];
  }));
  const target = writeSafetensors(other);
  return {
    ...given,
    v2: await readForeign({ name: 'v2.safetensors', bytes: target }),
    common: { target, ...data[network].parts, options: JSON.stringify(choices) },
    adapterParts: { adapter: fileOf(network, 'adapter_model.safetensors'), config: fileOf(network, 'adapter_config.json') },
    basePart: { base: fileOf(network, 'base.safetensors'), graph: JSON.stringify(graph) },
    bundle: await writeBundle({
      graph,
      checkpoints: [
        { label: 'v1', state: stateOf(graph, base) },
        { label: 'v1 with the adapter', state: (await stateFromAdapter(graph, base, adapter)).state as NetworkState },
      ],
      training: network === 'vit' ? { normalisation } : null,
    }),
  };
}

/** What the library gives, by calls of its own. */
export async function portedByLibrary(
  network: AdaptedNetwork, { graph, base, adapter, v2 }: Material, compute: Compute,
  more: Omit<TransferChoices, 'loss'> & { readonly method?: TransferMethod } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const source = trajectoryFromStates(graph, [
    { label: 'start', state: stateOf(graph, base) },
    { label: 'end', state: (await stateFromAdapter(graph, base, adapter)).state as NetworkState },
  ]);
  const target = stateFromForeign(graph, v2, [], 'v2', { zeroHead: more.zeroHead ?? false }).state as NetworkState;
  const result = await transfer({ ...choices, ...more, source, target, data: data[network].set, compute });
  return writeSafetensors(await portAdapter({ graph, adapter, base: v2, target, result }), new Map([['format', 'pt']]));
}
