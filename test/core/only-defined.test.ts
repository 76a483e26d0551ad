import { expect, it } from 'vitest';
import { onlyDefined } from '../../src/core/only-defined.ts';

it('leaves out what is undefined and nothing else, and keeps the order', () => {
  const kept = onlyDefined({ b: 0, left: undefined, a: false, none: null, text: '' });
  expect(Object.entries(kept)).toEqual([['b', 0], ['a', false], ['none', null], ['text', '']]);
  expect(Object.hasOwn(kept, 'left')).toBe(false);
});
