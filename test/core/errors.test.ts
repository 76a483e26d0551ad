/** What errors say of values that strangers made: short, and never an error of its own. */
import { describe as group, expect, it } from 'vitest';
import { readSafetensors } from '../../src/bundle/safetensors.ts';
import { requireFit } from '../../src/bundle/foreign/map-names.ts';
import { stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { UsageError } from '../../src/cli/exit.ts';
import { describe, listed } from '../../src/core/describe.ts';
import { BudgetError, InvalidArgumentError, MalformedFileError } from '../../src/core/errors.ts';
import { createTransferHandler } from '../../src/edge/index.ts';
import { parseGraph, preset, trajectoryFromStates } from '../../src/index.ts';
import { partOf } from '../../src/transfer/trajectory.ts';
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

const many = (count: number, characters: number): string[] => Array.from({ length: count }, (_, i) => `${i}`.padEnd(characters, 'n'));

group('listed', () => {
  it('names all of a few, and of many the first twenty and how many more there are', () => {
    expect(listed([])).toBe('');
    expect(listed(['a', 'b'], ' and ')).toBe('a and b');
    expect(listed(many(20, 1))).toBe('0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19');
    expect(listed(many(1254, 1), '; ')).toMatch(/^0; 1; .*; 18; 19; … and 1234 more$/);
  });

  it('cuts names off at 300 characters', () => {
    expect(listed(['x'.repeat(300)])).toHaveLength(300);
    expect(listed(['x'.repeat(301), 'y'])).toBe(`${'x'.repeat(297)}…, y`);
  });
});

group('an error is short', () => {
  it('whatever its facts are, and so are its record and the words of the command line', () => {
    const long = 'x'.repeat(1_000_000);
    const facts = { field: long, expected: long, got: long };
    for (const error of [new MalformedFileError(facts), new BudgetError({ ...facts, requiredBytes: 3 })]) {
      for (const key of ['field', 'expected', 'got'] as const) expect(error[key], key).toMatch(/^x{8191}…$/);
      expect(error.message.length).toBeLessThan(25_000);
      expect(JSON.stringify(error).length).toBeLessThan(25_000);
    }
    expect(new UsageError(long).message.length).toBeLessThan(10_000);
    // One of 8 KiB is as it was.
    const whole = 'x'.repeat(8192);
    expect(new InvalidArgumentError({ field: 'a', expected: whole, got: 'b' }).message).toBe(`a: expected ${whole}, got b`);
  });

  const empty: RawTensor = { dtype: 'F32', shape: [0], bytes: new Uint8Array(0) };
  const names = new Map(many(3000, 900).map((name) => [name, empty]));
  const graph = preset('mlp', { input: [4], classes: 2, widths: [3] });
  const state = { parameters: new Map(), buffers: new Map() };

  it('for a file of thousands of names that are not the network\'s', async () => {
    const { report } = stateFromForeign(graph, { tensors: names, metadata: new Map(), convention: 'pytorch' });
    const error = await expectTyped(() => requireFit('v2.safetensors', report), 'malformed-file');
    expect(error.got).toMatch(/^3004 that do not fit \(missing: linear1\.weight .*; … and 2984 more\)$/);
    expect(error.message.length).toBeLessThan(7000);
  });

  it('for a bundle of thousands of labels, by whoever looks for one', async () => {
    const source = trajectoryFromStates(graph, many(3000, 900).map((label) => ({ label, state })));
    const error = await expectTyped(() => partOf(source, { from: 'none' }), 'invalid-argument');
    expect(error.expected).toMatch(/^one of the source's checkpoints \(0n.*… and 2980 more\)$/);
    expect(error.message.length).toBeLessThan(7000);
  });

  it('for a sum of thousands of inputs', async () => {
    const inputs = Array.from({ length: 3000 }, (_, i) => (i === 2999 ? 'dense' : 'input'));
    const nodes = [
      { name: 'dense', op: 'dense', inputs: ['input'], out: 2, bias: false }, { name: 'sum', op: 'add', inputs },
    ];
    const error = await expectTyped(() => parseGraph({ version: 1, input: [4], output: 'sum', nodes }), 'invalid-argument');
    expect(error.got).toMatch(/^(\[4\] and ){20}… and 2980 more$/);
  });

  it('as an answer of the fetch handler, too', async () => {
    const form = new FormData();
    form.set('graph', JSON.stringify(graph));
    form.set('base', new Blob([writeSafetensors(names)]));
    form.set('adapter', new Blob([writeSafetensors(new Map(['A', 'B'].map((factor) => [
      `base_model.model.linear1.lora_${factor}.weight`,
      { dtype: 'F32', shape: factor === 'A' ? [1, 4] : [3, 1], bytes: new Uint8Array(factor === 'A' ? 16 : 12) },
    ])))]));
    form.set('config', '{"peft_type":"LORA","lora_alpha":1}');
    const weight: RawTensor = { dtype: 'F32', shape: [3, 4], bytes: new Uint8Array(48) };
    form.set('target', new Blob([writeSafetensors(new Map([['linear1.weight', weight], ...names]))]));
    form.set('images', new Blob([new Uint8Array(8)]));
    form.set('labels', new Blob([new Uint8Array(8)]));
    const handle = createTransferHandler({ maxTargetBytes: 2 ** 26 });
    const response = await handle(new Request('https://port.example/', { method: 'POST', body: form }));
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ field: 'target', got: expect.stringMatching(/and 2983 more\)$/) as string });
    expect([response.status, text.length < 7000]).toEqual([400, true]);
  });
});
