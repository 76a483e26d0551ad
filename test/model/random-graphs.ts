/**
 * Random small networks of every operation on real numbers, valid by construction: what a layer may be is chosen by the shape it finds. Images,
 * sequences and vectors turn into one another, and values are read again later, so that axes are tied in ways nobody thought of.
 */
import { GraphBuilder, type Layer } from '../../src/model/builder.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { Random, streams } from '../../src/tensor/random.ts';

interface Value {
  readonly name: string;
  readonly shape: readonly number[];
}

const INPUTS: readonly (readonly number[])[] = [[5], [6], [7], [12], [2, 4, 4], [4, 4, 2], [3, 2, 3]];
const LARGEST_VALUE = 200;

const elements = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);
const divisorsOf = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0);
const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((extent, axis) => extent === b[axis]);
const featureAxis = (shape: readonly number[]): number => (shape.length === 3 ? 0 : shape.length - 1);

class Grower {
  readonly #random: Random;
  readonly #builder: GraphBuilder;
  readonly #values: Value[];
  readonly #used = new Set<string>();
  #layers = 0;

  constructor(seed: number) {
    this.#random = new Random(seed, streams.permutation, 1);
    const input = this.#pick(INPUTS);
    this.#builder = new GraphBuilder(input);
    this.#values = [{ name: this.#builder.input, shape: input }];
  }

  grow(): ModelGraph {
    const layers = 3 + this.#random.below(6);
    for (let i = 0; i < layers; i++) this.#step();
    // Every loose end is read, each by a layer of its own.
    const ends = this.#values.filter(({ name }) => !this.#used.has(name)).map(({ name }) => this.#builder.chain(name, [{ op: 'flatten' }, { op: 'dense', name: `end-${name}`, out: 3 }]));
    return this.#builder.build(ends.length === 1 ? (ends[0] as string) : this.#builder.add({ op: 'add' }, ...ends));
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#random.below(items.length)] as T;
  }

