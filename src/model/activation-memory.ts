/**
 * How much memory the values of one gradient take at once: which operation's value lies where, what stays for the backward
 * step, and a walk through the graph, segment by segment, that counts what is alive.
 */
import { elementCount } from '../tensor/tensor.ts';
import { INPUT, type GraphNode, type ModelGraph, type OperationName, type Shape } from './graph.ts';
import { featuresOf } from './operation-support.ts';
import { attentionShape } from './operations-sequence.ts';
import { RECTIFIERS, inputsOf, readersIn, repeatedIn, wholeOf, type Segment } from './segments.ts';

/**
 * The most elements of one image that values and their gradients take at once in a gradient.
 * @param segments of the graph, those included that are computed anew. Default: everything is kept.
 */
export function peakElements(graph: ModelGraph, shapes: ReadonlyMap<string, Shape>, segments: readonly Segment[] = wholeOf(graph)): number {
  const walk = new GradientWalk(graph, shapes);
  walk.forward(segments);
  walk.backward(segments);
  return walk.peak;
}

/** A value's memory; operations that work in place share one. */
interface Storage {
  readonly elements: number;
  /** Readers still to come in the forward pass. */
  uses: number;
  /** Nodes whose backward step reads it, and segments that are computed anew from it. */
  keepers: number;
}

const storageOf = (elements: number, uses = 0): Storage => ({ elements, uses, keepers: 0 });

/** Nobody but the one reader at hand needs it: it may be overwritten. */
const isReadOnce = ({ uses, keepers }: Storage): boolean => uses === 1 && keepers === 0;

/**
 * Follows one gradient through the graph: a value lives until its last reader, forward or backward, has run. In the
 * backward pass the gradients of a node's output and inputs stand beside what is still kept.
 */
class GradientWalk {
  /** The most elements that were alive at once so far. */
  peak = 0;
  #live = 0;
  readonly #graph: ModelGraph;
  readonly #shapes: ReadonlyMap<string, Shape>;
  /** Memory of each value, by the name of its node. */
  readonly #storages = new Map<string, Storage>();
  /** What each node's backward step reads. */
  readonly #kept = new Map<string, readonly Storage[]>();
  /** Norms whose only reader takes them along, if it is a rectifier. */
  readonly #readOnceNorms: ReadonlySet<string>;
  /** Values whose gradients are there. */
  readonly #gradients = new Set<string>();

  constructor(graph: ModelGraph, shapes: ReadonlyMap<string, Shape>) {
    this.#graph = graph;
    this.#shapes = shapes;
    const readers = this.#allReaders();
    this.#readOnceNorms = new Set(graph.nodes.flatMap(({ op, name }) => (op === 'batch_norm' && readers.get(name) === 1 ? [name] : [])));
  }

