/**
 * A gradient history as plain numbers, for resume points. Summed similarities and remembered matrices carry the rounding of
 * the path that led to them, so they are kept as they are: made anew from the gradients they would differ in last bits.
 */
import { MalformedFileError } from '../core/errors.ts';
import { takeArray } from '../tensor/named-arrays.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import { codedRows, exactRows } from './coding.ts';
import type { CodedRows } from './coding.ts';
import type { PairedTensor } from './layout.ts';
import type { LiveSlices } from './live-slices.ts';

/** Where a remembered similarity matrix belongs, in the order in which they are forgotten. */
export interface AnchorFacts {
  readonly group: number;
  readonly term: number;
  readonly slot: 'atIdentity' | 'moving';
  readonly included: number;
  readonly updates: number;
}

/** Small facts, fit for JSON. */
export interface HistoryFacts {
  readonly pairs: number;
  readonly coded: boolean;
  readonly squaredNorms: number;
  readonly identityObjective: number;
  readonly productFlops: number;
  /** [norm, norm of the coding error] of both sides of every stored pair, by tensor. */
  readonly norms: { readonly [tensor: string]: readonly (readonly [number, number, number, number])[] };
  readonly anchors: readonly AnchorFacts[];
}

export interface HistorySnapshot {
  readonly facts: HistoryFacts;
  /** Views of the history's own memory: to be written out before the history changes. */
  readonly arrays: NamedArrays;
}

/** Adds one side of a stored pair under `prefix`. */
export function putSlices(arrays: Map<string, NumberArray>, prefix: string, { data, rows, columns }: LiveSlices): void {
  arrays.set(`${prefix}/rows`, rows);
  arrays.set(`${prefix}/columns`, columns);
  if ('exact' in data.stored) arrays.set(`${prefix}/exact`, data.stored.exact);
  else {
    arrays.set(`${prefix}/codes`, data.stored.codes);
    arrays.set(`${prefix}/scales`, data.stored.scales);
  }
}

/** What `putSlices` put. @throws MalformedFileError */
export function takeSlices(arrays: NamedArrays, prefix: string, tensor: PairedTensor, norm: number, errorNorm: number): LiveSlices {
  const rows = takeArray(arrays, `${prefix}/rows`, 'i32');
  const columns = takeArray(arrays, `${prefix}/columns`, 'i32');
  requireUnits(`${prefix}/rows`, rows, tensor.rows);
  requireUnits(`${prefix}/columns`, columns, tensor.columns);
  const length = tensor.slices * rows.length * columns.length;
  let data: CodedRows;
  if (arrays.has(`${prefix}/exact`)) data = exactRows(takeArray(arrays, `${prefix}/exact`, 'f32', length));
  else {
    const codes = takeArray(arrays, `${prefix}/codes`, 'i8', length);
    const scales = takeArray(arrays, `${prefix}/scales`, 'f32', columns.length === 0 ? 0 : length / columns.length);
    data = codedRows(codes, scales, columns.length, errorNorm);
  }
  return { data, norm, rows, columns };
}

/** Kernels gather by these numbers without looking: one out of range would read elsewhere in the heap. */
export function requireUnits(field: string, units: Int32Array, count: number): void {
  for (const unit of units) {
    if (unit < 0 || unit >= count) throw new MalformedFileError({ field, expected: `units below ${count}`, got: `${unit}` });
  }
}
