/** Means and standard deviations by hand. */
import { expect, it } from 'vitest';
import { formatSpread, mean } from '../../src/report/statistics.ts';

it('means', () => {
  expect(mean([1, 2, 6])).toBe(3);
  expect(mean([])).toBe(0);
});

it('gives the sample standard deviation, n − 1, in percent', () => {
  // Deviations −0.02, 0, 0.02: the sample's is 0.02, the population's would be 0.0163.
  expect(formatSpread([0.8, 0.82, 0.84])).toBe('82.0 ± 2.0');
  expect(formatSpread([0.8342])).toBe('83.4');
});
