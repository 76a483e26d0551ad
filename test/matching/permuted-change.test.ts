// Points of a transfer against the same in plain JavaScript: to the last bit, whatever piece of a tensor is on the heap.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { InvalidArgumentError } from '../../src/core/errors.ts';
import { identityPermutations, permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { addPermutedChange, interpolate } from '../../src/matching/permuted-change.ts';
import type { NamedTensors } from '../../src/tensor/tensor.ts';
import { randomTensors, specOf } from './straightforward.ts';

/** Moving axes in every place, and what is larger than a piece: one run, many short runs, columns, rows with an odd rest. */
const spec = specOf(
  {
    conv: [[5, 'a'], [3, null], [2, null], [2, null]],
    inner: [[7, 'b'], [5, 'a'], [3, null]],
    dense: [[4, 'c'], [7, 'b'], [6, null]],
    square: [[5, 'a'], [5, 'a']],
    wide: [[2, null], [5, 'a'], [40, null]],
    fixed: [[40_003, null]],
    long: [[5, 'a'], [20_001, null]],
    short: [[7, 'b'], [5, 'a'], [900, null]],
    columns: [[9001, null], [5, 'a']],
  },
  { dense: [4, 42] },
);
const [before, now, base] = [randomTensors(spec, 1), randomTensors(spec, 8), randomTensors(spec, 9)];
const map = (a: NamedTensors, b: NamedTensors, body: (x: number, y: number) => number): NamedTensors =>
  new Map([...a].map(([name, { shape, data }]) => [name, { shape, data: data.map((x, i) => body(x, b.get(name)?.data[i] as number)) }]));

/** vitest's own comparison takes seconds for arrays of this size. */
function expectSame(got: NamedTensors, expected: NamedTensors): void {
  expect([...got.keys()]).toEqual([...expected.keys()]);
  for (const [name, { shape, data }] of expected) {
    expect(got.get(name)?.shape).toEqual(shape);
    expect(Buffer.from(data.buffer).equals(Buffer.from(got.get(name)?.data.buffer as ArrayBuffer)), name).toBe(true);
  }
}

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => {
  expect(core.liveAllocations).toBe(0);
  core[Symbol.dispose]();
});

test('addPermutedChange: base + π(now − before), in arrays of the caller where there are some', () => {
  for (const moved of [randomPermutations(spec, 2), identityPermutations(spec)]) {
    const change = permuteTensors(spec, map(now, before, (x, y) => x - y), moved);
    const expected = map(base, change, (x, y) => x + y);
    expectSame(addPermutedChange(core, spec, base, now, before, moved), expected);
    const into = randomTensors(spec, 10);
    const sum = addPermutedChange(core, spec, base, now, before, moved, into);
    expectSame(sum, expected);
    expect(sum.get('inner')?.data).toBe(into.get('inner')?.data);
  }
  expect(() => addPermutedChange(core, spec, base, new Map(), before, identityPermutations(spec))).toThrow(InvalidArgumentError);
});

test('interpolate: a + c·(b − a) in f64, rounded once', () => {
  for (const c of [0, 0.3, 1]) {
    const expected = map(before, now, (x, y) => x + c * (y - x));
    expectSame(interpolate(core, before, now, c), expected);
    const into = randomTensors(spec, 10);
    expect(interpolate(core, before, now, c, into).get('fixed')?.data).toBe(into.get('fixed')?.data);
    expectSame(into, expected);
  }
});
