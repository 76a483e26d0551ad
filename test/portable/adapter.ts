/** A LoRA adapter on the way from one base to the other: merged, ported and written to the same bytes everywhere. */
import { readAdapter } from '../../src/bundle/foreign/adapter.ts';
import type { ForeignCheckpoint } from '../../src/bundle/foreign/checkpoint.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { imageSet } from '../../src/data/image-set.ts';
import {
  initialise, openCompute, portAdapter, preset, stateFromAdapter, stateFromForeign, trajectoryFromStates, transfer, writeForeign,
} from '../../src/index.ts';
import { getTensor } from '../../src/tensor/tensor.ts';
import type { NamedTensors, NetworkState } from '../../src/tensor/tensor.ts';
import { ok, sameEverywhere, test } from './harness.ts';
import { values } from './values.ts';

const graph = preset('mlp', { input: [36], classes: 4, widths: [20, 12] });
const RANK = 3;

const raw = (shape: readonly number[], data: Float32Array): RawTensor => ({ dtype: 'F32', shape, bytes: new Uint8Array(data.slice().buffer) });
const fileOf = (tensors: Iterable<readonly [string, RawTensor]>): ForeignCheckpoint =>
  ({ tensors: new Map(tensors), metadata: new Map(), convention: 'pytorch' });
const baseFile = ({ parameters }: NetworkState): ForeignCheckpoint =>
  fileOf([...parameters].map(([name, { shape, data }]) => [name, raw(shape, data)] as const));

function adapterFile(parameters: NamedTensors): ForeignCheckpoint {
  let seed = 30;
  const factors = ['linear1', 'linear2'].flatMap((module) => {
    const [outputs, inputs] = getTensor(parameters, `${module}.weight`).shape as [number, number];
    const named = (factor: string): string => `base_model.model.${module}.lora_${factor}.weight`;
    return [
      [named('A'), raw([RANK, inputs], values(RANK * inputs, seed++))], [named('B'), raw([outputs, RANK], values(outputs * RANK, seed++))],
    ] as const;
  });
  return fileOf([...factors, ['base_model.model.linear3.bias', raw([4], values(4, seed))]]);
}

test('adapter: merged and ported to the same bytes everywhere, and the target with it is the ported network', async () => {
  using compute = await openCompute();
  const [v1, v2] = [1, 2].map((seed) => initialise(compute.core, graph, { seed })) as [NetworkState, NetworkState];
  const config = { peft_type: 'LORA', r: RANK, lora_alpha: 2, use_rslora: true };
  const adapter = readAdapter(adapterFile(v1.parameters), config);
  const end = (await stateFromAdapter(graph, baseFile(v1), adapter)).state as NetworkState;
  const pixels = Uint8Array.from(values(120 * 36, 40), (value) => 128 + Math.trunc(100 * value));
  const data = imageSet({
    name: 'noise', images: pixels, labels: Uint8Array.from({ length: 120 }, (_, i) => i % 4), channels: 1, height: 6, width: 6,
  });
  const source = trajectoryFromStates(graph, [{ label: 'v1', state: v1 }, { label: 'adapted', state: end }]);
  const result = await transfer({ source, target: v2, data, method: 'fgmt', seed: 5, steps: 3, batchSize: 16, stopRule: 'last', compute });
  ok([...result.permutations.values()].some((perm) => perm.some((from, i) => from !== i)), 'no unit moved');

  const base = baseFile(v2);
  const ported = await portAdapter({ graph, adapter, base, target: v2, result });
  const { files } = await writeForeign(ported, { format: 'safetensors', name: 'adapter_model.safetensors' });
  await sameEverywhere('adapter ported', files[0]?.bytes ?? new Uint8Array(0));
  const again = (await stateFromAdapter(graph, base, readAdapter(fileOf(ported), config))).state as NetworkState;
  const plain = stateFromForeign(graph, base).state as NetworkState;
  let [furthest, moved] = [0, 0];
  for (const [name, { data: wanted }] of result.state.parameters)
    for (const [i, value] of wanted.entries()) {
      const at = (state: NetworkState): number => state.parameters.get(name)?.data[i] ?? NaN;
      furthest = Math.max(furthest, Math.abs(at(again) - value));
      moved = Math.max(moved, Math.abs(at(plain) - value));
    }
  ok(furthest < 1e-6 && moved > 0.1, `the target with the adapter is up to ${furthest} from the ported network, without it ${moved}`);
});
