/**
 * Weights of Keras models against Keras's own arithmetic: an interpreter of topologies in f64 that keeps Keras's layout throughout
 * (images [H, W, C], kernels [in, out] and HWIO), beside the graph and the state that trajport makes of the same model and file.
 */
import { describe, expect, it } from 'vitest';
import { stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { sequential } from '../../../src/model/builder.ts';
import { graphFromLayersModel } from '../../../src/model/layers-model.ts';
import { forward64 } from '../../model/forward.ts';
import { generator } from '../generator.ts';

interface Layer {
  readonly kind: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly config: Readonly<Record<string, unknown>>;
}

/** Extents in Keras's order, and row-major values. */
interface Value {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

const size = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

const maps: Readonly<Record<string, (x: number) => number>> = {
  linear: (x) => x, relu: (x) => Math.max(0, x), tanh: Math.tanh, sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

/** One model in the making: its layers, its weights by Keras's names, and what it says of one image. */
class KerasModel {
  readonly layers: Layer[] = [];
  readonly weights = new Map<string, Value>();
  readonly #values = new Map<string, Value>();
  readonly #next: () => number;

  constructor(image: readonly [number, number, number], next: () => number) {
    this.#next = next;
    this.layers.push({ kind: 'InputLayer', name: 'image', inputs: [], config: { batch_input_shape: [null, ...image] } });
    this.#values.set('image', this.#random(image));
  }

  value(name: string): Value {
    return this.#values.get(name) as Value;
  }

  add(kind: string, inputs: readonly string[], config: Readonly<Record<string, unknown>> = {}): string {
    const name = `l${this.layers.length}`;
    this.layers.push({ kind, name, inputs, config });
    this.#values.set(name, this.#compute(kind, name, inputs.map((input) => this.value(input)), config));
    return name;
  }

  json(output: string): unknown {
    const layers = this.layers.map(({ kind, name, inputs, config }) => ({
      class_name: kind,
      name,
      config: { name, ...config },
      inbound_nodes: inputs.length === 0 ? [] : [inputs.map((input) => [input, 0, 0, {}])],
    }));
    return {
      modelTopology: { class_name: 'Functional', config: { layers, input_layers: [['image', 0, 0]], output_layers: [[output, 0, 0]] } },
    };
  }

  /** The weights as a file of them would be read. */
  checkpoint(): Parameters<typeof stateFromForeign>[1] {
    const tensors = new Map([...this.weights].map(([name, { shape, data }]): [string, RawTensor] => [
      name, { dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(data).buffer) },
    ]));
    return { tensors, metadata: new Map(), convention: 'keras' };
  }

  /** Numbers that f32 holds, so that both sides compute from the same. */
  #random(shape: readonly number[], offset = 0): Value {
    return { shape, data: Float64Array.from({ length: size(shape) }, () => (this.#next() % 1024) / 1024 - 0.5 + offset) };
  }

  #weight(name: string, shape: readonly number[], offset = 0): Float64Array {
    const value = this.#random(shape, offset);
    this.weights.set(name, value);
    return value.data;
  }

  #compute(kind: string, name: string, inputs: readonly Value[], config: Readonly<Record<string, unknown>>): Value {
    const { shape, data } = inputs[0] as Value;
    const activation = maps[(config['activation'] as string | undefined) ?? 'linear'] as (x: number) => number;
    switch (kind) {
      case 'Flatten':
        return { shape: [size(shape)], data };
      case 'Activation':
        return { shape, data: data.map(activation) };
      case 'LeakyReLU':
        return { shape, data: data.map((x) => (x < 0 ? (config['alpha'] as number) * x : x)) };
      case 'Add':
        return { shape, data: data.map((x, i) => inputs.slice(1).reduce((sum, other) => sum + (other.data[i] as number), x)) };
      case 'Dense': {
        const units = config['units'] as number;
        const kernel = this.#weight(`${name}/kernel`, [data.length, units]);
        const bias = this.#weight(`${name}/bias`, [units]);
        return {
          shape: [units],
          data: bias.map((start, u) => activation(data.reduce((sum, x, i) => sum + x * (kernel[i * units + u] as number), start))),
        };
      }
      case 'BatchNormalization': {
        const channels = shape.at(-1) as number;
        const [gamma, beta, mean] = ['gamma', 'beta', 'moving_mean'].map((suffix) => this.#weight(`${name}/${suffix}`, [channels])) as [
          Float64Array,
          Float64Array,
          Float64Array,
        ];
        const variance = this.#weight(`${name}/moving_variance`, [channels], 1);
        const normed = data.map((x, i) => {
          const c = i % channels;
          return ((x - (mean[c] as number)) / Math.sqrt((variance[c] as number) + 1e-3)) * (gamma[c] as number) + (beta[c] as number);
        });
        return { shape, data: normed };
      }
      case 'Conv2D': {
        const [height, width, channels] = shape as [number, number, number];
        const [filters, [rows, columns]] = [config['filters'] as number, config['kernel_size'] as [number, number]];
        const kernel = this.#weight(`${name}/kernel`, [rows, columns, channels, filters]);
        const bias = this.#weight(`${name}/bias`, [filters]);
        const out = [height - rows + 1, width - columns + 1, filters] as const;
        const result = Float64Array.from({ length: size(out) }, (_, at) => {
          const [f, x, y] = [at % filters, Math.floor(at / filters) % out[1], Math.floor(at / filters / out[1])];
          let sum = bias[f] as number;
          for (let u = 0; u < rows; u++) for (let v = 0; v < columns; v++) for (let c = 0; c < channels; c++) {
            sum +=
              (data[((y + u) * width + x + v) * channels + c] as number) *
              (kernel[((u * columns + v) * channels + c) * filters + f] as number);
          }
          return activation(sum);
        });
        return { shape: out, data: result };
      }
      default:
        throw new Error(kind);
    }
  }
}

/** [H, W, C] → [C, H, W]. */
function channelsFirst({ shape, data }: Value): Float64Array {
  const [height, width, channels] = shape as [number, number, number];
  return Float64Array.from(
    { length: data.length },
    (_, at) => data[(at % (height * width)) * channels + Math.floor(at / (height * width))] as number,
  );
}

function expectSameScores(model: KerasModel, output: string): void {
  const graph = graphFromLayersModel(model.json(output));
  const { state, report } = stateFromForeign(graph, model.checkpoint(), [], 'model');
  expect(report.fits).toBe(true);
  const tensors = new Map(
    [...(state?.parameters ?? []), ...(state?.buffers ?? [])].map(([key, { data }]) => [key, Float64Array.from(data)]),
  );
  const got = forward64(graph, tensors, channelsFirst(model.value('image')), 1, false);
  const kinds = model.layers.map(({ kind }) => kind).join(' ');
  for (const [k, expected] of model.value(output).data.entries())
    expect(Math.abs((got[k] as number) - expected), kinds).toBeLessThan(1e-9 * (1 + Math.abs(expected)));
}

describe('a Keras model behind flattened images', () => {
  const start = (seed: number): KerasModel => new KerasModel([3, 2, 4], generator(seed));

  it('two dense layers, the first as wide as what was flattened', () => {
    const model = start(1);
    const wide = model.add('Dense', [model.add('Flatten', ['image'])], { units: 24, activation: 'relu' });
    expectSameScores(model, model.add('Dense', [wide], { units: 5 }));
  });

  it('a batch norm between flatten and dense', () => {
    const model = start(2);
    const norm = model.add('BatchNormalization', [model.add('Flatten', ['image'])]);
    expectSameScores(model, model.add('Dense', [model.add('Activation', [norm], { activation: 'tanh' })], { units: 24 }));
  });

  it('a sum of branches that keep the order', () => {
    const model = start(3);
    const flat = model.add('Flatten', ['image']);
    const sum = model.add('Add', [model.add('LeakyReLU', [flat], { alpha: 0.25 }), model.add('BatchNormalization', [flat]), flat]);
    expectSameScores(model, model.add('Dense', [sum], { units: 5 }));
  });

  it('architectures at random', () => {
    const next = generator(20);
    const pick = <T>(items: readonly T[]): T => items[next() % items.length] as T;
    let squares = 0;
    let norms = 0;
    for (let round = 0; round < 300; round++) {
      const model = new KerasModel([3 + (next() % 3), 3 + (next() % 3), 1 + (next() % 3)], next);
      let x = 'image';
      for (let i = next() % 3; i > 0; i--) {
        const kernel = [1 + (next() % 2), 1 + (next() % 2)];
        x = pick([true, false])
          ? model.add('BatchNormalization', [x])
          : model
                .value(x)
                .shape.slice(0, 2)
                .every((extent) => extent > 1)
            ? model.add('Conv2D', [x], { filters: 1 + (next() % 4), kernel_size: kernel, activation: pick(['linear', 'relu']) })
            : x;
      }
      x = model.add('Flatten', [x]);
      const flat = x;
      for (let i = next() % 5; i > 0; i--) {
        const width = model.value(x).data.length;
        switch (pick(['dense', 'norm', 'map', 'leaky', 'add'])) {
          case 'dense': {
            const units = pick([width, width, 1 + (next() % 7)]);
            x = model.add('Dense', [x], { units, activation: pick(Object.keys(maps)) });
            if (units === model.value(flat).data.length) squares++;
            break;
          }
          case 'norm':
            x = model.add('BatchNormalization', [x]);
            norms++;
            break;
          case 'map':
            x = model.add('Activation', [x], { activation: pick(Object.keys(maps)) });
            break;
          case 'leaky':
            x = model.add('LeakyReLU', [x], { alpha: 0.5 });
            break;
          default:
            x = model.add('Add', [x, model.add('BatchNormalization', [x])]);
        }
      }
      expectSameScores(model, model.add('Dense', [x], { units: 1 + (next() % 5), activation: 'linear' }));
    }
    expect(Math.min(squares, norms)).toBeGreaterThan(40);
  });

  it('a weight that the network keeps [in, out] is left as Keras has it, its units put in order', () => {
    const model = start(4);
    const last = model.add('Dense', [model.add('Flatten', ['image'])], { units: 24 });
    const graph = sequential([4, 3, 2], [{ op: 'flatten' }, { op: 'dense', name: last, out: 24, transposed: true }]);
    const { state } = stateFromForeign(graph, model.checkpoint(), [], 'model');
    const tensors = new Map([...(state?.parameters ?? [])].map(([key, { data }]) => [key, Float64Array.from(data)]));
    const got = forward64(graph, tensors, channelsFirst(model.value('image')), 1, false);
    for (const [k, expected] of model.value(last).data.entries()) expect(got[k]).toBeCloseTo(expected, 9);
  });
});
