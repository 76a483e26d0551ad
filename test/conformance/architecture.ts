/**
 * Reads the `architecture` object of the reference cases (`{ input: [C, H, W], layers: […] }`, a list of layers with
 * stated input widths and square kernels, `residual` holding two lists) into a graph.
 */
import { describe } from '../../src/core/describe.ts';
import { InvalidArgumentError, UnsupportedError } from '../../src/core/errors.ts';
import { sequential, type Layer, type Residual } from '../../src/model/builder.ts';
import { FieldReader } from '../../src/model/fields.ts';
import { inferShapes, type ModelGraph } from '../../src/model/graph.ts';

/**
 * @throws InvalidArgumentError where a stated width (`in`, `channels`) is not what the layers before it give;
 *   UnsupportedError for a layer that is not listed there.
 */
export function graphFromArchitecture(json: unknown): ModelGraph {
  const fields = new FieldReader('architecture', json);
  const input = fields.list('input') as readonly number[];
  const widths = new Map<string, number>();
  const graph = sequential(input, readLayers('architecture.layers', fields.list('layers'), widths));
  fields.finish();

  const shapes = inferShapes(graph);
  for (const node of graph.nodes) {
    const stated = widths.get(node.name);
    const [actual] = shapes.get(node.inputs[0] as string) ?? [];
    if (stated !== undefined && stated !== actual) {
      throw new InvalidArgumentError({
        field: `architecture layer ${describe(node.name)}`,
        expected: `${actual} inputs`,
        got: `${stated}`,
      });
    }
  }
  return graph;
}

function readLayers(path: string, list: readonly unknown[], widths: Map<string, number>): (Layer | Residual)[] {
  return list.map((item, index) => readLayer(new FieldReader(`${path}[${index}]`, item), widths));
}

function readLayer(fields: FieldReader, widths: Map<string, number>): Layer | Residual {
  const layer = readKnownLayer(fields, widths);
  fields.finish();
  return layer;
}

function readKnownLayer(fields: FieldReader, widths: Map<string, number>): Layer | Residual {
  const named = (width: 'in' | 'channels'): string => {
    const name = fields.text('name');
    widths.set(name, fields.count(width));
    return name;
  };
  const op = fields.text('op');
  switch (op) {
    case 'conv2d':
      return {
        op,
        name: named('in'),
        out: fields.count('out'),
        kernel: fields.pair('kernel'),
        stride: fields.pair('stride', [1, 1]),
        padding: fields.padding('padding'),
        dilation: fields.pair('dilation', [1, 1]),
        groups: fields.count('groups', 1),
        bias: fields.flag('bias', true),
      };
    case 'dense':
      return { op, name: named('in'), out: fields.count('out'), bias: fields.flag('bias', true) };
    case 'batch_norm':
      return { op, name: named('channels'), epsilon: fields.number('epsilon', 1e-5, 0, 1) };
    case 'max_pool':
    case 'average_pool': {
      const kernel = fields.pair('size');
      return { op, kernel, stride: fields.pair('stride', kernel), padding: fields.padding('padding') };
    }
    case 'relu':
    case 'global_max_pool':
    case 'global_average_pool':
    case 'flatten':
      return { op };
    case 'residual':
      return {
        op,
        body: readLayers(`${fields.path}.body`, fields.list('body'), widths),
        shortcut: readLayers(`${fields.path}.shortcut`, fields.list('shortcut'), widths),
      };
    default:
      throw new UnsupportedError({ field: `${fields.path}.op`, expected: 'a layer of the reference cases', got: describe(op) });
  }
}
