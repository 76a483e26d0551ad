/**
 * assign -- FILE.bin N [--rows M] [--warm FILE2.bin]: solves a raw little-endian f32 matrix [M, N] (square without
 * --rows), maximising; with --warm from the duals of the matrix in FILE2. One JSON line; the milliseconds are CPU time,
 * the median of five, with the copy into WebAssembly memory and without the certificate.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openCore } from '../src/core/core.ts';
import { InvalidArgumentError, TrajportError } from '../src/core/errors.ts';
import { type SimilarityMatrix, linearSumAssignment } from '../src/matching/assignment.ts';
import { median, timed, warmUp } from './measure.ts';

function readMatrix(file: string, rows: number, columns: number): SimilarityMatrix {
  const bytes = readFileSync(file);
  if (bytes.length !== rows * columns * 4) {
    throw new InvalidArgumentError({ field: file, expected: `${rows} × ${columns} f32, ${rows * columns * 4} bytes`, got: `${bytes.length} bytes` });
  }
  return { rows, columns, data: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)) };
}

const usage = 'usage: assign -- FILE.bin N [--rows M] [--warm FILE2.bin]';
try {
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2), allowPositionals: true, options: { rows: { type: 'string' }, warm: { type: 'string' }, json: { type: 'boolean' } },
  });
  const [file, size] = positionals;
  if (file === undefined || size === undefined || positionals.length > 2) throw new Error(usage);
  const columns = Number(size);
  const rows = values.rows === undefined ? columns : Number(values.rows);
  const matrix = readMatrix(file, rows, columns);
  const core = await openCore();
  const warmStart = values.warm === undefined ? undefined : linearSumAssignment(core, readMatrix(values.warm, rows, columns)).duals;
  const options = warmStart === undefined ? {} : { warmStart };
  const result = linearSumAssignment(core, matrix, { ...options, certify: true });
  const solve = (): void => void linearSumAssignment(core, matrix, options);
  const repetitions = warmUp(solve, 500);
  const milliseconds = median([0, 1, 2, 3, 4].map(() => timed(repetitions, solve)));
  const sha256 = createHash('sha256').update(new Uint8Array(result.assignment.buffer)).digest('hex');
  console.log(JSON.stringify({ objective: result.objective, certificate: result.certificate, milliseconds, sha256, rows, columns, warm: warmStart !== undefined }));
} catch (error) {
  console.error(error instanceof TrajportError ? JSON.stringify(error) : error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
