// Vectors made by the real libraries (vectors/generate.py), and what they hold. Imports no test framework, so that the
// fuzzer can use them.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ForeignFile, ReadForeignOptions } from '../../../src/bundle/foreign/checkpoint.ts';

export interface ExpectedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

const folder = resolve('test/bundle/foreign/vectors');

const expectedFiles = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Record<string, Record<string, ExpectedTensor>>;

export function vector(name: string): ForeignFile {
  return { name, bytes: new Uint8Array(readFileSync(join(folder, name))) };
}

/** Parts beside the vector of that name. */
export function besideVector(name: string): ReadForeignOptions {
  const inside = name.includes('/') ? name.slice(0, name.lastIndexOf('/') + 1) : '';
  return { readBeside: async (path) => new Uint8Array(readFileSync(join(folder, inside, path))) };
}

/** What the library that wrote the vector holds. */
export function expectedTensors(name: string): Readonly<Record<string, ExpectedTensor>> {
  const expected = expectedFiles[name];
  if (expected === undefined) throw new Error(`expected.json has nothing of ${name}`);
  return expected;
}
