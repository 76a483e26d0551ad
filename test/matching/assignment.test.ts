// Linear sum assignment against brute force and an independent solver, its duals, its refusals, its determinism.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { InvalidArgumentError, LimitError, NotFiniteError } from '../../src/core/errors.ts';
import {
  type AssignmentResult, type SimilarityMatrix, assignOnHeap, linearSumAssignment, linearSumAssignmentAsync,
} from '../../src/matching/assignment.ts';
import { below, matrixOf, normal, smallKinds, uniformFrom } from './matrices.ts';
import { bruteForce, hungarian } from './reference-assignment.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const sumOfMagnitudes = (data: ArrayLike<number>): number => {
  let sum = 0;
  for (let k = 0; k < data.length; k++) if (Number.isFinite(data[k])) sum += Math.abs(data[k] as number);
  return sum;
};

/** Everything that must hold of any result, whatever the matrix: injective, complete, objective added up, duals feasible. */
function expectSound(matrix: SimilarityMatrix, result: AssignmentResult, maximize = true): void {
  const { rows, columns, data } = matrix;
  const tolerance = 1e-12 * sumOfMagnitudes(data);
  const usedRows = new Uint8Array(rows);
  const usedColumns = new Uint8Array(columns);
  let objective = 0;
  expect(result.assignment.length).toBe(rows);
  result.assignment.forEach((j, i) => {
    if (j < 0) return;
    expect(j).toBeLessThan(columns);
    expect(usedColumns[j]).toBe(0);
    usedColumns[j] = 1;
    usedRows[i] = 1;
    objective += data[i * columns + j] as number;
  });
  expect(usedRows.reduce((a, b) => a + b, 0)).toBe(Math.min(rows, columns));
  // Rows beyond columns are added in another order when the problem was transposed.
  expect(result.objective).toBe(objective);

  const sign = maximize ? 1 : -1;
  const u = result.duals.rows;
  const v = result.duals.columns;
  let worst = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const slack = sign * ((u[i] as number) + (v[j] as number) - (data[i * columns + j] as number));
      worst = Math.max(worst, -slack, result.assignment[i] === j ? slack : 0);
    }
  }
  expect(worst).toBeLessThanOrEqual(tolerance);
  // What stays unassigned has price 0, and its side's prices are not negative.
  for (let i = 0; i < rows; i++) if (usedRows[i] === 0) expect(Math.abs(u[i] as number)).toBe(0);
  for (let j = 0; j < columns; j++) if (usedColumns[j] === 0) expect(Math.abs(v[j] as number)).toBe(0);
  if (rows < columns) for (const value of v) expect(sign * value).toBeGreaterThanOrEqual(0);
  if (rows > columns) for (const value of u) expect(sign * value).toBeGreaterThanOrEqual(0);

  if (result.certificate !== undefined) {
    expect(result.certificate).toBeGreaterThanOrEqual(0);
    expect(result.certificate).toBeLessThanOrEqual(tolerance);
    if (data.every((value) => Number.isSafeInteger(value) || !Number.isFinite(value))) expect(result.certificate).toBe(0);
  }
}

function solveAndCheck(data: Float64Array | Float32Array, rows: number, columns: number, options = {}): AssignmentResult {
  const result = linearSumAssignment(core, { rows, columns, data }, { certify: true, ...options });
  expectSound({ rows, columns, data }, result);
  return result;
}

const transpose = (data: ArrayLike<number>, rows: number, columns: number): Float64Array =>
  matrixOf(columns, rows, (i, j) => data[j * columns + i] as number);

function expectOptimal(data: Float64Array | Float32Array, rows: number, columns: number, found: number): void {
  const [d, m, n] = rows <= columns ? [data, rows, columns] : [transpose(data, rows, columns), columns, rows];
  const optimum = n <= 5 ? bruteForce(d, m, n) : hungarian(d, m, n);
  const tolerance = data.every((value) => Number.isSafeInteger(value)) ? 0 : 1e-12 * sumOfMagnitudes(data);
  expect(Math.abs(found - optimum)).toBeLessThanOrEqual(tolerance);
}