  #add(layer: Layer, shape: readonly number[], ...inputs: readonly Value[]): Value {
    const name = this.#builder.add({ ...layer, name: `${layer.op}${this.#layers++}` }, ...inputs.map((input) => input.name));
    for (const input of inputs) this.#used.add(input.name);
    const value = { name, shape };
    this.#values.push(value);
    return value;
  }

  /** One layer more, behind the last value or an earlier one. */
  #step(): void {
    const x = this.#random.below(4) > 0 ? (this.#values.at(-1) as Value) : this.#pick(this.#values);
    const own = x.shape.length === 3 ? this.#onImages(x) : x.shape.length === 2 ? this.#onSequences(x) : this.#onVectors(x);
    this.#pick(this.#random.below(3) > 0 ? own : this.#onAny(x))();
  }

  #dense(x: Value, out: number): Value {
    return this.#add({ op: 'dense', out }, x.shape.with(featureAxis(x.shape), out), x);
  }

  #onAny(x: Value): (() => unknown)[] {
    const { shape } = x;
    const axis = featureAxis(shape);
    const features = shape[axis] as number;
    const alike = this.#values.filter((value) => sameShape(value.shape, shape));
    const kept = (layer: Layer) => () => this.#add(layer, shape, x);
    return [
      kept({ op: this.#pick(['relu', 'tanh', 'silu', 'gelu', 'sigmoid', 'leaky_relu', 'relu6'] as const) }),
      kept({ op: this.#pick(['layer_norm', 'rms_norm', 'softmax', 'layer_scale'] as const) }),
      () => this.#add({ op: this.#pick(['add', 'multiply'] as const) }, shape, x, this.#pick(alike)),
      () => this.#add({ op: 'add' }, shape, x, this.#dense(x, features)),
      () => {
        if (elements(shape) <= LARGEST_VALUE / 2) this.#add({ op: 'concat' }, shape.with(axis, 2 * features), x, this.#pick(alike));
      },
      () => {
        const start = this.#random.below(features);
        const length = 1 + this.#random.below(features - start);
        this.#add({ op: 'slice', start, length }, shape.with(axis, length), x);
      },
      () => this.#reshaped(x),
    ];
  }

  #reshaped(x: Value): void {
    const count = elements(x.shape);
    const first = this.#pick(divisorsOf(count));
    const second = this.#pick(divisorsOf(count / first));
    const shape = this.#pick([[count], [first, count / first], [first, second, count / first / second]]);
    this.#add({ op: 'reshape', shape }, shape, x);
  }

  #onVectors(x: Value): (() => unknown)[] {
    const features = x.shape[0] as number;
    return [
      ...Array.from({ length: 3 }, () => () => this.#dense(x, this.#pick([1, 4, 8, 12, 16, 24]))),
      ...Array.from({ length: 3 }, () => () => this.#reshaped(x)),
      () => this.#add({ op: 'batch_norm' }, x.shape, x),
      () => this.#add({ op: 'group_norm', groups: this.#pick(divisorsOf(features)) }, x.shape, x),
    ];
  }

  #onImages(x: Value): (() => unknown)[] {
    const [channels, height, width] = x.shape as [number, number, number];
    const smallest = Math.min(height, width);
    const convolution = (): void => {
      const groups = this.#pick(divisorsOf(channels));
      const kernel = 1 + this.#random.below(Math.min(3, smallest));
      const padding = this.#random.below(2);
      const out = groups * (1 + this.#random.below(Math.max(1, Math.floor(8 / groups))));
      const extent = (side: number): number => side + 2 * padding - kernel + 1;
      this.#add({ op: 'conv2d', out, kernel, padding, groups }, [out, extent(height), extent(width)], x);
    };
    const transposed = (): void => {
      const groups = this.#pick(divisorsOf(channels));
      const kernel = 1 + this.#random.below(2);
      const out = groups * (1 + this.#random.below(Math.max(1, Math.floor(6 / groups))));
      this.#add({ op: 'conv_transpose2d', out, kernel, groups }, [out, height + kernel - 1, width + kernel - 1], x);
    };
    const pooling = (): void => {
      const op = this.#pick(['max_pool', 'average_pool'] as const);
      if (smallest >= 2) this.#add({ op, kernel: 2, stride: 1 }, [channels, height - 1, width - 1], x);
    };
    const pooled = (): Value => this.#add({ op: this.#pick(['global_average_pool', 'global_max_pool'] as const) }, [channels, 1, 1], x);
    return [
      convolution, convolution, convolution, transposed, pooling, pooled,
      () => this.#add({ op: 'multiply' }, x.shape, x, pooled()),
      () => this.#add({ op: this.#pick(['adaptive_average_pool', 'adaptive_max_pool'] as const), size: 2 }, [channels, 2, 2], x),
      () => this.#add({ op: 'batch_norm' }, x.shape, x),
      () => this.#add({ op: 'group_norm', groups: this.#pick(divisorsOf(channels)) }, x.shape, x),
      () => this.#add({ op: 'flatten' }, [elements(x.shape)], x),
      ...Array.from({ length: 3 }, () => () => this.#add({ op: 'tokens' }, [height * width, channels], x)),
    ];
  }

  #onSequences(x: Value): (() => unknown)[] {
    const [tokens, features] = x.shape as [number, number];
    const heads = this.#pick([1, 2, 4]);
    const causal = this.#random.below(3) === 0;
    const width = this.#pick([1, 2, 3]);
    const fused = (): void => {
      const keyHeads = this.#pick([1, heads]);
      this.#add({ op: 'attention', heads, key_heads: keyHeads, causal }, [tokens, heads * width], this.#dense(x, (heads + 2 * keyHeads) * width));
    };
    const apart = (): void => {
      const other = this.#pick(this.#values.filter(({ shape }) => shape.length === 2 && shape[0] === tokens));
      const [queries, keys] = [this.#dense(x, heads * width), this.#dense(other, heads * width)];
      const values = this.#pick([() => keys, () => queries, () => this.#dense(x, heads * this.#pick([1, 2]))])();
      this.#add({ op: 'attention', heads, causal }, [tokens, values.shape[1] as number], queries, keys, values);
    };
    return [
      fused, fused, apart, apart,
      () => this.#dense(x, this.#pick([1, 4, 6, 8])),
      () => this.#add({ op: 'transpose' }, [features, tokens], x),
      () => this.#add({ op: 'mean_tokens' }, [features], x),
      () => this.#add({ op: 'select_token', index: this.#random.below(tokens) }, [features], x),
      () => this.#add({ op: 'class_token' }, [tokens + 1, features], x),
      () => this.#add({ op: 'position_embedding', positions: tokens, bare: causal }, x.shape, x),
      () => this.#add({ op: 'flatten' }, [tokens * features], x),
    ];
  }
}

/** The same network for the same seed in every runtime. */
export function randomGraph(seed: number): ModelGraph {
  return new Grower(seed).grow();
}
