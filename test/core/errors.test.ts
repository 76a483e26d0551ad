/** What errors say of values that strangers made: short, and never an error of its own. */
import { describe as group, expect, it } from 'vitest';
import { readSafetensors } from '../../src/bundle/safetensors.ts';
import { describe } from '../../src/core/describe.ts';
import { expectTyped, rawSafetensors } from '../bundle/support.ts';

const parsed = (text: string): unknown => JSON.parse(text);
class Named {
  readonly value = 1;
}
const trap = new Proxy({}, { getPrototypeOf: () => { throw new Error('trap'); } });

group('describe', () => {
  const cases: [unknown, string][] = [
    ['a text', '"a text"'], [10n, '10n'], [null, 'null'], [undefined, 'undefined'], [1.5, '1.5'], [true, 'true'], [() => 1, 'a function'],
    [{}, 'Object'], [Object.create(null), 'object'], [new Named(), 'Named'], [new Map(), 'Map'],
    [new Float32Array(2), 'Float32Array of 8 bytes'],
    [[1, 'a', null], '[1, "a", null]'], [[1, 2, 3, 4, 5, 6, 7, 8, 9], '[1, 2, 3, 4, 5, 6, 7, 8, … 9 in all]'],
    [parsed('{"constructor":{"name":{}}}'), 'Object'], [parsed('{"constructor":{"name":{"toString":null,"valueOf":null}}}'), 'Object'],
    [parsed('{"constructor":null}'), 'Object'], [parsed('{"__proto__":{"constructor":{"name":"x"}}}'), 'Object'],
    [Object.create({ constructor: { name: { toString: null } } }), 'object'], [Object.create({ constructor: null }), 'object'],
    [parsed('[[1,2],[],{"constructor":{"name":1}}]'), '[a list of 2, a list of 0, Object]'],
    [trap, 'an object that cannot be looked at'], [[trap], 'an object that cannot be looked at'],
  ];
  it('names what JSON, classes and traps hold', () => {
    for (const [value, text] of cases) expect(describe(value)).toBe(text);
  });

  it('repeats no more than 80 characters of anything, and of lists eight items of one level', () => {
    const long = 'x'.repeat(100_000);
    const { [long]: Long } = { [long]: class extends Named {} };
    for (const value of [long, Symbol(long), 10n ** 1000n, new (Long as new () => object)()]) {
      const text = describe(value);
      expect(text.length).toBeLessThanOrEqual(83);
      expect(text).toContain('…');
    }
    expect(describe(parsed('['.repeat(5000) + ']'.repeat(5000)))).toBe('[a list of 1]');
    const wide = Array.from({ length: 9 }, () => long);
    expect(describe(Array.from({ length: 9 }, () => wide)).length).toBeLessThan(1000);
    expect(describe(wide).length).toBeLessThan(1000);
  });

  it('so that a header with a constructor of its own is refused as any other', async () => {
    for (const name of ['{}', '{"toString":null}', `"${'x'.repeat(100_000)}"`]) {
      const error = await expectTyped(
        () => readSafetensors(rawSafetensors(`{"a":{"dtype":{"constructor":{"name":${name}}},"shape":[],"data_offsets":[0,0]}}`)),
        'malformed-file',
      );
      expect(error.field).toBe('safetensors.a.dtype');
      expect(error.message.length).toBeLessThan(200);
    }
  });
});
