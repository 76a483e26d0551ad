/** The example in docs/networks.md runs as it stands: its network is sound, moves under its spec and has a gradient. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import type { PermutationSpec } from '../../src/model/permutation-spec.ts';
import { measureEquivalence } from './equivalence.ts';

const folder = join(process.cwd(), 'build', `networks-document-${process.pid}`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the custom network of docs/networks.md', async () => {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(readFileSync(new URL('../../docs/networks.md', import.meta.url), 'utf8')) as RegExpExecArray;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'example.ts'), (code as string).replace("'trajport'", JSON.stringify(join(process.cwd(), 'src', 'index.ts'))));
  const { graph, spec } = (await import(join(folder, 'example.ts'))) as { graph: ModelGraph; spec: PermutationSpec };
  expect(spec.groups.map(({ id, size }) => [id, size])).toEqual([['stem', 16], ['first.squeeze', 4], ['second.squeeze', 4]]);
  for (const training of [false, true]) {
    expect(measureEquivalence(graph, spec, 1, training).difference).toBeLessThan(1e-12);
  }
  using core = await openCore();
  using engine = openGradientEngine(core);
  using network = engine.compile(graph);
  const inputs = Float32Array.from({ length: 4 * 3 * 32 * 32 }, (_, i) => ((i * 7919) % 1009) / 1009);
  const { losses } = network.gradient(initialise(core, graph, { seed: 1 }), [{ inputs, labels: Int32Array.of(0, 1, 2, 3), count: 4 }]);
  expect(losses[0]).toBeGreaterThan(1);
});
