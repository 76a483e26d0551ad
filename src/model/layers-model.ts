/**
 * A TensorFlow.js LayersModel (`model.json`, or its topology), Sequential or functional, as a graph. Node names are the layers',
 * so its weights fit by name; what has no counterpart is refused by the layer's name.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, UnsupportedError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { FieldReader } from './fields.ts';
import { flattenedInputs } from './flattened-units.ts';
import { INPUT, parseGraph, type GraphNode, type ModelGraph, type OperationName, type Shape } from './graph.ts';
import { ruleOf } from './operations.ts';

type Config = { readonly [key: string]: unknown };

interface KerasLayer {
  readonly kind: string;
  readonly name: string;
  readonly config: Config;
  /** Names of the layers whose outputs it takes. */
  readonly inputs: readonly string[];
}

/** What a layer's output is in the graph. */
interface Value {
  readonly node: string;
  readonly shape: Shape;
  /** From a ZeroPadding2D: the next convolution takes it in. */
  readonly padding?: readonly number[];
}

const isObject = (value: unknown): value is Config => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether a parsed JSON document is a LayersModel or its topology. */
export function isLayersModel(json: unknown): boolean {
  return isObject(json) && ('modelTopology' in json || (typeof json['class_name'] === 'string' && 'config' in json));
}

/**
 * The graph of a LayersModel. A softmax at its output is left out, since losses take scores; dropout does nothing in evaluation
 * and is left out too.
 * @param json a parsed `model.json`, its `modelTopology`, or a Keras `model_config`.
 * @throws UnsupportedError naming the layer that cannot be taken and what of it; InvalidArgumentError for JSON that is no topology.
 */
export function graphFromLayersModel(json: unknown): ModelGraph {
  const { layers, output } = layersOf(json);
  if (layers.length > limits.graphNodes) refuse('layers', `at most ${limits.graphNodes}`, `${layers.length}`);
  const converter = new Converter(output, kerasVersionOf(json));
  for (const layer of layers) converter.add(layer);
  return converter.graph();
}

function refuse(field: string, expected: string, got: string): never {
  throw new UnsupportedError({ field, expected, got });
}

function invalid(field: string, expected: string, got: unknown): never {
  throw new InvalidArgumentError({ field, expected, got: describe(got) });
}

function layersOf(json: unknown): { readonly layers: readonly KerasLayer[]; readonly output: string } {
  if (!isObject(json)) return invalid('model', 'an object', json);
  if (json['format'] === 'graph-model') refuse('model.format', 'a layers-model', 'a graph-model, which has no layers');
  let topology = json['modelTopology'] ?? json;
  if (isObject(topology) && isObject(topology['model_config'])) topology = topology['model_config'];
  if (!isObject(topology)) return invalid('modelTopology', 'an object', topology);
  const kind = topology['class_name'];
  const config = topology['config'];
  if (kind === 'Sequential') return sequentialLayers(Array.isArray(config) ? { layers: config } : config);
  if (kind === 'Functional' || kind === 'Model') return functionalLayers(config);
  if (typeof kind !== 'string') return invalid('modelTopology.class_name', 'the name of a kind of model', kind);
  return refuse('modelTopology.class_name', 'Sequential, Functional or Model', describe(kind));
}

function readLayer(field: string, raw: unknown): Omit<KerasLayer, 'inputs'> & { readonly raw: Config } {
  if (!isObject(raw) || typeof raw['class_name'] !== 'string' || !isObject(raw['config']))
    return invalid(field, 'a layer: class_name and config', raw);
  const config = raw['config'];
  const name = raw['name'] ?? config['name'];
  if (typeof name !== 'string') return invalid(`${field}.name`, 'a text', name);
  return { kind: raw['class_name'], name, config, raw };
}

function listOf(field: string, value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : invalid(field, 'a list', value);
}

function sequentialLayers(config: unknown): ReturnType<typeof layersOf> {
  const layers: KerasLayer[] = [];
  for (const [i, raw] of listOf('modelTopology.config.layers', isObject(config) ? config['layers'] : config).entries()) {
    const layer = readLayer(`layers[${i}]`, raw);
    if (i === 0 && layer.kind !== 'InputLayer') layers.push({ kind: 'InputLayer', name: INPUT, config: layer.config, inputs: [] });
    layers.push({ ...layer, inputs: layers.length === 0 ? [] : [(layers.at(-1) as KerasLayer).name] });
  }
  const output = layers.at(-1)?.name;
  return output === undefined ? invalid('modelTopology.config.layers', 'at least one layer', []) : { layers, output };
}

