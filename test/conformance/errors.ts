// How far apart two sets of numbers are; every figure of the conformance report is one of these.
import type { NamedTensors } from '../../src/tensor/tensor.ts';

/** ‖got − expected‖ ÷ max(‖expected‖, floor); 0 when both are zero. */
export function relativeError(got: ArrayLike<number>, expected: ArrayLike<number>, floor = 0): number {
  let difference = 0;
  for (let i = 0; i < expected.length; i++) difference += ((got[i] as number) - (expected[i] as number)) ** 2;
  if (difference === 0 && got.length === expected.length) return 0;
  return got.length === expected.length ? Math.sqrt(difference) / Math.max(norm(expected), floor) : Infinity;
}

export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) ** 2;
  return Math.sqrt(sum);
}

function normOf(tensors: NamedTensors): number {
  return norm([...tensors.values()].map(({ data }) => norm(data)));
}

/**
 * Largest relative Frobenius error of any tensor. A tensor whose norm is below 1e-5 of the whole is measured against that
 * instead: a bias in front of batch norm has a gradient of nothing but rounding.
 */
export function tensorsError(got: NamedTensors, expected: NamedTensors): number {
  const floor = 1e-5 * normOf(expected);
  return largest([...expected].map(([name, { data }]) => relativeError(got.get(name)?.data ?? [], data, floor)));
}

/** Largest absolute difference of any element. */
export function largestDifference(got: NamedTensors, expected: NamedTensors): number {
  let most = 0;
  for (const [name, { data }] of expected) {
    const other = got.get(name)?.data ?? new Float32Array();
    if (other.length !== data.length) return Infinity;
    for (let i = 0; i < data.length; i++) most = Math.max(most, Math.abs((other[i] as number) - (data[i] as number)));
  }
  return most;
}

export function relativeDifference(got: number, expected: number): number {
  return got === expected ? 0 : Math.abs(got - expected) / Math.max(Math.abs(expected), 1e-30);
}

/** 0 for none; NaN counts as infinite, so that it never passes. */
export function largest(values: readonly number[]): number {
  return values.reduce((most, value) => (Number.isNaN(value) ? Infinity : Math.max(most, value)), 0);
}
