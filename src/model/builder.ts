/**
 * Building graphs in code: layers with PyTorch's settings, defaults left out, single numbers for squares, names given
 * where a layer owns parameters.
 *
 * A layer of one's own is a function from a builder and an input to the name of its last node. A pre-activation block:
 *
 *     function preActivation(builder: GraphBuilder, input: string, name: string, out: number): string {
 *       const normed = builder.add({ op: 'batch_norm', name: `${name}.norm` }, input);
 *       const active = builder.add({ op: 'relu' }, normed);
 *       const body = builder.add({ op: 'conv2d', name: `${name}.conv`, out, kernel: 3, padding: 1, bias: false }, active);
 *       return builder.add({ op: 'add' }, body, input);
 *     }
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireList } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { INPUT, parseGraph, type ModelGraph, type OperationName, type Operations, type Padding, type Pair } from './graph.ts';

/** A pair may be one number; a padding one, two (vertical, horizontal) or four (top, bottom, left, right). */
type Relaxed<T> = T extends Padding ? number | Pair | Padding : T extends Pair ? number | Pair : T;

/** Settings without a default. */
type Required = 'out' | 'kernel' | 'size' | 'length' | 'heads' | 'features' | 'positions' | 'types' | 'shape' | 'with';

export type LayerOf<K extends OperationName> = { readonly op: K; readonly name?: string } & {
  readonly [F in keyof Operations[K] as F extends Required ? F : never]: Relaxed<Operations[K][F]>;
} & {
  readonly [F in keyof Operations[K] as F extends Required ? never : F]?: Relaxed<Operations[K][F]>;
};

/** One layer; a nameless one is called after its operation and a running number, e.g. `relu3`. */
export type Layer = { readonly [K in OperationName]: LayerOf<K> }[OperationName];

/** body(x) + shortcut(x); an empty shortcut is the identity. */
export interface Residual {
  readonly op: 'residual';
  readonly body: readonly (Layer | Residual)[];
  readonly shortcut?: readonly (Layer | Residual)[];
}

const residualNames: OptionNames<Residual> = { op: true, body: true, shortcut: true };

/** Collects nodes; `build` checks them all. */
export class GraphBuilder {
  readonly input = INPUT;
  readonly #shape: readonly number[];
  readonly #tokens: Pick<ModelGraph, 'vocabulary' | 'padding'>;
  readonly #nodes: object[] = [];
  readonly #names = new Set<string>([INPUT]);
  readonly #counters = new Map<string, number>();

  /**
   * @param shape [channels, height, width] or [features]; [tokens] with a vocabulary
   * @param vocabulary the input is token numbers below this
   * @param padding the one of them that attentions with `masked` leave out
   */
  constructor(shape: readonly number[], vocabulary?: number, padding?: number) {
    this.#shape = shape;
    this.#tokens = onlyDefined({ vocabulary, padding });
  }

  /**
   * Adds one layer on top of `inputs`, names of layers or `input`. What it holds is checked by `build`.
   * @returns its name. @throws InvalidArgumentError for a name that another layer has.
   */
  add(layer: Layer, ...inputs: readonly string[]): string {
    const name = layer.name ?? this.#freshName(layer.op);
    if (this.#names.has(name)) {
      throw new InvalidArgumentError({ field: 'layer.name', expected: 'a name used by no other layer', got: describe(name) });
    }
    this.#names.add(name);
    this.#nodes.push({ ...layer, name, inputs });
    return name;
  }

  /**
   * Adds layers one after the other.
   * @returns the name of the last, or `input` where there are none. @throws as `add`; InvalidArgumentError for what a
   *   residual does not have.
   */
  chain(input: string, layers: readonly (Layer | Residual)[]): string {
    let value = input;
    for (const layer of layers) {
      if (layer.op === 'residual') {
        requireOptions('residual', layer, residualNames);
        const body = this.chain(value, layer.body);
        value = this.add({ op: 'add' }, body, this.chain(value, layer.shortcut ?? []));
      } else {
        value = this.add(layer, value);
      }
    }
    return value;
  }

  /** The graph whose value is the node `output`. @throws what `parseGraph` throws. */
  build(output: string): ModelGraph {
    return parseGraph({ version: 1, input: this.#shape, ...this.#tokens, nodes: this.#nodes, output });
  }

  #freshName(op: string): string {
    for (;;) {
      const number = (this.#counters.get(op) ?? 0) + 1;
      this.#counters.set(op, number);
      const name = `${op}${number}`;
      if (!this.#names.has(name)) return name;
    }
  }
}

/**
 * Layers one after the other:
 * `sequential([1, 28, 28], [{ op: 'flatten' }, { op: 'dense', name: 'fc', out: 10 }])`.
 * @throws what `parseGraph` throws.
 */
export function sequential(input: readonly number[], layers: readonly (Layer | Residual)[]): ModelGraph {
  requireList('layers', layers, (_, layer) => layer);
  const builder = new GraphBuilder(input);
  return builder.build(builder.chain(builder.input, layers));
}