function functionalLayers(config: unknown): ReturnType<typeof layersOf> {
  if (!isObject(config)) return invalid('modelTopology.config', 'an object', config);
  const layers = listOf('modelTopology.config.layers', config['layers']).map((raw, i): KerasLayer => {
    const layer = readLayer(`layers[${i}]`, raw);
    const nodes = listOf(`layer ${describe(layer.name)}.inbound_nodes`, layer.raw['inbound_nodes']);
    if (nodes.length > 1) refuse(`layer ${describe(layer.name)}`, 'a layer used once', `one shared by ${nodes.length}`);
    const inputs = nodes.length === 0 ? [] : listOf(`layer ${describe(layer.name)}.inbound_nodes`, nodes[0]).map((entry) => {
      const [name, , tensor] = listOf(`layer ${describe(layer.name)}.inbound_nodes`, entry);
      if (typeof name !== 'string') return invalid(`layer ${describe(layer.name)}.inbound_nodes`, 'names of layers', name);
      if (tensor !== 0) refuse(`layer ${describe(layer.name)}.inbound_nodes`, 'layers with one output', describe(tensor));
      return name;
    });
    return { ...layer, inputs };
  });
  const only = (key: string): string => {
    const field = `modelTopology.config.${key}`;
    // One end is written [name, 0, 0] or [[name, 0, 0]].
    const list = listOf(field, config[key]);
    const ends = list.length === 0 || Array.isArray(list[0]) ? list : [list];
    if (ends.length !== 1) refuse(field, 'one', `${ends.length}`);
    const [end] = ends;
    const [name, node = 0, tensor = 0] = Array.isArray(end) ? (end as readonly unknown[]) : [];
    if (typeof name !== 'string' || typeof node !== 'number')
      return invalid(field, 'the name of a layer and two zeros, [[name, 0, 0]]', end);
    if (tensor !== 0) refuse(field, 'a layer with one output', describe(end));
    const layer = layers.find((each) => each.name === name);
    if (layer === undefined || (key === 'input_layers' && layer.kind !== 'InputLayer'))
      return invalid(field, key === 'input_layers' ? 'the name of an InputLayer' : 'the name of one of the layers', name);
    return name;
  };
  only('input_layers');
  return { layers, output: only('output_layers') };
}

const activations: Readonly<Record<string, OperationName | undefined>> = {
  relu: 'relu', relu6: 'relu6', sigmoid: 'sigmoid', tanh: 'tanh', silu: 'silu', swish: 'silu', hard_silu: 'hardswish',
  hard_swish: 'hardswish', hard_sigmoid: 'hardsigmoid', elu: 'elu', gelu: 'gelu', softmax: 'softmax',
};

/** What wrote the model, beside its topology; undefined where it says nothing. */
function kerasVersionOf(json: unknown): unknown {
  if (!isObject(json)) return undefined;
  const topology = json['modelTopology'];
  return (isObject(topology) ? topology['keras_version'] : undefined) ?? json['keras_version'];
}

/** Keras's since version 3 is relu6(x + 3) / 6. Before, and in TensorFlow.js, it is min(max(0.2 · x + 0.5, 0), 1). */
function hasHardsigmoid(kerasVersion: unknown): boolean {
  const major = typeof kerasVersion === 'string' ? /^(\d+)\./.exec(kerasVersion)?.[1] : undefined;
  return major !== undefined && Number(major) >= 3;
}

/** Layers that do nothing in evaluation. */
const silent = ['Dropout', 'SpatialDropout2D', 'GaussianNoise', 'GaussianDropout', 'AlphaDropout', 'ActivityRegularization'];

/** Layers that become operations. */
const kinds = [
  'Dense',
  'Conv2D',
  'DepthwiseConv2D',
  'Conv2DTranspose',
  'BatchNormalization',
  'GroupNormalization',
  'MaxPooling2D',
  'AveragePooling2D',
  'GlobalMaxPooling2D',
  'GlobalAveragePooling2D',
  'ZeroPadding2D',
  'Flatten',
  'Reshape',
  'Activation',
  'ReLU',
  'LeakyReLU',
  'ELU',
  'Softmax',
  'Add',
  'Multiply',
  'Concatenate',
] as const;

function isKind(kind: string): kind is (typeof kinds)[number] {
  return (kinds as readonly string[]).includes(kind);
}

/** A norm's scale and offset, which the graph's always have. */
function requireAffine(layer: KerasLayer): void {
  for (const part of ['center', 'scale']) if (layer.config[part] === false) refuseSetting(layer, part, 'true');
}

