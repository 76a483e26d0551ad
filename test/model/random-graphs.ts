/**
 * Random small networks of every operation, valid by construction: what a layer may be is chosen by the shape it finds,
 * and its settings reach to the rims of what is allowed (one channel, one pixel, kernels over padding alone, strides
 * beyond the image). Images, sequences and vectors turn into one another, and values are read again later, so that axes
 * are tied in ways nobody thought of.
 */
import { GraphBuilder, type Layer } from '../../src/model/builder.ts';
import { inferShapes, type ModelGraph, type Padding } from '../../src/model/graph.ts';
import { featureAxis } from '../../src/model/operation-support.ts';
import { Random, streams } from '../../src/tensor/random.ts';

interface Value {
  readonly name: string;
  readonly shape: readonly number[];
}

type Sides = [number, number];

const INPUTS: readonly (readonly number[])[] = [
  [1], [5], [6], [7], [12], [2, 4, 4], [4, 4, 2], [3, 2, 3], [1, 1, 1], [3, 1, 1], [1, 5, 7], [1, 1, 13], [2, 11, 1], [8, 3, 5],
];
const TOKENS = [1, 2, 5, 7];
const VOCABULARIES = [2, 3, 5, 11];

const elements = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);
const divisorsOf = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0);
const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((extent, axis) => extent === b[axis]);

class Grower {
  readonly #random: Random;
  readonly #builder: GraphBuilder;
  readonly #vocabulary: number;
  /** Draws of its own, so that the networks of older seeds stay what they are but for padding. */
  readonly #masks: Random;
  /** Draws of its own, so that the networks of older seeds stay what they are but for separators. */
  readonly #separators: Random;
  /** Tokens of an input that has them; 0 of another. */
  readonly #read: number;
  readonly #padding: number | undefined;
  /** Tokens of an input with padding; 0 without. */
  readonly #padded: number;
  readonly #values: Value[] = [];
  readonly #embeddings: Value[] = [];
  readonly #used = new Set<string>();
  /** Elements of a value at most. A few networks are wide enough for whole SIMD vectors, panels and tiles. */
  readonly #largest: number;
  #layers = 0;

