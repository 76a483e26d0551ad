/** Where the elements of an adapter's weights belong: of many tensors, more than are numbered at once, and without all names for each. */
import { expect, it, vi } from 'vitest';
import { readAdapter } from '../../src/bundle/foreign/adapter.ts';
import type { Adapter } from '../../src/bundle/foreign/adapter.ts';
import type { ForeignCheckpoint } from '../../src/bundle/foreign/checkpoint.ts';
import type * as mapping from '../../src/bundle/foreign/map-names.ts';
import { type RawTensor, rawF32 } from '../../src/bundle/safetensors.ts';
import { sequential } from '../../src/index.ts';
import type { ModelGraph } from '../../src/index.ts';
import { randomPermutations } from '../../src/matching/permutation.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { AdapterPlaces } from '../../src/transfer/adapter-places.ts';

const counted = vi.hoisted(() => ({ calls: 0 }));
vi.mock('../../src/bundle/foreign/map-names.ts', async (original) => {
  const real = await original<typeof mapping>();
  const mapNames = (...given: Parameters<typeof mapping.mapNames>) => {
    counted.calls++;
    return real.mapNames(...given);
  };
  return { ...real, mapNames };
});

const filled = (shape: readonly number[]): RawTensor => rawF32(shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(1));

function placesOf(graph: ModelGraph): AdapterPlaces {
  const weights = parameterLayout(graph).parameters.filter(({ role }) => role === 'weight');
  const file = (tensors: ForeignCheckpoint['tensors']): ForeignCheckpoint => ({ tensors, metadata: new Map(), convention: 'pytorch' });
  const base = file(new Map(parameterLayout(graph).parameters.map(({ name, shape }) => [name, filled(shape)])));
  const adapter: Adapter = readAdapter(file(new Map(weights.flatMap(({ name, shape: [outputs = 0, inputs = 0] }) => [
    [name.replace('.weight', '.lora_A'), filled([1, inputs])] as const, [name.replace('.weight', '.lora_B'), filled([outputs, 1])] as const,
  ]))), { peft_type: 'LORA', lora_alpha: 1 });
  return new AdapterPlaces(graph, adapter, base, []);
}

const mlp = (widths: readonly number[]): ModelGraph =>
  sequential([5], widths.map((out, i) => ({ op: 'dense', name: `layer${i}`, out, bias: false })));

it('are those of the permutations, of tensors larger and smaller than what is numbered at once', () => {
  const widths = [600, 600, 7, 9, 600, 3];
  const graph = mlp(widths);
  const spec = derivePermutationSpec(graph);
  const permutations = randomPermutations(spec, 3);
  const origins = placesOf(graph).origins(permutations);
  const units = spec.groups.map(({ id }) => [...(permutations.get(id) as Int32Array)]);
  expect(units.map(({ length }) => length)).toEqual(widths.slice(0, -1));
  const whole = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
  for (const [i] of widths.entries()) {
    const { rows, columns } = origins.get(`layer${i}.weight`) as { rows: Int32Array; columns: Int32Array };
    expect([...rows], `rows of ${i}`).toEqual(units[i] ?? whole(3));
    expect([...columns], `columns of ${i}`).toEqual(units[i - 1] ?? whole(5));
  }
});

it('of many small tensors take few readings of all names', () => {
  const graph = mlp(Array.from({ length: 300 }, () => 2));
  const places = placesOf(graph);
  counted.calls = 0;
  places.origins(randomPermutations(derivePermutationSpec(graph), 3));
  // Once for rows and once for columns.
  expect(counted.calls).toBe(2);
});
