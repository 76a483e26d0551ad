/** LayersModel topologies as graphs: a model that tfjs-layers itself saved, layers one by one, and what is refused by the layer's name. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { inferShapes, parameterLayout } from '../../src/model/graph.ts';
import { graphFromLayersModel } from '../../src/model/layers-model.ts';
import { besideVector, expectedTensors, vector } from '../bundle/foreign/support.ts';
import { forward64 } from './forward.ts';

type Config = Record<string, unknown>;
const layer = (class_name: string, name: string, config: Config = {}) => ({ class_name, config: { name, ...config } });
const sequential = (shape: readonly number[], ...layers: { class_name: string; config: Config }[]) => {
  const [first, ...rest] = layers as [(typeof layers)[number], ...typeof layers];
  return {
    class_name: 'Sequential',
    config: { layers: [{ ...first, config: { ...first.config, batch_input_shape: [null, ...shape] } }, ...rest] },
  };
};
const conv = (name: string, more: Config = {}) =>
  layer('Conv2D', name, { filters: 4, kernel_size: [3, 3], strides: [1, 1], padding: 'same', ...more });
const nodesOf = (json: unknown) => graphFromLayersModel(json).nodes.map(({ name, op }) => `${name}:${op}`);

describe('a model that tfjs-layers saved', () => {
  const name = 'tfjs-layers.json';
  const json = JSON.parse(readFileSync(new URL(`../bundle/foreign/vectors/${name}`, import.meta.url), 'utf8')) as unknown;

  test('becomes a graph whose state its weights are', async () => {
    const graph = graphFromLayersModel(json);
    expect(nodesOf(json)).toEqual(['conv2d:conv2d', 'batch_normalization:batch_norm', 'flatten_Flatten1:flatten', 'dense:dense']);
    const { state, report } = stateFromForeign(graph, await readForeign(vector(name), besideVector(name)), [], name);
    expect(report.fits).toBe(true);

    // The same numbers as by Keras's own formulas in its own layout, HWC and [in, out].
    const keras = expectedTensors(name);
    const of = (tensor: string): readonly number[] => keras[tensor]?.values as readonly number[];
    const image = Float64Array.from({ length: 16 }, (_, i) => ((i * 7) % 5) - 2);
    const flat: number[] = [];
    for (let y = 0; y < 2; y++) {
      for (let x = 0; x < 2; x++) {
        for (let c = 0; c < 2; c++) {
          let sum = of('conv2d/bias')[c]!;
          for (let u = 0; u < 3; u++)
            for (let v = 0; v < 3; v++) sum += image[(y + u) * 4 + x + v]! * of('conv2d/kernel')[(u * 3 + v) * 2 + c]!;
          const scale = of('batch_normalization/gamma')[c]! / Math.sqrt(Math.abs(of('batch_normalization/moving_variance')[c]!) + 1e-3);
          flat.push((sum - of('batch_normalization/moving_mean')[c]!) * scale + of('batch_normalization/beta')[c]!);
        }
      }
    }
    const expected = [0, 1, 2].map((o) =>
      flat.reduce((sum, value, i) => sum + value * of('dense/kernel')[i * 3 + o]!, of('dense/bias')[o]!),
    );
    const parameters = new Map(
      [...(state?.parameters ?? []), ...(state?.buffers ?? [])].map(([key, { data }]) => [key, Float64Array.from(data)]),
    );
    // The vector's numbers are random, its variances negative too.
    parameters.set('batch_normalization.running_var', parameters.get('batch_normalization.running_var')!.map(Math.abs));
    const got = forward64(graph, parameters, image, 1, false);
    for (const [o, value] of expected.entries()) expect(got[o]).toBeCloseTo(value, 5);
  });
});

describe('layers', () => {
  test('activations of layers are nodes, dropout is nothing, a softmax at the output is left out', () => {
    const json = sequential(
      [8, 8, 3],
      conv('a', { activation: 'relu' }),
      layer('Dropout', 'drop', { rate: 0.5 }),
      layer('GlobalAveragePooling2D', 'pool'),
      layer('Dense', 'head', { units: 5, activation: 'softmax' }),
    );
    expect(nodesOf(json)).toEqual(['a:conv2d', 'a.activation:relu', 'pool.pool:global_average_pool', 'pool:flatten', 'head:dense']);
    expect(parameterLayout(graphFromLayersModel(json)).parameters.map(({ name, shape }) => [name, shape])).toEqual([
      ['a.weight', [4, 3, 3, 3]], ['a.bias', [4]], ['head.weight', [5, 4]], ['head.bias', [5]],
    ]);
  });

  const renamed = [['swish', 'silu'], ['hard_silu', 'hardswish'], ['hard_swish', 'hardswish'], ['tanh', 'tanh'], ['elu', 'elu']];
  test.each(renamed)('activation %s is %s', (name, op) => {
    const json = sequential([4], layer('Dense', 'a', { units: 3, activation: name }), layer('Dense', 'b', { units: 2 }));
    expect(nodesOf(json)).toEqual(['a:dense', `a.activation:${op}`, 'b:dense']);
  });

  const hard = sequential(
    [4], layer('Dense', 'a', { units: 3, activation: 'hard_sigmoid' }), layer('Activation', 'b', { activation: 'hard_sigmoid' }),
  );
  const versions: readonly (readonly [string, unknown])[] = [
    ['a model.json', { modelTopology: { keras_version: '3.10.0', model_config: hard } }],
    ['a topology', { keras_version: '3.0.0', model_config: hard }],
    ['a topology of its own', { modelTopology: { ...hard, keras_version: '10.1.2' } }],
  ];
  test.each(versions)("Keras 3's hard_sigmoid is hardsigmoid: %s", (_form, json) => {
    expect(nodesOf(json)).toEqual(['a:dense', 'a.activation:hardsigmoid', 'b:hardsigmoid']);
  });

  test.each(['2.15.0', 'tfjs-layers 4.22.0', 'tfjs-layers 3.1.0', undefined, 3, '3'])(
    'the hard_sigmoid of version %s, or of one that is not said, is another function and is refused', (version) => {
      const json = { modelTopology: { ...(version === undefined ? {} : { keras_version: version }), model_config: hard } };
      expect(() => graphFromLayersModel(json)).toThrow(
        expect.objectContaining({ code: 'unsupported', field: 'layer "a" (Dense).activation', got: expect.stringContaining('one of ') }),
      );
    },
  );

  test('`same` pads below and to the right first, as TensorFlow does', () => {
    const graph = graphFromLayersModel(
      sequential([8, 7, 3], conv('a', { strides: [2, 2] }), layer('Flatten', 'f'), layer('Dense', 'd', { units: 2 })),
    );
    expect(graph.nodes[0]).toMatchObject({ padding: [0, 1, 1, 1], stride: [2, 2] });
    expect(inferShapes(graph).get('a')).toEqual([4, 4, 4]);
  });

  test('zero padding goes into the depthwise convolution behind it; ReLU6; transposed convolution', () => {
    const json = sequential(
      [8, 8, 3],
      layer('ZeroPadding2D', 'pad', {
        padding: [
          [0, 1],
          [0, 1],
        ],
      }),
      layer('DepthwiseConv2D', 'dw', { kernel_size: [3, 3], strides: [2, 2], padding: 'valid', use_bias: false }),
      layer('ReLU', 'six', { max_value: 6 }),
      layer('Conv2DTranspose', 'up', { filters: 2, kernel_size: 2, strides: 2, padding: 'same' }),
      layer('Flatten', 'f'),
      layer('Dense', 'd', { units: 2 }),
    );
    const graph = graphFromLayersModel(json);
    expect(graph.nodes[0]).toMatchObject({ op: 'conv2d', groups: 3, out: 3, padding: [0, 1, 0, 1] });
    expect(inferShapes(graph).get('up')).toEqual([2, 8, 8]);
  });

  test.each([[{ groups: 2 }, 2], [{ groups: -1 }, 64], [{}, 32]])('group normalization of %o has %i groups', (config, groups) => {
    const { nodes } = graphFromLayersModel(
      sequential([4, 4, 64], layer('GroupNormalization', 'n', config), layer('GlobalAveragePooling2D', 'pool')),
    );
    expect(nodes[0]).toMatchObject({ op: 'group_norm', groups, epsilon: 1e-3 });
  });

  test('a functional model with a residual, a squeeze and a concatenation', () => {
    const node = (class_name: string, name: string, inputs: readonly string[], config: Config = {}) =>
      ({ ...layer(class_name, name, config), name, inbound_nodes: inputs.length === 0 ? [] : [inputs.map((input) => [input, 0, 0, {}])] });
    const json = {
      modelTopology: {
        model_config: {
          class_name: 'Functional',
          config: {
            layers: [
              node('InputLayer', 'image', [], { batch_input_shape: [null, 6, 6, 3] }),
              node('Conv2D', 'a', ['image'], conv('a').config),
              node('Conv2D', 'b', ['a'], conv('b').config),
              node('Add', 'sum', ['a', 'b']),
              node('GlobalAveragePooling2D', 'squeeze', ['sum']),
              node('Dense', 'gate', ['squeeze'], { units: 4, activation: 'sigmoid' }),
              node('Reshape', 'as_image', ['gate'], { target_shape: [1, 1, 4] }),
              node('Multiply', 'scaled', ['sum', 'as_image']),
              node('Concatenate', 'both', ['scaled', 'a'], { axis: -1 }),
              node('GlobalMaxPooling2D', 'pool', ['both']),
              node('Dense', 'head', ['pool'], { units: 3 }),
            ],
            input_layers: [['image', 0, 0]],
            output_layers: [['head', 0, 0]],
          },
        },
      },
    };
    const graph = graphFromLayersModel(json);
    expect(graph.output).toBe('head');
    expect(inferShapes(graph).get('both')).toEqual([8, 6, 6]);
  });
});

describe('refused by name', () => {
  test.each<[string, unknown, RegExp]>([
    ['an unknown layer', sequential([4], layer('LSTM', 'memory')), /layer "memory".*got "LSTM"/],
    [
      'an unknown layer behind flattened images',
      sequential([4, 4, 2], layer('Flatten', 'flat'), layer('LSTM', 'memory')),
      /layer "memory": expected a kind of layer that a graph has, got "LSTM"/,
    ],
    [
      'an unknown activation',
      sequential([4], layer('Dense', 'd', { units: 2, activation: 'softsign' })),
      /layer "d" \(Dense\)\.activation.*softsign/,
    ],
    ['channels first', sequential([4, 4, 3], conv('c', { data_format: 'channels_first' })), /layer "c" \(Conv2D\)\.data_format/],
    [
      'averages that leave padding out',
      sequential([5, 5, 3], layer('AveragePooling2D', 'p', { pool_size: [2, 2], strides: [2, 2], padding: 'same' })),
      /layer "p" \(AveragePooling2D\)\.padding/,
    ],
    [
      'features in another order',
      sequential([4, 4, 3], layer('Flatten', 'f'), layer('BatchNormalization', 'n')),
      /node "n" \(batch_norm\).*dense layer/,
    ],
    ['no offset', sequential([4, 4, 8], layer('GroupNormalization', 'n', { groups: 2, center: false })), /layer "n".*center/],
    ['no scale', sequential([4], layer('BatchNormalization', 'n', { scale: false })), /layer "n".*scale/],
    ['a graph model', { format: 'graph-model', modelTopology: {} }, /graph-model/],
    ['images of any size', sequential([null as unknown as number, 4, 3], conv('c')), /extents that are fixed/],
    ['no topology', { modelTopology: 3 }, /modelTopology/],
  ])('%s', (_name, json, message) => {
    expect(() => graphFromLayersModel(json)).toThrow(message);
  });

  test.each<[string, unknown, object]>([
    ['a list of nothing', [[]], { code: 'invalid-argument', got: '[]' }],
    ['no name but a number', [[3, 0, 0]], { code: 'invalid-argument', got: '[3, 0, 0]' }],
    ['null', [null], { code: 'invalid-argument', got: '[null]' }],
    ['names alone', ['image', 'head'], { code: 'invalid-argument', got: '["image", "head"]' }],
    ['no list', { a: ['head', 0, 0] }, { code: 'invalid-argument', expected: 'a list', got: 'Object' }],
    ['a layer that is not there', [['nosuch', 0, 0]], { code: 'invalid-argument', got: '"nosuch"' }],
    ['none', [], { code: 'unsupported', expected: 'one', got: '0' }],
    ['two', [['head', 0, 0], ['image', 0, 0]], { code: 'unsupported', expected: 'one', got: '2' }],
    ['a second output of a layer', [['head', 0, 1]], { code: 'unsupported', got: '["head", 0, 1]' }],
  ])('ends of a functional model, under the name of the field: %s', (_name, ends, facts) => {
    const model = (fields: Config): unknown => ({
      class_name: 'Functional',
      config: {
        layers: [
          { ...layer('InputLayer', 'image', { batch_input_shape: [null, 4] }), inbound_nodes: [] },
          { ...layer('Dense', 'head', { units: 2 }), inbound_nodes: [[['image', 0, 0, {}]]] },
        ],
        input_layers: ['image', 0, 0], output_layers: ['head', 0, 0], ...fields,
      },
    });
    expect(graphFromLayersModel(model({})).output).toBe('head');
    for (const key of ['input_layers', 'output_layers']) {
      expect(() => graphFromLayersModel(model({ [key]: ends }))).toThrow(
        expect.objectContaining({ ...facts, field: `modelTopology.config.${key}` }),
      );
    }
    // An input that is a layer of another kind.
    expect(() => graphFromLayersModel(model({ input_layers: [['head', 0, 0]] }))).toThrow(
      expect.objectContaining({ code: 'invalid-argument', field: 'modelTopology.config.input_layers', got: '"head"' }),
    );
  });

  test.each<[string, unknown, object]>([
    ['an object without a kind', {}, { code: 'invalid-argument', field: 'modelTopology.class_name', got: 'undefined' }],
    ['a topology without a kind', { modelTopology: { config: {} } }, { code: 'invalid-argument', field: 'modelTopology.class_name' }],
    [
      'a kind of model that is not taken',
      { class_name: 'Subclassed', config: {} },
      { code: 'unsupported', field: 'modelTopology.class_name', got: '"Subclassed"' },
    ],
  ])('what is no topology is a wrong argument, what is one of another kind unsupported: %s', (_name, json, facts) => {
    expect(() => graphFromLayersModel(json)).toThrow(expect.objectContaining(facts));
  });
});