describe('optimal value', () => {
  for (const [name, kind] of Object.entries(smallKinds)) {
    test(`600 matrices: ${name}, f32, sizes 0 to 12, against brute force and an independent solver`, () => {
      const random = uniformFrom(name.length * 7919);
      const methods = ['dense', 'sparse'];
      for (let k = 0; k < 600; k++) {
        const rows = below(random, 13);
        const columns = k % 3 === 0 ? below(random, 13) : rows;
        const data = Float32Array.from(kind(random, rows, columns));
        expectOptimal(data, rows, columns, solveAndCheck(data, rows, columns, { method: methods[k % 2] }).objective);
      }
    });

    test(`24 matrices: ${name}, f64 and f32, sizes around 70 and 300`, () => {
      const random = uniformFrom(name.length * 104_729);
      for (let k = 0; k < 24; k++) {
        const rows = k < 20 ? 60 + below(random, 20) : 290 + below(random, 20);
        const columns = k % 2 === 0 ? rows : rows + below(random, 9) - 4;
        const wide = kind(random, rows, columns);
        const data = k % 4 < 2 ? wide : Float32Array.from(wide);
        expectOptimal(data, rows, columns, solveAndCheck(data, rows, columns, { method: k % 3 === 0 ? 'dense' : 'sparse' }).objective);
      }
    });
  }

  test('minimising is maximising the negated matrix', () => {
    const random = uniformFrom(11);
    for (let k = 0; k < 200; k++) {
      const rows = below(random, 9);
      const columns = below(random, 9);
      const data = matrixOf(rows, columns, () => normal(random));
      const least = linearSumAssignment(core, { rows, columns, data }, { maximize: false, certify: true });
      const most = linearSumAssignment(core, { rows, columns, data: data.map((value) => -value) });
      expectSound({ rows, columns, data }, least, false);
      expect(least.assignment).toEqual(most.assignment);
      expect(least.objective).toBe(0 - most.objective);
    }
  });

  test('forbidden pairs are avoided, or refused when that is impossible', () => {
    const random = uniformFrom(12);
    let refused = 0;
    for (let k = 0; k < 600; k++) {
      const rows = 1 + below(random, 7);
      const columns = rows + (k % 2) * below(random, 2);
      const data = Float32Array.from(matrixOf(rows, columns, () => (random() < 0.5 ? -Infinity : below(random, 10))));
      const optimum = bruteForce(data, rows, columns);
      if (Number.isNaN(optimum)) {
        refused++;
        expect(() => linearSumAssignment(core, { rows, columns, data })).toThrow(InvalidArgumentError);
        expect(() => solveAndCheck(data, rows, columns, { method: 'sparse' })).toThrow(InvalidArgumentError);
      } else {
        expect(solveAndCheck(data, rows, columns).objective).toBe(optimum);
        expect(solveAndCheck(data, rows, columns, { method: 'sparse' }).objective).toBe(optimum);
        const costs = data.map((value) => -value);
        expect(linearSumAssignment(core, { rows, columns, data: costs }, { maximize: false }).objective).toBe(0 - optimum);
      }
    }
    expect(refused).toBeGreaterThan(50);
    expect(refused).toBeLessThan(550);
  });

  test('greatest columns of their own, all rows but one, or tied: what is settled while the matrix is read', () => {
    const random = uniformFrom(17);
    for (let k = 0; k < 300; k++) {
      const rows = 2 + below(random, 40);
      const columns = rows + (k % 3) * below(random, 9);
      const settled = k % 2 === 0;
      // Row i likes column columns − 1 − i best; unsettled, the last row likes that of the first. Ties among the rest.
      const wide = matrixOf(rows, columns, (i, j) =>
        columns - 1 - j === (settled || i < rows - 1 ? i : 0) ? 9 : below(random, k % 5 === 0 ? 10 : 9),
      );
      const data = k % 4 < 2 ? wide : Float32Array.from(wide);
      const result = solveAndCheck(data, rows, columns);
      expectOptimal(data, rows, columns, result.objective);
      if (settled) expect(result.objective).toBe(9 * rows);
      expect(solveAndCheck(transpose(data, rows, columns), columns, rows).objective).toBe(result.objective);
      const costs = data.map((value) => -value);
      expect(linearSumAssignment(core, { rows, columns, data: costs }, { maximize: false }).objective).toBe(0 - result.objective);
    }
  });

  test('values up to ±1e300 in f64', () => {
    const random = uniformFrom(13);
    for (let k = 0; k < 50; k++) {
      const data = matrixOf(6, 6, () => (random() - 0.5) * 2e300);
      expectOptimal(data, 6, 6, solveAndCheck(data, 6, 6).objective);
    }
  });
});

