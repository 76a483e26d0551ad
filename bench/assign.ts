/**
 * `npm run -s assign -- FILE.bin N [--rows M] [--warm FILE2.bin]`: solves a raw little-endian f32 matrix [M, N] (square without
 * --rows), maximising; with --warm from the duals of the matrix in FILE2, where it is square. One JSON line; the milliseconds are CPU
 * time, the median of five, with the copy into WebAssembly memory and without the certificate. Exit status 2 for what cannot be solved.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openCore } from '../src/core/core.ts';
import { InvalidArgumentError, TrajportError } from '../src/core/errors.ts';
import { requireInteger } from '../src/core/require.ts';
import { limits } from '../src/core/limits.ts';
import { type SimilarityMatrix, linearSumAssignment } from '../src/matching/assignment.ts';
import { median, timed, warmUp } from './measure.ts';

function readMatrix(file: string, rows: number, columns: number): SimilarityMatrix {
  // By its size, before it is read: a device has none, and no end either.
  const { size } = statSync(file);
  if (size !== rows * columns * 4) {
    throw new InvalidArgumentError({
      field: file,
      expected: `a file of ${rows} × ${columns} f32, ${rows * columns * 4} bytes`,
      got: `${size} bytes`,
    });
  }
  const bytes = readFileSync(file);
  return { rows, columns, data: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)) };
}

const usage = 'usage: assign -- FILE.bin N [--rows M] [--warm FILE2.bin]';
try {
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2),
    allowPositionals: true,
    options: { rows: { type: 'string' }, warm: { type: 'string' }, json: { type: 'boolean' } },
  });
  const [file, size] = positionals;
  if (file === undefined || size === undefined || positionals.length > 2) throw new Error(usage);
  const extentOf = (field: string, text: string): number =>
    requireInteger(field, text.trim() === '' ? NaN : Number(text), 1, limits.assignmentSize);
  const columns = extentOf('N', size);
  const rows = values.rows === undefined ? columns : extentOf('--rows', values.rows);
  const matrix = readMatrix(file, rows, columns);
  const core = await openCore();
  const warmStart = values.warm === undefined ? undefined : linearSumAssignment(core, readMatrix(values.warm, rows, columns)).duals;
  const warm = warmStart !== undefined && rows === columns;
  if (warmStart !== undefined && !warm) console.error('note: only square matrices are solved from duals: --warm changes nothing here');
  const options = warmStart === undefined ? {} : { warmStart };
  const result = linearSumAssignment(core, matrix, { ...options, certify: true });
  const solve = (): void => void linearSumAssignment(core, matrix, options);
  const repetitions = warmUp(solve, 500);
  const milliseconds = Number(median([0, 1, 2, 3, 4].map(() => timed(repetitions, solve))).toPrecision(5));
  const sha256 = createHash('sha256').update(new Uint8Array(result.assignment.buffer)).digest('hex');
  console.log(JSON.stringify({ objective: result.objective, certificate: result.certificate, milliseconds, sha256, rows, columns, warm }));
} catch (error) {
  console.error(error instanceof TrajportError ? JSON.stringify(error) : error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
