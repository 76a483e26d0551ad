/** The rules of docs/formats.md: lists that are read, whose names are the presets' own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeMisfits } from '../../src/bundle/foreign/map-names.ts';
import { parseNameRules } from '../../src/bundle/foreign/name-rules.ts';
import { stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { preset } from '../../src/model/presets.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { root } from '../cli/fixtures.ts';

const [kinds, numbered] = [...readFileSync(join(root, 'docs', 'formats.md'), 'utf8').matchAll(/^```json\n(.*?)^```/gms)].map(([, json]) =>
  parseNameRules(new TextEncoder().encode(json)),
);

const file = (shapes: Readonly<Record<string, readonly number[]>>) => ({
  convention: 'pytorch' as const,
  metadata: new Map(),
  tensors: new Map(Object.entries(shapes).map(([name, shape]) => [
    name, { dtype: 'F32' as const, shape, bytes: new Uint8Array(4 * elementCount(shape)) },
  ])),
});

it('take an nn.Sequential for the MLP', () => {
  const graph = preset('mlp', { input: [1, 4, 4], widths: [8], classes: 3 });
  const sequential = file({ '0.weight': [8, 16], '0.bias': [8], '2.weight': [3, 8], '2.bias': [3] });
  expect(describeMisfits(stateFromForeign(graph, sequential).report)).toHaveLength(8);
  expect(describeMisfits(stateFromForeign(graph, sequential, numbered).report)).toEqual([]);
});

it('of every kind give the names of the MLP', () => {
  const graph = preset('mlp', { input: [64, 7, 7], widths: [512], classes: 3 });
  const mixed = file({
    'optimizer_weights/a/b': [2], proj: [7 * 7 * 64, 512], 'model_weights/linear1/linear1/bias': [512], 'fc2.weight': [3, 512],
    'fc2.bias': [3],
  });
  expect(describeMisfits(stateFromForeign(graph, mixed, kinds).report)).toEqual([]);
});
