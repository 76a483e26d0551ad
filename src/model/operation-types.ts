/**
 * The operations of a network, their settings, and the graph that they make. What each accepts, gives and owns stands
 * in `operations.ts`.
 */
import type { Padding, Pair } from './fields.ts';

export type { Padding, Pair };

/** Extents without the batch axis: an image [channels, height, width], a sequence [tokens, features] or a vector [features]. */
export type Shape = readonly number[];

interface Pool {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Padding;
}

/** An operation without settings. */
type Plain = unknown;

/**
 * Every kind of operation and its settings, all explicit in the canonical form that `parseGraph` returns. Shapes are
 * without the batch axis; parameters have PyTorch's names and layouts.
 */
export interface Operations {
  /**
   * [in] → [out], on every token of a sequence [tokens, in] and every pixel of an image [in, H, W]: weight [out, in], or with
   * `transposed` [in, out] (GPT-2's `Conv1D`); bias [out].
   */
  dense: { readonly out: number; readonly bias: boolean; readonly transposed?: true };
  /** [in, H, W] → [out, H', W'], cross-correlation: weight [out, in / groups, kernel height, kernel width], bias [out]. */
  conv2d: {
    readonly out: number;
    readonly kernel: Pair;
    readonly stride: Pair;
    readonly padding: Padding;
    readonly dilation: Pair;
    readonly groups: number;
    readonly bias: boolean;
  };
  /**
   * The transpose of a conv2d: [in, H, W] → [out, H', W'], H' = (H − 1) · stride − padding + dilation · (kernel − 1) + output_padding + 1.
   * Weight [in, out / groups, kernel height, kernel width], bias [out].
   */
  conv_transpose2d: {
    readonly out: number;
    readonly kernel: Pair;
    readonly stride: Pair;
    readonly padding: Padding;
    /** Rows and columns added below and to the right; below the stride. */
    readonly output_padding: Pair;
    readonly dilation: Pair;
    readonly groups: number;
    readonly bias: boolean;
  };
  relu: Plain;
  /** min(max(x, 0), 6). */
  relu6: Plain;
  silu: Plain;
  /** x · relu6(x + 3) / 6. */
  hardswish: Plain;
  /** relu6(x + 3) / 6. */
  hardsigmoid: Plain;
  tanh: Plain;
  sigmoid: Plain;
  /** x for x ≥ 0, slope · x below. */
  leaky_relu: { readonly slope: number };
  /** x for x > 0, alpha · (eˣ − 1) elsewhere. */
  elu: { readonly alpha: number };
  /** x · Φ(x), or PyTorch's tanh approximation of it. */
  gelu: { readonly approximate: 'none' | 'tanh' };
  /** Padding counts as −∞. */
  max_pool: Pool;
  /** Padding counts as zeros, within the divisor (PyTorch's default). */
  average_pool: Pool;
  /** [C, H, W] → [C, 1, 1]. */
  global_max_pool: Plain;
  global_average_pool: Plain;
  /** [C, H, W] → [C, ...size]: output i covers ⌊i · H / size⌋ to ⌈(i + 1) · H / size⌉, as in PyTorch. */
  adaptive_max_pool: { readonly size: Pair };
  adaptive_average_pool: { readonly size: Pair };
  /**
   * Per channel: weight [C], bias [C], buffers running_mean [C], running_var [C]. `momentum` is PyTorch's:
   * running ← (1 − momentum) · running + momentum · batch.
   */
  batch_norm: { readonly epsilon: number; readonly momentum: number };
  /** Each image's groups of consecutive channels normalised by themselves; weight [C], bias [C]. `groups` = C is instance norm. */
  group_norm: { readonly groups: number; readonly epsilon: number };
  /** [C, H, W] → [C·H·W], row-major. */
  flatten: Plain;
  /** Sum of two or more inputs of one shape. */
  add: Plain;
  /** Product of two inputs of one shape, or of [C, H, W] and [C, 1, 1], in either order. */
  multiply: Plain;
  /** Two or more inputs one after the other along their channels, or along the features of a sequence or vector. */
  concat: Plain;
  /** Channels (or features of a sequence or vector) `start` to `start + length`. */
  slice: { readonly start: number; readonly length: number };
  /** Over the features of a token or the channels of a pixel: weight [features], bias [features]. */
  layer_norm: { readonly epsilon: number };
  /** x / √(mean(x²) + ε) · weight, over the same axis; weight [features]. */
  rms_norm: { readonly epsilon: number };
  /** Over the same axis. */
  softmax: Plain;
  /** A factor a feature or channel. `name` is the parameter's: `gamma` [features], or `layer_scale` [C, 1, 1] of images. */
  layer_scale: { readonly parameter: 'gamma' | 'layer_scale'; readonly initial: number };
  /** An image as a sequence of its pixels, row by row: [C, H, W] → [H·W, C]. */
  tokens: Plain;
  /** [a, b] → [b, a]. */
  transpose: Plain;
  /** The same elements in row-major order under another shape. */
  reshape: { readonly shape: Shape };
  /** Token numbers [tokens] → [tokens, features]: weight [vocabulary, features]. Only the network's own input can be read. */
  embedding: { readonly features: number };
  /**
   * Adds row i of a learned table to token i: weight [positions, features] as in `nn.Embedding`, or with `bare` a parameter of
   * the node's own name, [1, positions, features].
   */
  position_embedding: { readonly positions: number; readonly bare: boolean };
  /**
   * Adds to every token the row of its type: weight [types, features]. With a `separator`, a token of the network's input, what stands
   * behind the first one of a sequence is of type 1, as the second text of BERT's pairs is; the graph's `padding` never is. All else is
   * of type 0, and without a separator every token. No gradient reaches rows of types that no token has.
   */
  type_embedding: { readonly types: number; readonly separator?: number };
  /** Puts a learned token in front, [tokens, features] → [1 + tokens, features]: a parameter of the node's own name, [1, 1, features]. */
  class_token: Plain;
  /** One token of a sequence: [tokens, features] → [features]. */
  select_token: { readonly index: number };
  /** Mean over the tokens: [tokens, features] → [features]. */
  mean_tokens: Plain;
  /**
   * Scaled dot-product attention of `heads` heads. One input: queries, keys and values side by side, [tokens, (heads + 2 ·
   * key_heads) · d]; or three: queries [tokens, heads · d], keys [tokens, key_heads · d], values [tokens, key_heads · dv].
   * Queries heads / key_heads at a time share keys and values (grouped queries). Gives [tokens, heads · dv]. With `masked` keys whose
   * token in the network's input is the graph's `padding` are left out: no query sees them.
   */
  attention: { readonly heads: number; readonly key_heads: number; readonly causal: boolean; readonly masked?: true };
  /** Scores against the rows of an embedding's weight, which it shares: [tokens, features] → [tokens, vocabulary]. */
  tied_dense: { readonly with: string };
}