/** One number stands for both axes. */
function pairOf(config: Config, key: string, fallback: unknown = [1, 1]): readonly [number, number] {
  const value = config[key] ?? fallback;
  const [height, width] = (Array.isArray(value) ? value : [value, value]) as [number, number];
  return [height, width];
}

function hasBias(config: Config): boolean {
  return (config['use_bias'] ?? true) === true;
}

function refuseSetting({ kind, name, config }: KerasLayer, key: string, expected: string): never {
  refuse(`layer ${describe(name)} (${kind}).${key}`, expected, describe(config[key]));
}

/** Collects the nodes of one model, layer by layer. */
class Converter {
  readonly #nodes: GraphNode[] = [];
  readonly #values = new Map<string, Value>();
  readonly #output: string;
  readonly #kerasVersion: unknown;
  #input: Shape | undefined;

  constructor(output: string, kerasVersion: unknown) {
    this.#output = output;
    this.#kerasVersion = kerasVersion;
  }

  graph(): ModelGraph {
    const value = this.#values.get(this.#output);
    if (value === undefined || this.#input === undefined)
      return invalid('modelTopology', 'an input and an output that are layers', this.#output);
    if (value.padding !== undefined) refuse(`layer ${describe(this.#output)}`, 'a dense layer or pooling at the output', 'padded images');
    const graph = parseGraph({ version: 1, input: this.#input, nodes: this.#nodes, output: value.node });
    // A graph that Keras's weights could not be given to, since its units lie in another order somewhere, is another network.
    flattenedInputs(graph);
    return graph;
  }

  add(layer: KerasLayer): void {
    const { kind, name } = layer;
    if (this.#values.has(name)) invalid(`layer ${describe(name)}`, 'a name of its own', 'another layer of that name');
    this.#values.set(name, kind === 'InputLayer' ? this.#begin(layer) : this.#convert(layer));
  }

  #begin({ name, config }: KerasLayer): Value {
    if (this.#input !== undefined) refuse(`layer ${describe(name)}`, 'one input', 'another');
    const extents = listOf(`layer ${describe(name)}.batch_input_shape`, config['batch_input_shape'] ?? config['batch_shape']).slice(1);
    if (!extents.every((extent): extent is number => Number.isSafeInteger(extent) && (extent as number) > 0)) {
      refuse(`layer ${describe(name)}.batch_input_shape`, 'extents that are fixed', describe(extents));
    }
    if (extents.length !== 1 && extents.length !== 3)
      refuse(`layer ${describe(name)}.batch_input_shape`, '[batch, features] or [batch, height, width, channels]', describe(extents));
    this.#input = extents.length === 1 ? extents : [extents[2] as number, extents[0] as number, extents[1] as number];
    return { node: INPUT, shape: this.#input };
  }

  #convert(layer: KerasLayer): Value {
    const { kind, name, config } = layer;
    const values = layer.inputs.map(
      (input) => this.#values.get(input) ?? invalid(`layer ${describe(name)}`, 'inputs that stand before it', input),
    );
    const x = values[0] ?? invalid(`layer ${describe(name)}`, 'an input', 'none');
    if (silent.includes(kind)) return x;
    // Before what a layer of some kind may stand behind: it is the kind that is wrong.
    if (!isKind(kind)) return refuse(`layer ${describe(name)}`, 'a kind of layer that a graph has', describe(kind));
    if ((config['data_format'] ?? 'channels_last') !== 'channels_last') refuseSetting(layer, 'data_format', 'channels_last');
    const paddable = kind === 'Conv2D' || kind === 'DepthwiseConv2D';
    if (values.some((value) => value.padding !== undefined) && (!paddable || config['padding'] === 'same')) {
      refuse(`layer ${describe(name)} (${kind})`, 'a convolution without padding of its own after a ZeroPadding2D', kind);
    }
    switch (kind) {
      case 'Dense':
        if (x.shape.length !== 1) refuse(`layer ${describe(name)} (Dense)`, 'an input of features (flatten before it?)', describe(x.shape));
        return this.#activated(layer, this.#node(name, 'dense', { out: config['units'], bias: hasBias(config) }, [x]));
      case 'Conv2D':
        return this.#convolution(layer, x, config['filters'], config['groups'] ?? 1);
      case 'DepthwiseConv2D': {
        const channels = x.shape[0] as number;
        return this.#convolution(layer, x, channels * ((config['depth_multiplier'] as number | undefined) ?? 1), channels);
      }
      case 'Conv2DTranspose':
        return this.#transposedConvolution(layer, x);
      case 'BatchNormalization':
        return this.#batchNorm(layer, x);
      case 'GroupNormalization': {
        this.#requireLastAxis(layer, x);
        requireAffine(layer);
        const groups = config['groups'] ?? 32;
        return this.#node(name, 'group_norm', { groups: groups === -1 ? x.shape[0] : groups, epsilon: config['epsilon'] ?? 1e-3 }, [x]);
      }
      case 'MaxPooling2D':
        return this.#pooling(layer, 'max_pool', x);
      case 'AveragePooling2D':
        return this.#pooling(layer, 'average_pool', x);
      case 'GlobalMaxPooling2D':
        return this.#globalPooling(layer, 'global_max_pool', x);
      case 'GlobalAveragePooling2D':
        return this.#globalPooling(layer, 'global_average_pool', x);
      case 'ZeroPadding2D': {
        const [vertical, horizontal] = pairOf(config, 'padding') as readonly [number | number[], number | number[]];
        const both = (extent: number | number[]): number[] => (Array.isArray(extent) ? extent : [extent, extent]);
        return { ...x, padding: [...both(vertical), ...both(horizontal)] };
      }
      case 'Flatten':
        return this.#node(name, 'flatten', {}, [x]);
      case 'Reshape': {
        const target = listOf(`layer ${describe(name)}.target_shape`, config['target_shape']);
        if (x.shape.length !== 1 || target.length !== 3 || target[0] !== 1 || target[1] !== 1)
          refuseSetting(layer, 'target_shape', 'features as an image of 1×1 ([1, 1, C])');
        return this.#node(name, 'reshape', { shape: [x.shape[0], 1, 1] }, [x]);
      }
      case 'Activation':
        return this.#activated(layer, x, name);
      case 'ReLU':
        return this.#rectifier(layer, x);
      case 'LeakyReLU':
        return this.#node(name, 'leaky_relu', { slope: config['alpha'] ?? config['negative_slope'] ?? 0.3 }, [x]);
      case 'ELU':
        return this.#node(name, 'elu', { alpha: config['alpha'] ?? 1 }, [x]);
      case 'Softmax':
        return this.#activated({ ...layer, config: { activation: 'softmax' } }, x, name);
      case 'Add':
        return this.#node(name, 'add', {}, values);
      case 'Multiply':
        if (values.length !== 2) refuse(`layer ${describe(name)} (Multiply)`, '2 inputs', `${values.length}`);
        return this.#node(name, 'multiply', {}, values);
      case 'Concatenate':
        this.#requireLastAxis(layer, x);
        return this.#node(name, 'concat', {}, values);
    }
  }

  #convolution(layer: KerasLayer, x: Value, out: unknown, groups: unknown): Value {
    const { name, config } = layer;
    const [kernel, stride, dilation] = [pairOf(config, 'kernel_size'), pairOf(config, 'strides'), pairOf(config, 'dilation_rate')];
    const padding = x.padding ?? this.#samePadding(layer, x.shape, kernel, stride, dilation);
    const settings = { out, kernel, stride, dilation, padding, groups, bias: hasBias(config) };
    return this.#activated(layer, this.#node(name, 'conv2d', settings, [x]));
  }

  #transposedConvolution(layer: KerasLayer, x: Value): Value {
    const { name, config } = layer;
    const [kernel, stride] = [pairOf(config, 'kernel_size'), pairOf(config, 'strides')];
    if (Math.max(...pairOf(config, 'dilation_rate')) > 1) refuseSetting(layer, 'dilation_rate', '1');
    if (config['output_padding'] !== undefined && config['output_padding'] !== null) refuseSetting(layer, 'output_padding', 'none');
    // Keras's output: extent · stride with `same`, and at least that without.
    const surplus = kernel.map((extent, axis) => extent - (stride[axis] as number));
    const padding = surplus
      .map((extent) => (config['padding'] === 'same' ? Math.max(0, extent) : 0))
      .flatMap((extent) => [Math.floor(extent / 2), Math.ceil(extent / 2)]);
    const settings = {
      out: config['filters'], kernel, stride, padding, output_padding: surplus.map((extent) => Math.max(0, -extent)), bias: hasBias(config),
    };
    return this.#activated(layer, this.#node(name, 'conv_transpose2d', settings, [x]));
  }

  #batchNorm(layer: KerasLayer, x: Value): Value {
    const { name, config } = layer;
    this.#requireLastAxis(layer, x);
    requireAffine(layer);
    const momentum = 1 - ((config['momentum'] as number | undefined) ?? 0.99);
    return this.#node(name, 'batch_norm', { epsilon: config['epsilon'] ?? 1e-3, momentum }, [x]);
  }

  #pooling(layer: KerasLayer, op: 'max_pool' | 'average_pool', x: Value): Value {
    const { name, config } = layer;
    const kernel = pairOf(config, 'pool_size', [2, 2]);
    const stride = config['strides'] === null ? kernel : pairOf(config, 'strides', kernel);
    const padding = this.#samePadding(layer, x.shape, kernel, stride, [1, 1]);
    // Keras leaves padding out of the divisor, PyTorch and the graph count it.
    if (op === 'average_pool' && Math.max(...padding) > 0) refuseSetting(layer, 'padding', 'valid, or images that need no padding');
    return this.#node(name, op, { kernel, stride, padding }, [x]);
  }

  #globalPooling({ name, config }: KerasLayer, op: 'global_max_pool' | 'global_average_pool', x: Value): Value {
    if ((config['keepdims'] ?? config['keep_dims']) === true) return this.#node(name, op, {}, [x]);
    return this.#node(name, 'flatten', {}, [this.#node(`${name}.pool`, op, {}, [x])]);
  }

