/** Parsing an untrusted graph, shape inference, parameter names and layouts, the builder. */
import { describe, expect, test } from 'vitest';
import { TrajportError } from '../../src/core/errors.ts';
import { GraphBuilder, sequential } from '../../src/model/builder.ts';
import { inferShapes, outputClasses, parameterLayout, parseGraph } from '../../src/model/graph.ts';

const dense = { name: 'fc', inputs: ['input'], op: 'dense', out: 3, bias: true };
const valid = { version: 1, input: [4], nodes: [dense], output: 'fc' };

/** A valid graph but for one field of its only convolution. */
const conv = (fields: object): object => ({
  version: 1,
  input: [4, 9, 7],
  nodes: [{ name: 'c', inputs: ['input'], op: 'conv2d', out: 6, kernel: 3, ...fields }],
  output: 'c',
});

describe('parseGraph', () => {
  test('fills in defaults and widens single numbers', () => {
    expect(parseGraph(conv({ padding: [1, 2] })).nodes[0]).toEqual({
      name: 'c',
      inputs: ['input'],
      op: 'conv2d',
      out: 6,
      kernel: [3, 3],
      stride: [1, 1],
      padding: [1, 1, 2, 2],
      dilation: [1, 1],
      groups: 1,
      bias: true,
    });
  });

  test('a GELU is the exact one unless it says otherwise, as in PyTorch', () => {
    const gelu = (fields: object): unknown =>
      parseGraph({
        version: 1,
        input: [4],
        nodes: [
          { name: 'g', inputs: ['input'], op: 'gelu', ...fields },
          { ...dense, inputs: ['g'] },
        ],
        output: 'fc',
      }).nodes[0];
    expect(gelu({})).toMatchObject({ approximate: 'none' });
    expect(gelu({ approximate: 'tanh' })).toMatchObject({ approximate: 'tanh' });
  });

  test('its result survives JSON', () => {
    const graph = parseGraph(conv({ stride: 2, groups: 2 }));
    expect(parseGraph(JSON.parse(JSON.stringify(graph)))).toEqual(graph);
  });

  test.each<[string, unknown, string, RegExp]>([
    ['null', null, 'invalid-argument', /^graph: expected an object, got null/],
    ['a list', [], 'invalid-argument', /^graph: /],
    ['another version', { ...valid, version: 2 }, 'unsupported', /graph.version: expected 1, got 2/],
    ['an input of rank 2', { ...valid, input: [4, 4] }, 'invalid-argument', /graph.input/],
    ['an input extent of 0', { ...valid, input: [0] }, 'invalid-argument', /graph.input.*got 0/],
    ['an input that fits no memory', { ...valid, input: [2 ** 20, 2 ** 20, 2 ** 20] }, 'limit', /graph.input/],
    ['no nodes', { ...valid, nodes: [] }, 'invalid-argument', /graph.nodes: expected at least one node/],
    ['too many nodes', { ...valid, nodes: Array.from({ length: 10_001 }, () => dense) }, 'limit', /10001/],
    ['an unknown field', { ...valid, extra: 1 }, 'invalid-argument', /graph.extra/],
    ['an unknown node field', { ...valid, nodes: [{ ...dense, strid: 2 }] }, 'invalid-argument', /nodes\[0\].strid/],
    ['a missing width', { ...valid, nodes: [{ ...dense, out: undefined }] }, 'invalid-argument', /nodes\[0\].out/],
    ['a width as text', { ...valid, nodes: [{ ...dense, out: '3' }] }, 'invalid-argument', /nodes\[0\].out.*got "3"/],
    ['a bias that is no flag', { ...valid, nodes: [{ ...dense, bias: 1 }] }, 'invalid-argument', /nodes\[0\].bias/],
    ['a node named input', { ...valid, nodes: [{ ...dense, name: 'input' }] }, 'invalid-argument', /nodes\[0\].name/],
    ['an inherited field', { ...valid, nodes: [{ ...dense, op: 'toString' }] }, 'unsupported', /"toString"/],
    ['two nodes of one name', { ...valid, nodes: [dense, dense] }, 'invalid-argument', /nodes\[1\].name/],
    ['a later node as input', { ...valid, nodes: [{ ...dense, inputs: ['fc'] }] }, 'invalid-argument', /"fc".inputs/],
    ['two inputs to a dense layer', { ...valid, nodes: [{ ...dense, inputs: ['input', 'input'] }] }, 'invalid-argument', /1 input, got 2/],
    ['an output that is no node', { ...valid, output: 'fd' }, 'invalid-argument', /loose end/],
    ['the input as output', { ...valid, output: 'input' }, 'invalid-argument', /loose end/],
    ['a loose end', { ...valid, nodes: [dense, { ...dense, name: 'other' }] }, 'invalid-argument', /"other".*loose end/],
    ['a stride of 0', conv({ stride: 0 }), 'invalid-argument', /nodes\[0\].stride/],
    ['a negative padding', conv({ padding: -1 }), 'invalid-argument', /nodes\[0\].padding/],
    ['a kernel of three extents', conv({ kernel: [1, 2, 3] }), 'invalid-argument', /1 or 2 integers/],
    ['a kernel beyond the image', conv({ kernel: [10, 1] }), 'invalid-argument', /holds one window of 10×1/],
    ['groups that do not divide', conv({ groups: 3 }), 'invalid-argument', /divisible by 3 groups/],
    ['a weight beyond all memory', conv({ out: 2 ** 24, kernel: [9, 7] }), 'limit', /c.weight|"c"/],
    [
      'heads that do not divide',
      {
        ...valid,
        input: [1, 2, 2],
        nodes: [
          { name: 't', op: 'tokens', inputs: ['input'] },
          { name: 'a', op: 'attention', inputs: ['t'], heads: 2 },
        ],
        output: 'a',
      },
      'invalid-argument',
      /"a" \(attention\): expected features of queries, keys and values that divide into 6 heads, got 1/,
    ],
    [
      'a dense layer on token numbers',
      { ...valid, vocabulary: 5 },
      'invalid-argument',
      /an embedding between token numbers and other layers/,
    ],
    [
      'an addition of unequal shapes',
      { ...valid, nodes: [dense, { name: 'sum', inputs: ['fc', 'input'], op: 'add' }], output: 'sum' },
      'invalid-argument',
      /"sum" \(add\): expected inputs of one shape, got \[3\] and \[4\]/,
    ],
    [
      'a pooling window of padding alone',
      { ...valid, input: [1, 4, 4], nodes: [{ name: 'p', inputs: ['input'], op: 'max_pool', kernel: 2, padding: 2 }], output: 'p' },
      'invalid-argument',
      /padding below the kernel/,
    ],
  ])('%s is refused', (_what, json, code, message) => {
    let caught: unknown;
    try {
      parseGraph(json);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(TrajportError);
    expect((caught as TrajportError).code).toBe(code);
    expect((caught as TrajportError).message).toMatch(message);
  });
});

describe('inferShapes and parameterLayout', () => {
  // Extents as torch.nn.Conv2d and MaxPool2d give them.
  test.each<[object, readonly number[]]>([
    [{ kernel: 3 }, [6, 7, 5]],
    [{ kernel: 3, padding: 1 }, [6, 9, 7]],
    [{ kernel: 3, padding: 1, stride: 2 }, [6, 5, 4]],
    [{ kernel: [3, 2], stride: [2, 3], padding: [1, 0] }, [6, 5, 2]],
    [{ kernel: 3, dilation: 2, padding: [2, 2] }, [6, 9, 7]],
    [{ kernel: [2, 2], padding: [0, 1, 1, 0] }, [6, 9, 7]],
  ])('conv2d %j', (fields, shape) => {
    expect(inferShapes(parseGraph(conv(fields))).get('c')).toEqual(shape);
  });

  test('pooling counts whole windows only', () => {
    const graph = sequential([2, 7, 7], [{ op: 'max_pool', kernel: 2 }, { op: 'average_pool', kernel: 3, stride: 2, padding: 1 }]);
    expect([...inferShapes(graph).values()]).toEqual([[2, 7, 7], [2, 3, 3], [2, 2, 2]]);
  });

  test('names, shapes, roles and fan-in are PyTorch\'s', () => {
    const graph = sequential(
      [3, 8, 8],
      [
        { op: 'conv2d', name: 'features.0', out: 4, kernel: 3, bias: false },
        { op: 'batch_norm', name: 'features.1' },
        { op: 'conv2d', name: 'features.3', out: 4, kernel: 3, groups: 4 },
        { op: 'global_average_pool' },
        { op: 'flatten' },
        { op: 'dense', name: 'classifier', out: 10 },
      ],
    );
    const { parameters, buffers } = parameterLayout(graph);
    expect(parameters.map(({ name, shape, role, fanIn }) => [name, shape.join('×'), role, fanIn])).toEqual([
      ['features.0.weight', '4×3×3×3', 'weight', 27],
      ['features.1.weight', '4', 'scale', 0],
      ['features.1.bias', '4', 'shift', 0],
      ['features.3.weight', '4×1×3×3', 'weight', 9],
      ['features.3.bias', '4', 'bias', 9],
      ['classifier.weight', '10×4', 'weight', 4],
      ['classifier.bias', '10', 'bias', 4],
    ]);
    expect(buffers.map(({ name }) => name)).toEqual(['features.1.running_mean', 'features.1.running_var']);
    expect(outputClasses(graph)).toBe(10);
  });

  test('a classifier that was not flattened is told so', () => {
    const graph = sequential([1, 4, 4], [{ op: 'conv2d', name: 'c', out: 2, kernel: 4 }]);
    expect(() => outputClasses(graph)).toThrow(
      /expected scores of shape \[classes\], or \[tokens, vocabulary\], got \[2, 1, 1\] \(flatten it\?\)/,
    );
  });
});

describe('GraphBuilder', () => {
  test('an empty shortcut is the identity; nameless layers are numbered', () => {
    const graph = sequential([2, 4, 4], [
      { op: 'residual', body: [{ op: 'conv2d', name: 'body', out: 2, kernel: 3, padding: 1 }, { op: 'relu' }] },
      { op: 'relu' },
    ]);
    expect(graph.nodes.map(({ name, inputs }) => [name, ...inputs])).toEqual([
      ['body', 'input'],
      ['relu1', 'body'],
      ['add1', 'relu1', 'input'],
      ['relu2', 'add1'],
    ]);
  });

  test('two nodes do not own one name of a parameter', () => {
    const builder = new GraphBuilder([3], 9);
    const token = builder.add(
      { op: 'class_token', name: 'a.weight' },
      builder.add({ op: 'embedding', name: 'a', features: 4 }, builder.input),
    );
    const output = builder.add({ op: 'dense', name: 'd', out: 2 }, builder.add({ op: 'mean_tokens' }, token));
    expect(() => builder.build(output)).toThrow(/graph node "a.weight": expected parameters of its own, not "a.weight" of node "a"/);
  });

  test('a running number skips names that are taken; an explicit duplicate is refused', () => {
    const builder = new GraphBuilder([3]);
    const first = builder.add({ op: 'relu', name: 'relu1' }, builder.input);
    expect(builder.add({ op: 'relu' }, first)).toBe('relu2');
    expect(() => builder.add({ op: 'relu', name: 'relu2' }, first)).toThrow(/a name used by no other layer, got "relu2"/);
  });
});
