/** JSON for people: the same value, a line for each member and for each list of numbers. */
import { expect, test } from 'vitest';
import { indentedJson } from '../../src/report/json.ts';

test('lists of numbers and words take one line, members and lists of objects one each', () => {
  const value = { name: 'a "b"', perm: [2, 0, 1], steps: [{ step: 0, loss: null }, { step: 1 }], none: {}, empty: [], left: undefined };
  expect(indentedJson(value)).toBe(`{
  "name": "a \\"b\\"",
  "perm": [2, 0, 1],
  "steps": [
    {
      "step": 0,
      "loss": null
    },
    {
      "step": 1
    }
  ],
  "none": {},
  "empty": []
}
`);
});

test('says what JSON says', () => {
  const value = { deep: [[1, 2], [], [{ a: [true, null, 'x'] }]], typed: { not: Number.NaN, when: undefined }, text: 'a,\n[b]', n: -1e-7 };
  expect(JSON.parse(indentedJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
  expect(indentedJson(3)).toBe('3\n');
});