  #rectifier(layer: KerasLayer, x: Value): Value {
    const { name, config } = layer;
    if ((config['negative_slope'] ?? 0) !== 0 || (config['threshold'] ?? 0) !== 0)
      refuseSetting(layer, 'negative_slope', '0, with threshold 0');
    const most = config['max_value'] ?? null;
    if (most !== null && most !== 6) refuseSetting(layer, 'max_value', '6 or none');
    return this.#node(name, most === null ? 'relu' : 'relu6', {}, [x]);
  }

  /** The layer's `activation` after `x`. A softmax at the model's output is left out. */
  #activated(layer: KerasLayer, x: Value, name = `${layer.name}.activation`): Value {
    const kind = layer.config['activation'] ?? 'linear';
    if (kind === 'linear' || (kind === 'softmax' && layer.name === this.#output)) return x;
    const op = typeof kind === 'string' && Object.hasOwn(activations, kind) ? activations[kind] : undefined;
    if (op === undefined)
      return refuse(
        `layer ${describe(layer.name)} (${layer.kind}).activation`,
        `linear, ${Object.keys(activations).join(', ')}`,
        describe(kind),
      );
    if (op === 'hardsigmoid' && !hasHardsigmoid(this.#kerasVersion))
      return refuse(
        `layer ${describe(layer.name)} (${layer.kind}).activation`,
        'a hard_sigmoid of Keras 3 (keras_version), which is relu6(x + 3) / 6',
        `one of ${this.#kerasVersion === undefined ? 'an unknown version' : describe(this.#kerasVersion)}`,
      );
    return this.#node(name, op, {}, [x]);
  }

  #requireLastAxis({ kind, name, config }: KerasLayer, x: Value): void {
    const axis = Array.isArray(config['axis']) ? (config['axis'][0] as unknown) : (config['axis'] ?? -1);
    if (axis !== -1 && axis !== x.shape.length) refuse(`layer ${describe(name)} (${kind}).axis`, 'the channels (−1)', describe(axis));
  }

  /** TensorFlow's `same`: ⌈extent / stride⌉ outputs, the odd pixel below and to the right. */
  #samePadding(
    { kind, name, config }: KerasLayer,
    shape: Shape,
    kernel: readonly number[],
    stride: readonly number[],
    dilation: readonly number[],
  ): readonly number[] {
    const padding = config['padding'] ?? 'valid';
    if (padding === 'valid') return [0, 0, 0, 0];
    if (padding !== 'same') return refuse(`layer ${describe(name)} (${kind}).padding`, 'valid or same', describe(padding));
    return shape.slice(1).flatMap((extent, axis) => {
      const step = stride[axis] as number;
      const total = Math.max(
        0,
        (Math.ceil(extent / step) - 1) * step + ((kernel[axis] as number) - 1) * (dilation[axis] as number) + 1 - extent,
      );
      return [Math.floor(total / 2), Math.ceil(total / 2)];
    });
  }

  #node(name: string, op: OperationName, settings: Config, inputs: readonly Value[]): Value {
    const rule = ruleOf({ op });
    // Weights are stored as layer/variable, and separators become dots on reading.
    const path = name.replaceAll('/', '.');
    const operation = rule.parse(new FieldReader(`layer ${describe(name)}`, settings));
    const node = { name: path, inputs: inputs.map((value) => value.node), ...operation } as GraphNode;
    this.#nodes.push(node);
    return {
      node: path,
      shape: rule.shape(
        node,
        inputs.map(({ shape }) => shape),
        { input: [], nodes: this.#nodes },
      ),
    };
  }
}