  constructor(seed: number) {
    this.#random = new Random(seed, streams.permutation, 1);
    this.#largest = this.#chance(8) ? 1500 : 200;
    this.#vocabulary = this.#chance(8) ? this.#pick(VOCABULARIES) : 0;
    const shape = this.#vocabulary > 0 ? [this.#pick(TOKENS)] : this.#pick(INPUTS);
    this.#masks = new Random(seed, streams.permutation, 2);
    this.#padded = this.#vocabulary > 0 && this.#masks.below(2) === 0 ? (shape[0] as number) : 0;
    this.#padding = this.#padded > 0 ? this.#masks.below(this.#vocabulary) : undefined;
    this.#separators = new Random(seed, streams.permutation, 3);
    this.#read = this.#vocabulary > 0 ? (shape[0] as number) : 0;
    this.#builder = new GraphBuilder(shape, this.#vocabulary > 0 ? this.#vocabulary : undefined, this.#padding);
    if (this.#vocabulary > 0) this.#embed(shape, this.#pick([1, 4, 6]));
    else this.#values.push({ name: this.#builder.input, shape });
  }

  grow(): ModelGraph {
    const layers = 2 + this.#random.below(7);
    for (let i = 0; i < layers; i++) this.#step();
    const graph = this.#builder.build(this.#output());
    const shapes = inferShapes(graph);
    const wrong = this.#values.find(({ name, shape }) => !sameShape(shapes.get(name) ?? [], shape));
    if (wrong !== undefined)
      throw new Error(`${wrong.name} is [${shapes.get(wrong.name)?.join(', ')}], and [${wrong.shape.join(', ')}] by its definition`);
    return graph;
  }

  /** Every loose end is read, each by a layer of its own; a single one may be the output as it is. */
  #output(): string {
    const ends = this.#values.filter(({ name }) => !this.#used.has(name));
    const [only] = ends as [Value];
    if (ends.length === 1 && only.name !== this.#builder.input && only.shape.length < 3 && this.#chance(3)) return only.name;
    const scores = ends.map(({ name }) => this.#builder.chain(name, [{ op: 'flatten' }, { op: 'dense', name: `end-${name}`, out: 3 }]));
    return scores.length === 1 ? (scores[0] as string) : this.#builder.add({ op: this.#pick(['add', 'concat'] as const) }, ...scores);
  }

  /** Of two thirds of the values that can have one. */
  #separator(tokens: number, types: number): { readonly separator?: number } {
    if (tokens !== this.#read || types < 2 || this.#separators.below(3) === 0) return {};
    const separator = this.#separators.below(this.#vocabulary);
    return { separator: separator === this.#padding ? (separator + 1) % this.#vocabulary : separator };
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#random.below(items.length)] as T;
  }

  /** One in `n`. */
  #chance(n: number): boolean {
    return this.#random.below(n) === 0;
  }

  /** `count` values of the same shape, itself and repetitions among them. */
  #alike({ shape }: Value, count: number): Value[] {
    const values = this.#values.filter((value) => sameShape(value.shape, shape));
    return Array.from({ length: count }, () => this.#pick(values));
  }

  #add(layer: Layer, shape: readonly number[], ...inputs: readonly Value[]): Value {
    const name = this.#builder.add({ ...layer, name: `${layer.op}${this.#layers++}` }, ...inputs.map((input) => input.name));
    for (const input of inputs) this.#used.add(input.name);
    const value = { name, shape };
    this.#values.push(value);
    return value;
  }

  /** As `#add`, unless the value were larger than wanted, or nothing. */
  #addFitting(layer: Layer, shape: readonly number[], ...inputs: readonly Value[]): void {
    if (Math.min(...shape) >= 1 && elements(shape) <= this.#largest) this.#add(layer, shape, ...inputs);
  }

  #embed(tokens: readonly number[], features: number): void {
    this.#embeddings.push(this.#add({ op: 'embedding', features }, [...tokens, features], { name: this.#builder.input, shape: tokens }));
  }