  forward(segments: readonly Segment[]): void {
    const input = this.#sizeOf(INPUT);
    const readers = this.#allReaders();
    this.#storages.set(INPUT, storageOf(input, readers.get(INPUT) ?? 0));
    this.#live = input;
    // Images come in with their channels first, and are turned.
    this.peak = this.#graph.input.length === 3 ? 2 * input : input;
    for (const segment of segments) {
      if (segment.recomputed) for (const storage of this.#inputsOf(segment)) storage.keepers += 1;
      for (const node of this.#nodesOf(segment)) this.#forwardStep(node, readers, !segment.recomputed);
    }
  }

  backward(segments: readonly Segment[]): void {
    const { output } = this.#graph;
    // Gradients of values, by name; that of the output is made beside the output itself, and then replaces it.
    this.peak = Math.max(this.peak, this.#live + this.#sizeOf(output));
    this.#gradients.add(output);
    for (const segment of segments.toReversed()) {
      if (segment.recomputed) this.#computeAnew(segment);
      for (const node of this.#nodesOf(segment).toReversed()) this.#backwardStep(node);
    }
  }

  /** A segment's forward pass once more, from its inputs, and now with what its backward steps read. */
  #computeAnew(segment: Segment): void {
    const readers = readersIn(this.#graph, segment);
    for (const name of inputsOf(this.#graph, segment)) {
      const storage = this.#storages.get(name) as Storage;
      storage.keepers -= 1;
      storage.uses += readers.get(name) ?? 0;
    }
    const repeated = repeatedIn(this.#graph, segment);
    for (const [i, node] of this.#nodesOf(segment).entries()) {
      if (repeated.has(segment.from + i)) this.#forwardStep(node, readers, true);
      else this.#passOver(node);
    }
  }

  #forwardStep(node: GraphNode, readers: ReadonlyMap<string, number>, keep: boolean): void {
    const inputs = this.#storagesOf(node);
    const [first] = inputs as [Storage, ...Storage[]];
    const { value } = footprints[node.op];
    const keeps = this.#keepsOf(node);
    const size = this.#sizeOf(node.name);
    const turns = this.#turnsOf(node);
    const shares = (value === 'of the input' && turns === 0) || (value === 'over the input' && isReadOnce(first));
    const output = shares ? first : storageOf(size);
    if (!shares) this.#live += size;
    // Made beside the value, kept or not: the second of two turns reads what the first has made.
    const besideValue = turns > 1 || keeps === 'winners' || (keeps === 'slope' && !isReadOnce(first)) ? size : 0;
    this.peak = Math.max(this.peak, this.#live + besideValue);
    if (keep) this.#keep(node, this.#keptFor(keeps, inputs, output, size));
    output.uses += readers.get(node.name) ?? 0;
    this.#storages.set(node.name, output);
    for (const storage of inputs) {
      storage.uses -= 1;
      if (storage !== output) this.#release(storage);
    }
    // What only nodes of other segments read.
    this.#release(output);
  }

  /** A node that is not computed again: its backward step reads its inputs alone. */
  #passOver(node: GraphNode): void {
    const inputs = this.#storagesOf(node);
    this.#keep(node, this.#keptFor(this.#keepsOf(node), inputs, storageOf(0), 0));
    for (const storage of inputs) {
      storage.uses -= 1;
      this.#release(storage);
    }
  }

  #keep(node: GraphNode, kept: Storage[]): void {
    const statistics = statisticsElements(node, node.inputs.map((name) => this.#shapes.get(name) as Shape));
    if (statistics > 0) kept.push(this.#beside(statistics));
    for (const storage of kept) storage.keepers += 1;
    this.#kept.set(node.name, kept);
    this.peak = Math.max(this.peak, this.#live);
  }

  /**
   * How often a view's numbers move: those of images have their channels last, and first where they are read in a row. (Reckoned as one
   * value, images that a rectifier keeps before and a scale behind took 232 MB of heap where 188 were reckoned.)
   */
  #turnsOf({ op, name, inputs }: GraphNode): number {
    if (op !== 'flatten' && op !== 'reshape') return 0;
    return [inputs[0] as string, name].filter((value) => {
      const [channels = 1, ...pixels] = this.#shapes.get(value) as Shape;
      return pixels.length === 2 && channels > 1 && elementCount(pixels) > 1;
    }).length;
  }

  /** Of a rectifier that a norm takes along nothing: the norm tells from its own input where it let pass. */
  #keepsOf({ op, inputs }: GraphNode): Footprint['keeps'] {
    return RECTIFIERS.has(op) && this.#readOnceNorms.has(inputs[0] as string) ? 'nothing' : footprints[op].keeps;
  }

  /** What stays of a node for its backward step, statistics apart. @param size of its value. */
  #keptFor(keeps: Footprint['keeps'], inputs: readonly Storage[], output: Storage, size: number): Storage[] {
    const [first] = inputs as [Storage, ...Storage[]];
    switch (keeps) {
      case 'nothing':
        return [];
      case 'input':
        return [first];
      case 'inputs':
        return [...inputs];
      case 'output':
        return [output];
      case 'winners':
        return [this.#beside(size)];
      case 'slope':
        return [isReadOnce(first) ? first : this.#beside(size)];
    }
  }

  #backwardStep(node: GraphNode): void {
    const own = this.#gradients.delete(node.name) ? this.#sizeOf(node.name) : 0;
    // Every input gets one, also the same a second time; what a gradient is added to stays alone.
    let made = 0;
    let added = 0;
    for (const name of node.inputs) {
      if (name === INPUT) continue;
      made += this.#sizeOf(name);
      if (!this.#gradients.has(name)) added += this.#sizeOf(name);
      this.#gradients.add(name);
    }
    const turns = this.#turnsOf(node);
    const inPlace = footprints[node.op].gradient === 'over the output' && made === own && turns === 0;
    this.peak = Math.max(this.peak, this.#live + (inPlace ? 0 : made * Math.max(1, turns)));
    this.#live += added - own;
    for (const storage of this.#kept.get(node.name) ?? []) {
      storage.keepers -= 1;
      this.#release(storage);
    }
  }

  /** Readers of each value in the forward pass; the graph's output counts one more. */
  #allReaders(): Map<string, number> {
    const { nodes, output } = this.#graph;
    const readers = readersIn(this.#graph, { from: 0, to: nodes.length, recomputed: false });
    return readers.set(output, (readers.get(output) ?? 0) + 1);
  }

  #nodesOf({ from, to }: Segment): readonly GraphNode[] {
    return this.#graph.nodes.slice(from, to);
  }

  #inputsOf(segment: Segment): Storage[] {
    return inputsOf(this.#graph, segment).map((name) => this.#storages.get(name) as Storage);
  }

  #storagesOf({ inputs }: GraphNode): Storage[] {
    return inputs.map((name) => this.#storages.get(name) as Storage);
  }

  #sizeOf(name: string): number {
    return elementCount(this.#shapes.get(name) as Shape);
  }

  /** Memory that lives beside values, from now until its keeper lets go of it. */
  #beside(elements: number): Storage {
    this.#live += elements;
    return storageOf(elements);
  }

  #release(storage: Storage): void {
    if (storage.uses === 0 && storage.keepers === 0) this.#live -= storage.elements;
  }
}

/** Numbers of one image that stay for the backward step beside values: of vectors and narrow heads as many as these. */
function statisticsElements(node: GraphNode, inputs: readonly Shape[]): number {
  // A mean and an inverse deviation a channel; the largest score and a sum a row of scores.
  if (node.op === 'group_norm') return 2 * featuresOf(inputs[0] as Shape);
  return node.op === 'attention' ? 2 * node.heads * attentionShape(node, inputs).tokens : 0;
}

/** What an operation's values and gradients take of memory. */
interface Footprint {
  /** Where its value lies: in memory of its own, in its first input's, or there only where nobody else reads that. */
  readonly value: 'own' | 'of the input' | 'over the input';
  /**
   * What stays for the backward step. `winners`: which element of each window was the largest, counted as f32. `slope`: over the
   * input where nobody else reads that.
   */
  readonly keeps: 'nothing' | 'input' | 'inputs' | 'output' | 'winners' | 'slope';
  /** Where the gradient of its input lies; over that of its output only where they are of one size. */
  readonly gradient: 'own' | 'over the output';
}

const PRODUCT: Footprint = { value: 'own', keeps: 'input', gradient: 'own' };
const MAP: Footprint = { value: 'own', keeps: 'input', gradient: 'over the output' };
const SLOPED: Footprint = { value: 'own', keeps: 'slope', gradient: 'over the output' };
const OVERWRITING: Footprint = { value: 'over the input', keeps: 'output', gradient: 'over the output' };
const MAXIMUM: Footprint = { value: 'own', keeps: 'winners', gradient: 'own' };
// But of images, whose numbers may move (`#turnsOf`).
const VIEW: Footprint = { value: 'of the input', keeps: 'nothing', gradient: 'over the output' };
const ADDED: Footprint = { value: 'over the input', keeps: 'nothing', gradient: 'over the output' };
const OWN: Footprint = { value: 'own', keeps: 'nothing', gradient: 'own' };

/** As `gradient/` runs them; `test/model/cost.test.ts` holds them against what the kernels' gradients save. */
export const footprints: { readonly [K in OperationName]: Footprint } = {
  dense: PRODUCT,
  tied_dense: PRODUCT,
  conv2d: PRODUCT,
  conv_transpose2d: PRODUCT,
  embedding: PRODUCT,
  attention: { value: 'own', keeps: 'inputs', gradient: 'own' },
  multiply: { value: 'own', keeps: 'inputs', gradient: 'own' },
  batch_norm: MAP,
  group_norm: MAP,
  layer_norm: MAP,
  rms_norm: MAP,
  layer_scale: MAP,
  tanh: SLOPED,
  sigmoid: SLOPED,
  silu: SLOPED,
  elu: SLOPED,
  hardswish: SLOPED,
  gelu: SLOPED,
  relu: OVERWRITING,
  relu6: OVERWRITING,
  hardsigmoid: OVERWRITING,
  leaky_relu: OVERWRITING,
  softmax: OVERWRITING,
  position_embedding: ADDED,
  // With a separator, as with a mask, the network's own tokens stay too: their embedding keeps them longer.
  type_embedding: ADDED,
  max_pool: MAXIMUM,
  global_max_pool: MAXIMUM,
  adaptive_max_pool: MAXIMUM,
  flatten: VIEW,
  tokens: VIEW,
  reshape: VIEW,
  add: { value: 'own', keeps: 'nothing', gradient: 'over the output' },
  average_pool: OWN,
  global_average_pool: OWN,
  adaptive_average_pool: OWN,
  concat: OWN,
  slice: OWN,
  transpose: OWN,
  class_token: OWN,
  select_token: OWN,
  mean_tokens: OWN,
};