describe('warm start', () => {
  test('gives an optimum again from any prices, good or absurd', () => {
    const random = uniformFrom(21);
    for (let k = 0; k < 200; k++) {
      const n = below(random, 40);
      const data = Float32Array.from(matrixOf(n, n, () => normal(random)));
      const cold = solveAndCheck(data, n, n);
      const drifted = data.map((value) => value + 0.01 * normal(random));
      expectOptimal(drifted, n, n, solveAndCheck(drifted, n, n, { warmStart: cold.duals }).objective);
      const absurd = { rows: new Float64Array(n), columns: Float64Array.from({ length: n }, () => normal(random) * 100) };
      const warm = linearSumAssignment(core, { rows: n, columns: n, data }, { warmStart: absurd });
      expect(Math.abs(warm.objective - cold.objective)).toBeLessThanOrEqual(1e-12 * sumOfMagnitudes(data));
    }
  });

  for (const [name, kind] of Object.entries(smallKinds)) {
    test(`48 matrices: ${name}, over lists that are made while the matrix is read, drifted, from good and from absurd prices`, () => {
      const random = uniformFrom(name.length * 15_485_863);
      for (let k = 0; k < 48; k++) {
        const n = k < 40 ? below(random, 40) : 260 + below(random, 60);
        const before = kind(random, n, n);
        const { duals } = linearSumAssignment(core, { rows: n, columns: n, data: before });
        // Dead units stay dead, and some that were alive die.
        const dead = Uint8Array.from({ length: n }, () => Number(random() < 0.1));
        const wide = before.map((value, at) =>
          value === 0 || dead[Math.floor(at / n)] || dead[at % n] ? 0 : value * (1 + 0.01 * normal(random)),
        );
        const data = k % 4 < 2 ? wide : Float32Array.from(wide);
        const absurd = { rows: duals.rows, columns: duals.columns.map((price) => price * normal(random) * 10) };
        const warmStart = k % 3 === 0 ? absurd : duals;
        expectOptimal(data, n, n, solveAndCheck(data, n, n, { method: k % 2 === 0 ? 'sparse' : 'auto', warmStart }).objective);
      }
    });
  }

  test('forbidden pairs and numbers that may not be there are met late, when lists have been made', () => {
    const random = uniformFrom(22);
    for (let k = 0; k < 40; k++) {
      const n = 250 + below(random, 100);
      const data = Float32Array.from(matrixOf(n, n, () => below(random, 100)));
      const warmStart = linearSumAssignment(core, { rows: n, columns: n, data }).duals;
      for (let j = 1; j < n; j++) data[(n - 1) * n + j] = -Infinity;
      const forbidding = solveAndCheck(data, n, n, { warmStart });
      expect(forbidding.assignment[n - 1]).toBe(0);
      expect(forbidding.objective).toBe(linearSumAssignment(core, { rows: n, columns: n, data }).objective);
      data[n * n - 1 - below(random, n)] = Number.NaN;
      expect(() => linearSumAssignment(core, { rows: n, columns: n, data }, { warmStart })).toThrow(/similarity\[\d+, \d+\]/);
    }
  });

  test('is passed by where its duals are so large that nothing is left of the similarities beside them', () => {
    const random = uniformFrom(23);
    for (const n of [2, 12, 40, 260]) {
      for (const share of [1e8, 1e14, 1e20, 1e30]) {
        for (const scale of [1, 1e-12]) {
          for (const method of ['sparse', 'dense'] as const) {
            const wide = matrixOf(n, n, () => scale * normal(random));
            const data = n === 40 ? wide : Float32Array.from(wide);
            const huge = (): Float64Array => Float64Array.from({ length: n }, () => scale * share * normal(random));
            const rows = huge();
            const columns = share === 1e14 ? new Float64Array(n) : huge();
            const maximize = n !== 12;
            const options = { method, maximize, certify: true } as const;
            const cold = linearSumAssignment(core, { rows: n, columns: n, data }, options);
            expect(linearSumAssignment(core, { rows: n, columns: n, data }, { ...options, warmStart: { rows, columns } })).toEqual(cold);
          }
        }
      }
    }
  });

  test('is taken as it is where all similarities are 0 or forbidden', () => {
    const data = Float32Array.of(0, -Infinity, 0, 0);
    const warmStart = { rows: Float64Array.of(1, 2), columns: Float64Array.of(-1, -2) };
    for (const method of ['auto', 'sparse', 'dense'] as const) {
      const { assignment, objective } = linearSumAssignment(core, { rows: 2, columns: 2, data }, { method, warmStart });
      expect([...assignment, objective]).toEqual([0, 1, 0]);
    }
  });

  test('is accepted where it can have no effect', () => {
    const matrix = { rows: 2, columns: 3, data: Float32Array.of(1, 2, 3, 3, 2, 1) };
    const cold = linearSumAssignment(core, matrix);
    expect(linearSumAssignment(core, matrix, { warmStart: cold.duals })).toEqual(cold);
  });
});

