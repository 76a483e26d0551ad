/** Tiny networks of transformers with LoRA adapters that PEFT trained, merged and scored (`make.py`), and their graphs. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Adapter, readAdapter } from '../../../../src/bundle/foreign/adapter.ts';
import { toFloat32 } from '../../../../src/bundle/dtype.ts';
import { type ForeignFileRead, readForeign } from '../../../../src/bundle/foreign/formats.ts';
import type { JsonObject } from '../../../../src/bundle/json.ts';
import type { RawTensor } from '../../../../src/bundle/safetensors.ts';
import type { Batch } from '../../../../src/data/batch.ts';
import type { ModelGraph } from '../../../../src/model/graph.ts';
import { preset } from '../../../../src/model/presets.ts';

const block = { width: 8, heads: 2, depth: 2 } as const;
const tokens = Int32Array.of(1, 4, 7, 9, 10, 2, 3, 5, 1, 5, 2, 8, 6, 4, 4, 9);
const pixels = Float32Array.from({ length: 2 * 192 }, (_, i) => -1 + (2 * i) / (2 * 192 - 1));

const networks = {
  distilbert: {
    graph: preset('distilbert', { ...block, input: [8], classes: 3, vocabulary: 11, positions: 8 }),
    batch: { inputs: tokens, labels: Int32Array.of(0, 2), count: 2 },
  },
  gpt2: { graph: preset('gpt2', { ...block, input: [8], classes: 11 }), batch: { inputs: tokens, labels: tokens, count: 2 } },
  vit: {
    graph: preset('vit', { ...block, input: [3, 8, 8], classes: 3, patch: 4 }),
    batch: { inputs: pixels, labels: Int32Array.of(0, 2), count: 2 },
  },
} as const;
export type AdaptedNetwork = keyof typeof networks;
export const adaptedNetworks = Object.keys(networks) as AdaptedNetwork[];

export interface AdaptedCase {
  readonly graph: ModelGraph;
  /** What the scores are of. */
  readonly batch: Batch;
  readonly base: ForeignFileRead;
  readonly file: ForeignFileRead;
  readonly config: JsonObject;
  readonly adapter: Adapter;
  /** PEFT's merged weights, and `scores`. */
  readonly merged: ForeignFileRead;
}

export const folderOf = (name: AdaptedNetwork): string => fileURLToPath(new URL(name, import.meta.url));

export async function adaptedCase(name: AdaptedNetwork): Promise<AdaptedCase> {
  const read = (file: string): Promise<ForeignFileRead> => readForeign({ name: file, bytes: readFileSync(`${folderOf(name)}/${file}`) });
  const file = await read('adapter_model.safetensors');
  const config = JSON.parse(readFileSync(`${folderOf(name)}/adapter_config.json`, 'utf8')) as JsonObject;
  const [base, merged] = [await read('base.safetensors'), await read('merged.safetensors')];
  return { ...networks[name], base, file, config, adapter: readAdapter(file, config), merged };
}

export const valuesOf = (tensors: ReadonlyMap<string, RawTensor>, name: string): Float32Array => {
  const { dtype, bytes } = tensors.get(name) as RawTensor;
  return toFloat32(name, dtype, bytes);
};

export const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] as number))), a.length === b.length ? 0 : Infinity);
