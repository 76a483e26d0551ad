/** Training and held-out rows. */
import { describe, expect, test } from 'vitest';
import { splitRows } from '../../src/data/split.ts';

describe('splitRows', () => {
  test('two ascending parts that make up the whole, of the size asked for', () => {
    const { training, heldOut } = splitRows(1000, 0.1, 3);
    expect(heldOut.length).toBe(100);
    expect([...training, ...heldOut].toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_unused, i) => i));
    for (const part of [training, heldOut]) expect(part).toEqual(part.toSorted());
    expect(splitRows(1000, 0.1, 4).heldOut).not.toEqual(heldOut);
    expect(splitRows(1000, 0.1, 3).heldOut).toEqual(heldOut);
  });

  test('a fraction of 0 holds nothing out, a tiny one at least one row', () => {
    expect(splitRows(10, 0, 1).heldOut.length).toBe(0);
    expect(splitRows(10, 0.001, 1).heldOut.length).toBe(1);
  });

  test.each([[1, 0.5], [10, 1], [10, 0.96]])('%d rows and a fraction of %d leave nothing to train on', (count, fraction) => {
    expect(() => splitRows(count, fraction, 1)).toThrow(/heldOutFraction/);
  });

  test.each([[10, -0.1], [10, Number.NaN], [0, 0.1]])('count %d and fraction %d are refused', (count, fraction) => {
    expect(() => splitRows(count, fraction, 1)).toThrow(/^(heldOutFraction|count)/);
  });
});
