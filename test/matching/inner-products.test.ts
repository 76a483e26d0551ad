/** Kernels of f64 sums over f32 matrices against the same sums in plain JavaScript, at widths around whole vectors. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import type { Core } from '../../src/core/core.ts';
import { values } from '../portable/values.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const sizes = [[1, 1], [3, 4], [4, 7], [5, 64], [13, 131]] as const;

describe.each(sizes)('%i × %i', (rows, columns) => {
  const x = values(rows * columns, 1);
  const entry = (i: number, j: number): number => x[i * columns + j] as number;

  test('a matrix times a vector', () => {
    const vector = Float64Array.from(values(columns, 2));
    const got = core.scoped((scratch) => {
      const [xPtr, vectorPtr, outPtr] = [scratch.upload(x), scratch.upload(vector), scratch.f64(rows)];
      core.kernels.rowsTimesVectorF32(xPtr, rows, columns, vectorPtr, outPtr);
      return core.f64(outPtr, rows).slice();
    });
    for (let i = 0; i < rows; i++) expect(got[i]).toBeCloseTo(vector.reduce((sum, v, j) => sum + v * entry(i, j), 0), 12);
  });

  test('a vector times a matrix, whatever was there before', () => {
    const vector = Float64Array.from(values(rows, 3));
    const got = core.scoped((scratch) => {
      const [xPtr, vectorPtr, outPtr] = [scratch.upload(x), scratch.upload(vector), scratch.f64(columns)];
      core.f64(outPtr, columns).fill(7);
      core.kernels.vectorTimesRowsF32(vectorPtr, xPtr, rows, columns, outPtr);
      return core.f64(outPtr, columns).slice();
    });
    for (let j = 0; j < columns; j++) expect(got[j]).toBeCloseTo(vector.reduce((sum, v, i) => sum + v * entry(i, j), 0), 12);
  });

  test('rows and columns paired by lists, each sum in the order of the list', () => {
    const [otherRows, otherColumns] = [rows + 2, columns + 3];
    const y = values(otherRows * otherColumns, 4);
    // Rows of x from the last to the first; columns of x all but each fifth, of y three further on.
    const rowPairs = Array.from({ length: rows }, (_, k) => [rows - 1 - k, (k * 2) % otherRows] as const);
    const columnPairs = Array.from({ length: columns }, (_, l) => [l, l + 3] as const).filter(([l]) => l % 5 !== 4);
    const got = core.scoped((scratch) => {
      const [xPtr, yPtr] = [scratch.upload(x), scratch.upload(y)];
      const [rowsPtr, columnsPtr, sumsPtr] = [
        scratch.upload(Int32Array.from(rowPairs.flat())),
        scratch.upload(Int32Array.from(columnPairs.flat())),
        scratch.f64(rows + 1),
      ];
      core.f64(sumsPtr, rows + 1).fill(7);
      core.kernels.pairedInnersF32(xPtr, columns, yPtr, otherColumns, rowsPtr, rows, columnsPtr, columnPairs.length, sumsPtr);
      return core.f64(sumsPtr, rows + 1).slice();
    });
    const wanted = rowPairs.map(([r, s]) =>
      columnPairs.reduce((sum, [c, d]) => sum + entry(r, c) * (y[s * otherColumns + d] as number), 0),
    );
    expect([...got]).toEqual([...wanted, 7]);
  });
});
