/**
 * Numbers that stand in two languages, because the compiler of neither sees the other's: TypeScript's tables against
 * the sources of `assembly/`.
 */
import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { inflateErrors, inflateState } from '../../src/bundle/codec-instance.ts';
import { BLOCK_ELEMENTS } from '../../src/bundle/coding.ts';
import { openCore } from '../../src/core/core.ts';
import { smoothMaps } from '../../src/gradient/kernels/activation.ts';
import { lossNumbers } from '../../src/gradient/kernels/loss.ts';
import { rowKinds } from '../../src/matching/assignment-constants.ts';

const core = await openCore();
afterAll(() => core[Symbol.dispose]());

const sourceOf = (file: string): string => readFileSync(new URL(`../../assembly/${file}.ts`, import.meta.url), 'utf8');

/** The whole numbers that a source declares at its top, by their names. */
function constantsOf(file: string, type: 'i32' | 'usize'): Readonly<Record<string, number>> {
  const found = sourceOf(file).matchAll(new RegExp(`^(?:export )?const ([A-Z_0-9]+): ${type} = (-?[0-9]+);`, 'gm'));
  return Object.fromEntries([...found].map(([, name, number]) => [name as string, Number(number)]));
}

/** 'gelu (tanh)' → GELU_TANH */
const constantNames = (table: Readonly<Record<string, number>>): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(table).map(([name, number]) => [(name.toUpperCase().match(/[A-Z]+/g) ?? []).join('_'), number]));

test('smooth maps', () => {
  expect(constantsOf('smooth-map', 'i32')).toEqual(constantNames(smoothMaps));
});

test('losses', () => {
  const { MANY_CLASSES: _, ...kinds } = constantsOf('loss', 'i32');
  expect(kinds).toEqual(constantNames(lossNumbers));
});

test('kinds of rows of an assignment', () => {
  const body = /enum RowKind \{([^}]*)\}/.exec(sourceOf('assignment-problem'))?.[1] ?? '';
  const names = [...body.matchAll(/^ {2}(\w+),$/gm)].map(([, name]) => name as string);
  expect(Object.fromEntries(names.map((name, number) => [name, number]))).toEqual(rowKinds);
});

test('what inflate answers and where its state is read', () => {
  const failures = Object.values(constantsOf('inflate', 'i32')).filter((number) => number < 0);
  expect(failures.toSorted()).toEqual(Object.keys(inflateErrors).map(Number).toSorted());
  const { IN_USED, OUT_USED, HISTORY, LENGTHS } = constantsOf('inflate', 'usize');
  expect({ inUsed: IN_USED, outUsed: OUT_USED, history: HISTORY, bytes: LENGTHS }).toEqual(inflateState);
});

test('steps that share a scale', () => {
  expect(constantsOf('codec', 'i32')).toEqual({ BLOCK: BLOCK_ELEMENTS });
});

test.each([-1, 1 + Math.max(...Object.values(smoothMaps))])('a smooth map numbered %i, which there is not, traps', (kind) => {
  core.scoped((scratch) => {
    const [x, work] = [scratch.upload(Float32Array.of(1, 2, 3, 4, 5)), scratch.bytes(core.kernels.smoothMapScratchBytes())];
    expect(() => core.kernels.smoothMapF32(kind, x, x, 0, 5, work)).toThrow(WebAssembly.RuntimeError);
  });
});

test.each([-1, 1 + Math.max(...Object.values(lossNumbers))])('a loss numbered %i, which there is not, traps', (kind) => {
  core.scoped((scratch) => {
    const [logits, labels] = [scratch.upload(Float32Array.of(1, 2)), scratch.bytes(4)];
    core.i32(labels, 1)[0] = 1;
    expect(() => core.kernels.targetLossF32(kind, logits, labels, logits, 1, 2, 0, 1)).toThrow(WebAssembly.RuntimeError);
  });
});
