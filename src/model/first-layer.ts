/** A network's first layer, where it is a dense layer of whole inputs: its outputs are linear in its weights. */
import { INPUT, inferShapes, parameterName } from './graph.ts';
import type { ModelGraph } from './graph.ts';

export interface FirstLayer {
  /** Its node. */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** [outputs, inputs], over the numbers of an input in the order of a batch. */
  readonly weight: string;
  /** [outputs]; undefined where it has none. */
  readonly bias: string | undefined;
}

/** The dense layer that alone reads the input, flattened or a vector; undefined where another layer comes first. */
export function findFirstLayer(graph: ModelGraph): FirstLayer | undefined {
  const shapes = inferShapes(graph);
  let value = INPUT;
  for (;;) {
    const readers = graph.nodes.filter(({ inputs }) => inputs.includes(value));
    const node = readers[0];
    if (node === undefined || readers.length > 1 || graph.output === value) return undefined;
    if (node.op === 'dense' && node.transposed !== true) {
      const [inputs, ...more] = shapes.get(value) ?? [];
      if (inputs === undefined || more.length > 0) return undefined;
      const { name, out, bias } = node;
      return { name, inputs, outputs: out, weight: parameterName(name, 'weight'), bias: bias ? parameterName(name, 'bias') : undefined };
    }
    // A flattened image has the numbers of a batch in their order; what else reads it changes them.
    if (node.op !== 'flatten' || value !== INPUT) return undefined;
    value = node.name;
  }
}
