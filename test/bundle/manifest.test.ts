/** The manifest: printed as it is parsed, and what a reader of revision 0 makes of a higher one (docs/format.md). */
import { expect, test } from 'vitest';
import { entryName, parseManifest, printManifest } from '../../src/bundle/manifest.ts';
import { preset } from '../../src/model/presets.ts';
import { expectTyped, utf8 } from './support.ts';

const graph = preset('mlp', { input: [1, 4, 4], classes: 3, widths: [4] });
const seeded = {
  label: 'a', epoch: null, coding: 'seed', entry: null, bytes: 620, sha256: 'a'.repeat(64), storedSha256: null, stepNorm: 0, stepError: 0,
  seed: { seed: 1, scheme: 'pytorch', mode: 'fan_in' },
} as const;
const stored = {
  ...seeded,
  label: 'b',
  epoch: 1,
  coding: 'xor',
  entry: entryName(1, 'xor'),
  storedSha256: 'b'.repeat(64),
  stepNorm: 2,
  seed: undefined,
} as const;
const { seed: _none, ...record } = stored;
const printed = printManifest({ graph, checkpoints: [seeded, record], training: { a: [1, {}], b: [] } });

type Manifest = { revision: number; graph: { nodes: object[] }; permutations: object[]; checkpoints: { seed: object }[] };
const changed = (change: (manifest: Manifest) => void, revision: number): Uint8Array => {
  const manifest = JSON.parse(new TextDecoder().decode(printed)) as Manifest;
  manifest.revision = revision;
  change(manifest);
  return utf8(JSON.stringify(manifest));
};

test('is printed as JSON.stringify prints it', () => {
  const text = new TextDecoder().decode(printed);
  expect(text).toBe(`${JSON.stringify(JSON.parse(text), null, 1)}\n`);
});

test('what could not be read again is not printed', async () => {
  await expectTyped(() => printManifest({ graph, checkpoints: [], training: null }), 'malformed-file');
  await expectTyped(() => printManifest({ graph, checkpoints: [{ ...seeded, stepNorm: Number.NaN }], training: null }), 'malformed-file');
});

test.each<[string, (manifest: Manifest) => void]>([
  ['the manifest', (manifest) => Object.assign(manifest, { extra: 1 })],
  ['a checkpoint', (manifest) => Object.assign(manifest.checkpoints[0] as object, { extra: 1 })],
])('a higher revision may add fields to %s', async (_name, change) => {
  expect(parseManifest(changed(change, 1)).checkpoints.map(({ label }) => label)).toEqual(['a', 'b']);
  await expectTyped(() => parseManifest(changed(change, 0)), 'malformed-file');
});

test.each<[string, (manifest: Manifest) => void]>([
  ['the graph', (manifest) => Object.assign(manifest.graph, { extra: 1 })],
  ['a node', (manifest) => Object.assign(manifest.graph.nodes[0] as object, { extra: 1 })],
  ['a permutable group', (manifest) => Object.assign(manifest.permutations[0] as object, { extra: 1 })],
  ['a seed', (manifest) => Object.assign(manifest.checkpoints[0]?.seed as object, { extra: 1 })],
])('and to %s it may not', async (_name, change) => {
  await expectTyped(() => parseManifest(changed(change, 1)));
});