export type OperationName = keyof Operations;

/** The settings of one kind of operation with its name, e.g. `OperationOf<'conv2d'>`. */
export type OperationOf<K extends OperationName> = { readonly op: K } & Operations[K];

/** A node of one kind. `inputs` are names of earlier nodes, or `'input'` for the network's own. */
export type NodeOf<K extends OperationName> = { readonly name: string; readonly inputs: readonly string[] } & OperationOf<K>;

/** A node of any kind: switch on `op`. */
export type GraphNode = { readonly [K in OperationName]: NodeOf<K> }[OperationName];

/** A network as a graph of operations: plain JSON (`docs/networks.md`). */
export interface ModelGraph {
  readonly version: 1;
  /** [channels, height, width] or [features]; [tokens] where the network has a `vocabulary`. */
  readonly input: Shape;
  /** The input is `input[0]` integers below this (token numbers) instead of real numbers. */
  readonly vocabulary?: number;
  /**
   * The token number that fills shorter sequences up to `input[0]`, below `vocabulary`. Attentions with `masked` leave it out, and
   * it is of type 0; every other operation takes it for a token.
   */
  readonly padding?: number;
  /** In an order of evaluation: a node's inputs stand before it. */
  readonly nodes: readonly GraphNode[];
  /** Name of the node whose value is the network's output. */
  readonly output: string;
}

export type ParameterRole = 'weight' | 'embedding' | 'bias' | 'scale' | 'shift' | 'running_mean' | 'running_variance';