  /** One layer more, behind the last value or an earlier one. */
  #step(): void {
    const x = this.#random.below(4) > 0 ? (this.#values.at(-1) as Value) : this.#pick(this.#values);
    const own = x.shape.length === 3 ? this.#onImages(x) : x.shape.length === 2 ? this.#onSequences(x) : this.#onVectors(x);
    this.#pick(this.#random.below(3) > 0 ? own : this.#onAny(x))();
  }

  #dense(x: Value, out: number): Value {
    const more = this.#chance(4) ? { transposed: true as const } : {};
    return this.#add({ op: 'dense', out, bias: !this.#chance(4), ...more }, x.shape.with(featureAxis(x.shape), out), x);
  }

  #activation(): Layer {
    return this.#pick<Layer>([
      { op: 'relu' },
      { op: 'tanh' },
      { op: 'silu' },
      { op: 'gelu' },
      { op: 'gelu', approximate: 'tanh' },
      { op: 'sigmoid' },
      { op: 'relu6' },
      { op: 'hardswish' },
      // One draw for all of these, so that the networks of the other seeds stay as they were.
      this.#pick<Layer>([
        { op: 'elu', alpha: 0.5 }, { op: 'leaky_relu', slope: 0.1 }, { op: 'leaky_relu', slope: 1 }, { op: 'hardsigmoid' },
      ]),
    ]);
  }

  #onAny(x: Value): (() => unknown)[] {
    const { shape } = x;
    const axis = featureAxis(shape);
    const features = shape[axis] as number;
    const kept = (layer: Layer) => () => this.#add(layer, shape, x);
    return [
      kept(this.#activation()),
      kept(this.#activation()),
      kept({ op: this.#pick(['layer_norm', 'rms_norm'] as const), epsilon: this.#pick([1e-5, 0.1]) }),
      kept({ op: 'softmax' }),
      kept({ op: 'layer_scale', parameter: shape.length === 3 ? this.#pick(['gamma', 'layer_scale'] as const) : 'gamma' }),
      () => this.#add({ op: 'multiply' }, shape, x, ...this.#alike(x, 1)),
      () => this.#add({ op: 'add' }, shape, x, ...this.#alike(x, 1 + this.#random.below(3))),
      () =>
        this.#add(
          { op: 'add' },
          shape,
          this.#dense(this.#add(this.#activation(), shape, this.#add({ op: 'rms_norm' }, shape, x)), features),
          x,
        ),
      () => {
        const others = this.#alike(x, 1 + this.#random.below(3));
        this.#addFitting({ op: 'concat' }, shape.with(axis, (1 + others.length) * features), x, ...others);
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

  /** Kernel, stride and padding of windows; `most` bounds the padding by the kernel. */
  #windows(most: (kernel: number) => number): { readonly kernel: Sides; readonly stride: Sides; readonly padding: Padding } {
    const side = this.#pick([1, 2, 3, 3, 5]);
    const kernel: Sides = this.#chance(2) ? [side, side] : [side, 1 + this.#random.below(4)];
    const stride = this.#pick<Sides>([[1, 1], [1, 1], [1, 1], [2, 2], [3, 1], [1, 2], [7, 5]]);
    const plain = this.#chance(2);
    const around = (axis: 0 | 1): number =>
      plain ? Math.min(most(kernel[axis]), kernel[axis] >> 1) : this.#random.below(1 + most(kernel[axis]));
    return { kernel, stride, padding: [around(0), around(0), around(1), around(1)] };
  }

  #onImages(x: Value): (() => unknown)[] {
    const [channels, height, width] = x.shape as [number, number, number];
    const extents = (reach: (axis: 0 | 1) => number, stride: Sides, [top, bottom, left, right]: Padding): Sides => [
      Math.floor((height + top + bottom - reach(0)) / stride[0]) + 1, Math.floor((width + left + right - reach(1)) / stride[1]) + 1,
    ];
    const filters = (most: number): { readonly groups: number; readonly out: number; readonly dilation: Sides; readonly bias: boolean } => {
      const groups = this.#pick(divisorsOf(channels));
      const out = groups * (1 + this.#random.below(Math.max(1, Math.floor(most / groups))));
      return { groups, out, dilation: this.#pick<Sides>([[1, 1], [1, 1], [1, 1], [2, 3], [1, 2]]), bias: !this.#chance(4) };
    };
    const convolution = (): void => {
      const layer = { op: 'conv2d', ...this.#windows(() => 3), ...filters(this.#largest > 1000 ? 40 : 8) } as const;
      const reach = (axis: 0 | 1): number => layer.dilation[axis] * (layer.kernel[axis] - 1) + 1;
      this.#addFitting(layer, [layer.out, ...extents(reach, layer.stride, layer.padding)], x);
    };
    const transposed = (): void => {
      const { kernel, stride, padding } = this.#windows((side) => side - 1);
      const extra = stride.map((step) => this.#random.below(step)) as Sides;
      const layer = { op: 'conv_transpose2d', kernel, stride, padding, output_padding: extra, ...filters(6) } as const;
      const extent = (from: number, axis: 0 | 1): number =>
        (from - 1) * stride[axis] -
        padding[2 * axis]! -
        padding[2 * axis + 1]! +
        layer.dilation[axis] * (kernel[axis] - 1) +
        extra[axis] +
        1;
      this.#addFitting(layer, [layer.out, extent(height, 0), extent(width, 1)], x);
    };
    const pooling = (): void => {
      const layer = { op: this.#pick(['max_pool', 'average_pool'] as const), ...this.#windows((side) => side - 1) };
      this.#addFitting(layer, [channels, ...extents((axis) => layer.kernel[axis], layer.stride, layer.padding)], x);
    };
    const adaptive = (): void => {
      const size: Sides = [1 + this.#random.below(4), 1 + this.#random.below(4)];
      this.#addFitting({ op: this.#pick(['adaptive_average_pool', 'adaptive_max_pool'] as const), size }, [channels, ...size], x);
    };
    const pooled = (): Value => this.#add({ op: this.#pick(['global_average_pool', 'global_max_pool'] as const) }, [channels, 1, 1], x);
    return [
      convolution, convolution, convolution, transposed, pooling, pooled, adaptive,
      () => {
        const factor = pooled();
        this.#add({ op: 'multiply' }, x.shape, ...(this.#chance(2) ? [x, factor] : [factor, x]));
      },
      () => this.#add({ op: 'batch_norm' }, x.shape, x),
      () => this.#add({ op: 'group_norm', groups: this.#pick(divisorsOf(channels)) }, x.shape, x),
      () => this.#add({ op: 'flatten' }, [elements(x.shape)], x),
      ...Array.from({ length: 3 }, () => () => this.#add({ op: 'tokens' }, [height * width, channels], x)),
    ];
  }

  #onSequences(x: Value): (() => unknown)[] {
    const [tokens, features] = x.shape as [number, number];
    const heads = this.#pick([1, 2, 4]);
    const keyHeads = this.#pick(divisorsOf(heads));
    const causal = this.#chance(3);
    const masked = !causal && tokens === this.#padded && this.#masks.below(3) > 0 ? { masked: true as const } : {};
    const width = this.#pick([1, 2, 3]);
    const fused = (): void => {
      this.#add(
        { op: 'attention', heads, key_heads: keyHeads, causal, ...masked },
        [tokens, heads * width],
        this.#dense(x, (heads + 2 * keyHeads) * width),
      );
    };
    const apart = (): void => {
      const other = this.#pick(this.#values.filter(({ shape }) => shape.length === 2 && shape[0] === tokens));
      const [queries, keys] = [this.#dense(x, heads * width), this.#dense(other, keyHeads * width)];
      const values = this.#pick([
        () => keys,
        () => (keyHeads === heads ? queries : keys),
        () => this.#dense(x, keyHeads * this.#pick([1, 2])),
      ])();
      this.#add(
        { op: 'attention', heads, key_heads: keyHeads, causal, ...masked },
        [tokens, ((values.shape[1] as number) / keyHeads) * heads],
        queries,
        keys,
        values,
      );
    };
    const tied = this.#embeddings.find(({ shape }) => shape[1] === features);
    return [
      fused, fused, apart, apart,
      () => this.#dense(x, this.#pick([1, 4, 6, 8])),
      () => this.#add({ op: 'transpose' }, [features, tokens], x),
      () => this.#add({ op: 'mean_tokens' }, [features], x),
      () => this.#add({ op: 'select_token', index: this.#random.below(tokens) }, [features], x),
      () => this.#add({ op: 'class_token' }, [tokens + 1, features], x),
      () => {
        const types = 1 + this.#random.below(3);
        this.#add({ op: 'type_embedding', types, ...this.#separator(tokens, types) }, x.shape, x);
      },
      () => this.#add({ op: 'position_embedding', positions: tokens + this.#random.below(3), bare: causal }, x.shape, x),
      () => this.#add({ op: 'flatten' }, [tokens * features], x),
      () => {
        if (tied !== undefined) this.#add({ op: 'tied_dense', with: tied.name }, [tokens, this.#vocabulary], x);
      },
      () => {
        if (tied !== undefined) this.#embed(tied.shape.slice(0, 1), features);
      },
    ];
  }
}

/** The same network for the same seed in every runtime. */
export function randomGraph(seed: number): ModelGraph {
  return new Grower(seed).grow();
}