describe('on the heap', () => {
  test('gives the bytes of the copying call and leaves the matrix and the allocator as they were', () => {
    const random = uniformFrom(31);
    for (const n of [0, 1, 2, 5, 64, 100, 300]) {
      const data = Float32Array.from(matrixOf(n, n, () => normal(random)));
      const live = core.liveAllocations;
      core.scoped((scratch) => {
        const pointer = scratch.upload(data);
        expect(assignOnHeap(core, pointer, n, { certify: true })).toEqual(solveAndCheck(data, n, n));
        expect(core.f32(pointer, n * n)).toEqual(data);
      });
      expect(core.liveAllocations).toBe(live);
    }
  });

  test('refuses what does not lie on the heap, and non-finite values', () => {
    expect(() => assignOnHeap(core, core.heapBytes - 12, 2)).toThrow(InvalidArgumentError);
    expect(() => assignOnHeap(core, -4, 1)).toThrow(InvalidArgumentError);
    core.scoped((scratch) => {
      const pointer = scratch.upload(Float32Array.of(1, 2, Number.NaN, 4));
      expect(() => assignOnHeap(core, pointer, 2)).toThrow(/similarity\[1, 0\]/);
    });
  });
});

describe('determinism', () => {
  test('the same matrix gives the same bytes, whatever was solved before', () => {
    const random = uniformFrom(41);
    const n = 90;
    const matrix = { rows: n, columns: n, data: Float32Array.from(matrixOf(n, n, () => below(random, 5))) };
    const first = linearSumAssignment(core, matrix, { certify: true });
    for (let k = 1; k < 6; k++) {
      const other = matrixOf(40 * k, 40 * k, () => normal(random));
      linearSumAssignment(core, { rows: 40 * k, columns: 40 * k, data: other });
      expect(linearSumAssignment(core, matrix, { certify: true })).toEqual(first);
    }
  });

  test('all pairs equal: the identity', () => {
    for (const [rows, columns] of [[1, 1], [7, 7], [300, 300], [5, 9]] as const) {
      const data = new Float32Array(rows * columns).fill(3);
      const result = linearSumAssignment(core, { rows, columns, data });
      expect(result.assignment).toEqual(Int32Array.from({ length: rows }, (_, i) => i));
    }
  });
});

