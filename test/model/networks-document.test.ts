/** The example in docs/networks.md runs as it stands: its network is sound, moves under its spec and has a gradient. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { FieldReader } from '../../src/model/fields.ts';
import type { ModelGraph, OperationName } from '../../src/model/graph.ts';
import { operationNames, ruleOf } from '../../src/model/operations.ts';
import { initialise } from '../../src/model/initialise.ts';
import type { PermutationSpec } from '../../src/model/permutation-spec.ts';
import { measureEquivalence } from './equivalence.ts';

const document = readFileSync(new URL('../../docs/networks.md', import.meta.url), 'utf8');
const folder = join(process.cwd(), 'build', `networks-document-${process.pid}`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('every operation stands in the table of docs/networks.md with its settings, and no other', () => {
  const [, table = ''] = /^\| operation \|.*\n\|[-|]+\n((?:\|.*\n)+)/m.exec(document) ?? [];
  const rows = table.split('\n').map((line) => line.split(' |').map((cell) => cell.replace(/^\| /, '')));
  const told = new Map(
    rows.flatMap(([names = '', settings = ''], i) => {
      const all = settings.replace('the same', rows[i - 1]?.[1] ?? '');
      return [...names.matchAll(/`(\w+)`/g)].map(([, name]) => [name as string, all] as const);
    }),
  );
  expect([...told.keys()].toSorted()).toEqual([...operationNames].toSorted());
  // With all that some operation must have, and what a canonical form leaves out by default: what it holds besides its name.
  const given = {
    out: 2, kernel: 1, size: 1, length: 1, shape: [2], features: 2, positions: 2, types: 2, heads: 1, with: 'n',
    transposed: true, masked: true, separator: 1,
  };
  for (const op of operationNames) {
    const { op: _op, ...canonical } = ruleOf({ op: op as OperationName }).parse(new FieldReader(op, given)) as { readonly op: string };
    for (const setting of Object.keys(canonical)) expect(told.get(op), `${op}: ${setting}`).toContain(`\`${setting}\``);
  }
});

test('the custom network of docs/networks.md', async () => {
  const [, code] = /```ts\n(import \{ GraphBuilder[\s\S]*?)```/.exec(document) as RegExpExecArray;
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
