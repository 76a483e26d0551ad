/** Name patterns, and mapping a file's tensors to a network's parameters: what fits, and exactly what does not. */
import { describe, expect, it } from 'vitest';
import { flattenedInputs } from '../../../src/model/flattened-units.ts';
import { parseGraph, parameterLayout } from '../../../src/model/graph.ts';
import { describeMisfits, mapNames, requireFit } from '../../../src/bundle/foreign/map-names.ts';
import { NamePattern, fillTemplate } from '../../../src/bundle/foreign/name-pattern.ts';
import { type NameRule, parseNameRules, renameTensors } from '../../../src/bundle/foreign/name-rules.ts';
import { readPytorch } from '../../../src/bundle/foreign/pytorch.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { generator } from '../generator.ts';
import { expectTyped, utf8 } from '../support.ts';
import { numbersOf, pytorchNetwork, vector } from './support.ts';

const f32 = (shape: readonly number[], values?: readonly number[]): RawTensor => {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const data = Float32Array.from(values ?? Array.from({ length: count }, (_, i) => i));
  return { dtype: 'F32', shape, bytes: new Uint8Array(data.buffer) };
};

const graph = parseGraph(pytorchNetwork);
const layout = parameterLayout(graph);

describe('name patterns', () => {
  it.each([
    ['*.weight', 'fc.weight', ['fc']],
    ['*.weight', 'a.fc.weight', undefined],
    ['**.weight', 'a.fc.weight', ['a.fc']],
    ['layers/*/vars/*', 'layers/dense/vars/0', ['dense', '0']],
    ['a**b*', 'aXbYbZ', ['XbY', 'Z']],
    ['a.b', 'a.b', []],
    ['a.b', 'aXb', undefined],
    ['*', '', undefined],
  ])('%s on %s: %j', (pattern, name, captures) => {
    expect(new NamePattern('p', pattern).match(name)).toEqual(captures);
  });

  it('takes time in proportion to the name: what took a second each is done a thousand times', () => {
    const pattern = new NamePattern('p', `${'**a'.repeat(14)}**b**`);
    for (let round = 0; round < 1000; round++) expect(pattern.match('a'.repeat(1024))).toBeUndefined();
  });

  it('finds what trying all lengths finds, the first wildcards as long as possible', () => {
    const next = generator(11);
    const text = (letters: string, length: number): string => Array.from({ length }, () => letters[next() % letters.length]).join('');
    // By the definition: each wildcard tries all its lengths, the longest first.
    const tried = (parts: readonly string[], name: string): string[] | undefined => {
      const [part, ...others] = parts;
      if (part === undefined) return name === '' ? [] : undefined;
      if (!part.startsWith('*')) return name.startsWith(part) ? tried(others, name.slice(part.length)) : undefined;
      for (let length = name.length; length > 0; length--) {
        const taken = name.slice(0, length);
        const rest = part === '*' && /[./]/.test(taken) ? undefined : tried(others, name.slice(length));
        if (rest !== undefined) return [taken, ...rest];
      }
      return undefined;
    };
    let fitting = 0;
    for (let round = 0; round < 5000; round++) {
      const pattern = text('ab.***', 1 + (next() % 8));
      const name = text('aab./', next() % 10);
      const expected = tried(
        pattern
          .split(/(\*+)/)
          .filter((part) => part !== '')
          .map((part) => part.slice(0, part.startsWith('*') ? 2 : undefined)),
        name,
      );
      expect({ pattern, name, captures: new NamePattern('p', pattern).match(name) }).toEqual({ pattern, name, captures: expected });
      if (expected !== undefined) fitting++;
    }
    expect(fitting).toBeGreaterThan(200);
  });

  it('is not tried on more names than a few seconds allow', async () => {
    const rules = Array.from({ length: 10_000 }, () => ({ from: `${'**a'.repeat(14)}**b**`, to: null }));
    const names = new Map(Array.from({ length: 1000 }, (_, i) => [`${'a'.repeat(1000)}${i}`, f32([1])]));
    expect((await expectTyped(() => renameTensors(names, 'pytorch', rules), 'limit')).field).toBe('rules');
  }, 60_000);

  it('fills templates', () => {
    expect(fillTemplate('$2.$1.$$', ['x', 'y$1'])).toBe('y$1.x.$');
  });
});