describe('refusals', () => {
  const solve = (rows: number, columns: number, data: Float32Array | Float64Array, options = {}): AssignmentResult =>
    linearSumAssignment(core, { rows, columns, data }, options);

  test('empty sides give empty results', () => {
    expect(solve(0, 0, new Float32Array(0), { certify: true })).toEqual({
      assignment: new Int32Array(0), objective: 0, duals: { rows: new Float64Array(0), columns: new Float64Array(0) }, certificate: 0,
    });
    expect(solve(3, 0, new Float64Array(0)).assignment).toEqual(Int32Array.of(-1, -1, -1));
    expect(solve(0, 3, new Float64Array(0)).assignment).toEqual(new Int32Array(0));
  });

  test('NaN and infinities name their place', () => {
    for (const position of [0, 5, 24]) {
      for (const [value, maximize] of [[Number.NaN, true], [Infinity, true], [Number.NaN, false], [-Infinity, false]] as const) {
        for (const data of [new Float32Array(25), new Float64Array(25)]) {
          data[position] = value;
          const place = `similarity[${Math.floor(position / 5)}, ${position % 5}]`;
          expect(() => solve(5, 5, data, { maximize })).toThrow(NotFiniteError);
          expect(() => solve(5, 5, data, { maximize })).toThrow(place);
        }
      }
    }
    const data = new Float64Array(6);
    data[3] = Number.NaN;
    expect(() => solve(3, 2, data)).toThrow('similarity[1, 1]');
    data[3] = 1e301;
    expect(() => solve(3, 2, data)).toThrow(LimitError);
  });

  test('sizes, data, warm starts that do not fit', () => {
    expect(() => solve(-1, 2, new Float32Array(0))).toThrow(InvalidArgumentError);
    expect(() => solve(1.5, 2, new Float32Array(3))).toThrow(InvalidArgumentError);
    expect(() => solve(2, 2, new Float32Array(5))).toThrow(InvalidArgumentError);
    expect(() => solve(2, 2, [1, 2, 3, 4] as unknown as Float32Array)).toThrow(InvalidArgumentError);
    expect(() => solve(20_000, 1, new Float32Array(20_000))).toThrow(LimitError);
    expect(() => solve(1, 20_000, new Float32Array(20_000))).toThrow(LimitError);
    const warmStart = { rows: new Float64Array(2), columns: Float64Array.of(0, Number.NaN) };
    expect(() => solve(2, 2, new Float32Array(4), { warmStart })).toThrow(NotFiniteError);
    expect(() => solve(3, 3, new Float32Array(9), { warmStart })).toThrow(InvalidArgumentError);
  });

  test('the asynchronous form lets timers run, gives the same and ends with a signal or its core', async () => {
    const random = uniformFrom(52);
    const n = 2500;
    const matrix = { rows: n, columns: n, data: Float32Array.from({ length: n * n }, () => random()) };
    const live = core.liveAllocations;
    let turns = 0;
    const timer = setInterval(() => void turns++, 1);
    const found = await linearSumAssignmentAsync(core, matrix, { certify: true, method: 'dense' });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
    expect(found).toEqual(linearSumAssignment(core, matrix, { certify: true, method: 'dense' }));
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('enough')), 1);
    await expect(linearSumAssignmentAsync(core, matrix, { method: 'dense', signal: controller.signal })).rejects.toThrow('enough');
    await expect(linearSumAssignmentAsync(core, { ...matrix, rows: 3 })).rejects.toThrow(InvalidArgumentError);
    expect(core.liveAllocations).toBe(live);
    const other = await openCore();
    const cut = linearSumAssignmentAsync(other, matrix, { method: 'dense' });
    setTimeout(() => other[Symbol.dispose](), 1);
    await expect(cut).rejects.toThrow(/core: expected one that stays open/);
  });

  test('an aborted signal throws its reason and leaks nothing', () => {
    const live = core.liveAllocations;
    const reason = new Error('enough');
    expect(() => solve(3, 3, new Float32Array(9), { signal: AbortSignal.abort(reason) })).toThrow(reason);
    // A signal that aborts after some looks: the solver gives up in the middle.
    let looks = 0;
    const signal = { throwIfAborted: () => { if (++looks > 3) throw reason; } } as AbortSignal;
    const random = uniformFrom(51);
    const data = Float32Array.from(matrixOf(600, 600, () => normal(random)));
    expect(() => solve(600, 600, data, { signal })).toThrow(reason);
    expect(core.liveAllocations).toBe(live);
  });
});
