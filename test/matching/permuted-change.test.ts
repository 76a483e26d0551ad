// Points of a transfer against the same in plain JavaScript: to the last bit, whatever piece of a tensor is on the heap.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { InvalidArgumentError } from '../../src/core/errors.ts';
import { identityPermutations, permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { permutedChange, pointAt, pointBetween, readWritten } from '../../src/matching/permuted-change.ts';
import { ResidentLine, residentLineBytes } from '../../src/matching/resident-line.ts';
import { tensorBytes } from '../../src/tensor/tensor.ts';
import type { NamedTensors, TensorWriter } from '../../src/tensor/tensor.ts';
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

test('base + π(now − before), of points of both kinds', () => {
  const between = map(before, now, (x, y) => x + 0.3 * (y - x));
  for (const moved of [randomPermutations(spec, 2), identityPermutations(spec)]) {
    for (const [numbers, point] of [
      [now, pointAt(core, spec, before, now)], [between, pointBetween(core, spec, before, now, 0.3)],
    ] as const) {
      const change = permuteTensors(spec, map(numbers, before, (x, y) => x - y), moved);
      const write = permutedChange(core, spec, base, point.writeChange as TensorWriter, moved);
      expectSame(readWritten(core, write, base), map(base, change, (x, y) => x + y));
    }
  }
});

test('points: a + c·(b − a) in f64, rounded once, or as they are given; none has changed at the start', () => {
  for (const c of [0, 0.3, 1]) {
    expectSame(readWritten(core, pointBetween(core, spec, before, now, c).write, base), map(before, now, (x, y) => x + c * (y - x)));
  }
  expectSame(readWritten(core, pointAt(core, spec, before, now).write, base), now);
  expect(pointAt(core, spec, before, before).writeChange).toBeUndefined();
});

test('a line on the heap gives the same points and changes, and leaves nothing behind', () => {
  const live = core.liveAllocations;
  const line = ResidentLine.open(core, spec, before, now, base) as ResidentLine;
  expect(core.liveAllocations).toBe(live + 3 * base.size);
  for (const c of [0.3, 0.875]) {
    const between = map(before, now, (x, y) => x + c * (y - x));
    expectSame(readWritten(core, line.point(c), base), between);
    for (const moved of [randomPermutations(spec, 2), identityPermutations(spec)]) {
      const change = permuteTensors(spec, map(between, before, (x, y) => x - y), moved);
      expectSame(readWritten(core, line.permutedChange(c, moved), base), map(base, change, (x, y) => x + y));
    }
  }
  line[Symbol.dispose]();
  expect(core.liveAllocations).toBe(live);
});

test('a line is not taken to the heap where it is large beside it, nor with tensors of other shapes', () => {
  const bytes = tensorBytes(base);
  expect(residentLineBytes(bytes, 3 * 256 * bytes)).toBe(3 * bytes);
  expect(residentLineBytes(bytes, 3 * 256 * bytes - 1)).toBe(0);
  const live = core.liveAllocations;
  const wrong = new Map([...now, ['long', { shape: [3], data: new Float32Array(3) }] as const]);
  expect(() => ResidentLine.open(core, spec, before, wrong, base)).toThrow(InvalidArgumentError);
  expect(() => ResidentLine.open(core, spec, new Map(), now, base)).toThrow(InvalidArgumentError);
  expect(core.liveAllocations).toBe(live);
});

test('readWritten: in arrays of the caller where there are some', () => {
  const { write } = pointAt(core, spec, before, now);
  const into = randomTensors(spec, 10);
  expect(readWritten(core, write, base, into).get('inner')?.data).toBe(into.get('inner')?.data);
  expectSame(into, now);
  expect(readWritten(core, write, base).get('inner')?.data).not.toBe(now.get('inner')?.data);
});

test('writers refuse what the spec or an operand lacks, and shapes that differ', () => {
  const identity = identityPermutations(spec);
  const lacking = { ...spec, tensors: new Map([...spec.tensors].filter(([name]) => name !== 'fixed')) };
  const wrong = new Map([...now, ['fixed', { shape: [3], data: new Float32Array(3) }] as const]);
  for (const point of [
    pointAt(core, spec, before, new Map()),
    pointAt(core, spec, before, wrong),
    pointBetween(core, spec, wrong, now, 0.5),
    pointAt(core, lacking, before, now),
  ]) {
    for (const write of [point.write, permutedChange(core, spec, base, point.writeChange as TensorWriter, identity)]) {
      expect(() => readWritten(core, write, base)).toThrow(InvalidArgumentError);
    }
  }
  const { writeChange } = pointAt(core, spec, before, now);
  expect(() => readWritten(core, permutedChange(core, spec, wrong, writeChange as TensorWriter, identity), base)).toThrow(
    InvalidArgumentError,
  );
  expect(() => permutedChange(core, spec, base, writeChange as TensorWriter, new Map())).toThrow(InvalidArgumentError);
});