describe('mapping to a network', () => {
  it('finds a state dict inside a training checkpoint, and leaves out optimiser states and batch counters', async () => {
    const { tensors } = await readPytorch(vector('checkpoint.pt'));
    const { report, tensors: mapped } = mapNames(tensors, layout);
    expect(describeMisfits(report)).toEqual([]);
    expect(report).toMatchObject({ fits: true, prefix: 'state_dict.' });
    expect(report.ignored).toContainEqual({
      from: 'state_dict.norm.num_batches_tracked', kind: 'count', why: 'a count of batches', belongs: true,
    });
    expect(report.ignored).toContainEqual({
      from: 'optimizer.state.0.momentum_buffer', kind: 'outside', why: 'outside the prefix state_dict.', belongs: false,
    });
    expect([...mapped.keys()]).toEqual([...layout.parameters, ...layout.buffers].map(({ name }) => name));
    expect(mapped.get('head.weight')).toEqual(tensors.get('state_dict.head.weight'));
  });

  it('says exactly what does not fit', async () => {
    const tensors = new Map(layout.parameters.map(({ name, shape }) => [name, f32(shape)]));
    tensors.delete('conv.bias');
    tensors.set('extra.weight', f32([2, 2]));
    tensors.set('head.weight', f32([8, 3]));
    tensors.set('other.gamma', f32([2]));
    const rules: NameRule[] = [{ from: '*.gamma', to: 'norm.weight' }];
    const { report } = mapNames(tensors, layout, rules);
    expect(describeMisfits(report)).toEqual([
      'missing: conv.bias [2]',
      'missing: norm.running_mean [2]',
      'missing: norm.running_var [2]',
      'unexpected: extra.weight [2, 2]',
      'shape: head.weight expected [3, 8], got [8, 3]',
      'more than one tensor for norm.weight: norm.weight, other.gamma',
    ]);
    const error = await expectTyped(() => requireFit('file.pt', report), 'malformed-file');
    expect(error.message).toContain('head.weight expected [3, 8], got [8, 3]');
  });

  it('does not choose between a network and its average', () => {
    const tensors = new Map(
      [...layout.parameters, ...layout.buffers].flatMap(({ name, shape }) =>
        ['model.', 'ema.'].map((prefix) => [prefix + name, f32(shape)] as const),
      ),
    );
    const { report } = mapNames(tensors, layout);
    expect(report.missing.length).toBe(layout.parameters.length + layout.buffers.length);
    const [line = ''] = describeMisfits(report);
    expect(line).toMatch(/^the network stands under model\. and under ema\.: a rule is to choose, /);
    expect(mapNames(tensors, layout, JSON.parse(line.slice(line.indexOf('['))) as NameRule[]).report.fits).toBe(true);
    const { report: chosen } = mapNames(tensors, layout, [{ from: 'model.**', to: '$1' }, { from: 'ema.**', to: null }]);
    expect(chosen.fits).toBe(true);
    expect(chosen.ignored.map(({ from, kind, belongs }) => [
      from.split('.')[0], kind, belongs,
    ])).toEqual(layout.parameters.concat(layout.buffers).map(() => ['ema', 'left-out', false]));
  });

  it("turns Keras's kernels, the inputs of a layer behind a flatten among them", () => {
    const tensors = new Map([
      ['conv/kernel:0', f32([3, 3, 1, 2])], ['conv/bias:0', f32([2])],
      ['norm/gamma:0', f32([2])], ['norm/beta:0', f32([2])], ['norm/moving_mean:0', f32([2])], ['norm/moving_variance:0', f32([2])],
      ['head/kernel:0', f32([8, 3])], ['head/bias:0', f32([3])],
    ]);
    const { tensors: mapped, report } = mapNames(tensors, layout, [], { convention: 'keras', inputExtents: flattenedInputs(graph) });
    expect(describeMisfits(report)).toEqual([]);
    // Element (o, i, y, x) of the convolution was element (y, x, i, o).
    expect(numbersOf(mapped.get('conv.weight') as RawTensor)).toEqual(
      [0, 1].flatMap((o) => [0, 1, 2].flatMap((y) => [0, 1, 2].map((x) => (y * 3 + x) * 2 + o))),
    );
    // Input (c, y, x) of the dense layer was input (y, x, c).
    expect(numbersOf(mapped.get('head.weight') as RawTensor)).toEqual(
      [0, 1, 2].flatMap((o) => [0, 1].flatMap((c) => [0, 1].flatMap((y) => [0, 1].map((x) => ((y * 2 + x) * 2 + c) * 3 + o)))),
    );
    expect(report.mapped.find(({ to }) => to === 'head.bias')).toEqual({ from: 'head/bias:0', to: 'head.bias', turned: false });
  });

  it('applies views, orders and shapes of rules', () => {
    const { tensors } = mapNames(
      new Map([['w', f32([12])]]),
      { parameters: [{ name: 'x', shape: [2, 6] }], buffers: [] },
      [{ from: 'w', to: 'x', view: [2, 3, 2], transpose: [2, 1, 0], shape: [2, 6] }],
    );
    expect(numbersOf(tensors.get('x') as RawTensor)).toEqual([0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]);
  });

  it('refuses orders that are not of the axes, and views of other sizes', async () => {
    const apply = (rule: Omit<NameRule, 'from' | 'to'>) =>
      mapNames(new Map([['w', f32([2, 3])]]), layout, [{ from: 'w', to: 'w', ...rule }]);
    await expectTyped(() => apply({ transpose: [0, 0] }), 'invalid-argument');
    await expectTyped(() => apply({ transpose: [0] }), 'invalid-argument');
    await expectTyped(() => apply({ view: [5] }), 'invalid-argument');
  });
});

describe('rule files', () => {
  const parse = (value: unknown) => parseNameRules(utf8(JSON.stringify(value)));

  it('are lists of rules', () => {
    const rules = [{ from: 'a.*', to: 'b.$1', transpose: true }, { from: '**', to: null }];
    expect(parse(rules)).toEqual(rules);
  });

  it.each([
    [
      'another key',
      [{ from: 'a', to: 'b', form: 'c' }],
      'rules[0].form: expected an option of a rule, got one that it does not have (did you mean from?)',
    ],
    ['a reference to no wildcard', [{ from: 'a.*', to: 'b.$2' }], '$1 to $1'],
    ['a dollar that refers to nothing', [{ from: 'a', to: '$' }], 'no wildcard'],
    ['no list', {}, 'list of rules'],
    ['an order of fractions', [{ from: 'a', to: 'b', transpose: [0.5] }], 'integers'],
    ['no target', [{ from: 'a' }], 'null'],
    ['a part behind the last', [{ from: 'a', to: 'b', part: [3, 3] }], 'rules[0].part: expected [i, n] with i < n'],
    ['a part of nothing', [{ from: 'a', to: 'b', part: [0] }], 'rules[0].part'],
    ['half a part', [{ from: 'a', to: 'b', part: [0.5, 2] }], 'integers'],
  ])('refuse %s', async (_what, value, named) => {
    expect((await expectTyped(() => parse(value))).message).toContain(named);
  });
});
