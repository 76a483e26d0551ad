/** Which network the options name: by `--model`, shaped by the data or by hand, or that of `--graph`. */
import { InvalidArgumentError } from '../core/errors.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { limits } from '../core/limits.ts';
import { isImageSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import type { Compute } from '../index.ts';
import { inferShapes, parseGraph, readsSequences } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { graphFromLayersModel, isLayersModel } from '../model/layers-model.ts';
import { preset, presetNames, readsOption } from '../model/presets.ts';
import type { PresetName, PresetOptions } from '../model/presets.ts';
import { formatCount } from '../report/text.ts';
import { thatFile } from './arguments.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import { givenDataOption, loadData } from './data-options.ts';
import type { DataValues } from './data-options.ts';
import { FileError, UsageError } from './exit.ts';
import { readWhole } from './read-files.node.ts';
import type { Output } from './output.ts';
import { itemsOf } from './summaries.ts';
import { isBundle, openBundleFile } from './weights.node.ts';

export const modelOptions = {
  model: { kind: 'choice', metavar: 'NAME', choices: presetNames, help: `network by name: ${presetNames.join(', ')}` },
  widths: { kind: 'integers', metavar: 'N,N…', minimum: 1, maximum: 65_536, help: 'mlp: hidden widths (default 512)' },
  width: {
    kind: 'number', field: 'width', metavar: 'X', minimum: 0,
    help:
      'conv4/6/8, vgg, mobilenet, efficientnet: factor on the channels; small-conv, resnet, convnext: channels of the first stage; ' +
      'vit, gpt2, distilbert, bert, mixer: features of a token',
  },
  depth: {
    kind: 'integer', field: 'depth', metavar: 'N', minimum: 1, maximum: 256,
    help: 'vit, gpt2, distilbert, bert, mixer: blocks (default 12; distilbert: 6)',
  },
  heads: {
    kind: 'integer',
    field: 'heads',
    metavar: 'N',
    minimum: 1,
    maximum: 65_536,
    help: 'vit, gpt2, distilbert, bert: heads of an attention (default: width ÷ 64, rounded)',
  },
  patch: {
    kind: 'integer', field: 'patch', metavar: 'N', minimum: 1, maximum: 1024,
    help: "vit, mixer, convnext: pixels of a patch's side (default 16, or 4 for small images and convnext)",
  },
  'vocabulary-size': {
    kind: 'integer', field: 'vocabulary', metavar: 'N', minimum: 2, maximum: 2 ** 20,
    help: 'distilbert, bert: tokens there are (default 30522)',
  },
  separator: {
    kind: 'integer', field: 'separator', metavar: 'N', minimum: 1, maximum: 2 ** 20 - 1,
    help: 'bert: the token behind which the second text of a pair begins, [SEP] (default 102)',
  },
  positions: {
    kind: 'integer', field: 'positions', metavar: 'N', minimum: 1, maximum: 65_536,
    help: 'gpt2, distilbert, bert: rows of the table of positions (default: as many as an input has tokens; of the last two at least 512)',
  },
  activation: { kind: 'choice', choices: ['relu', 'none'], help: 'mlp: between the layers (default relu)' },
  'no-bias': { kind: 'flag', help: 'mlp: without biases' },
  stem: {
    kind: 'choice', choices: ['imagenet', 'cifar'],
    help: 'resnet18 and its kin, mobilenet, efficientnet: for large images (default) or small ones; vgg: imagenet pools to 7×7',
  },
  graph: {
    kind: 'string', reads: thatFile, metavar: 'FILE',
    help: 'the network of a bundle, of a graph JSON or of a TensorFlow.js LayersModel (model.json) instead of --model',
  },
} as const satisfies OptionSpecs;

/** What the library calls each option of networks by name; which of them read it, it knows. */
const presetOptions = {
  widths: 'widths', activation: 'activation', 'no-bias': 'bias', width: 'width', depth: 'depth', heads: 'heads', patch: 'patch',
  'vocabulary-size': 'vocabulary', separator: 'separator', positions: 'positions', stem: 'stem',
} as const satisfies { readonly [O in Exclude<keyof typeof modelOptions, 'model' | 'graph'>]: keyof PresetOptions };

/** @throws UsageError for an option that the network does not read; without a name, as with --graph, none is. */
function requireTaken(values: ModelValues, name: PresetName | undefined, otherwise = 'not for --graph'): void {
  for (const option of Object.keys(presetOptions) as (keyof typeof presetOptions)[]) {
    const read = presetOptions[option];
    if (values[option] === undefined || values[option] === false || (name !== undefined && readsOption(name, read))) continue;
    throw new UsageError(
      `--${option} is for --model ${presetNames.filter((one) => readsOption(one, read)).join(', ')}, ` +
      `${name === undefined ? otherwise : `not for ${name}`}`,
    );
  }
}

/** What a network by name reads, as one for a single token says; those of images have no such. */
function itemsRead(name: PresetName): ReturnType<typeof itemsOf> {
  try {
    const graph = preset(name, { input: [1], classes: 2 });
    return graph.vocabulary === undefined ? 'images' : readsSequences(graph) ? 'sequences' : 'windows';
  } catch (error) {
    if (error instanceof InvalidArgumentError && error.field === 'input') return 'images';
    throw error;
  }
}

/** The networks by name that read such. */
const namesReading = (items: ReturnType<typeof itemsOf>): string => presetNames.filter((name) => itemsRead(name) === items).join(' or ');

/** For what `--model` is shaped where no data say it. */
export const shapeOptions = {
  input: {
    kind: 'integers',
    field: 'input',
    metavar: 'C,H,W',
    minimum: 1,
    help: '--model: channels, height and width of an image; gpt2, distilbert, bert: number of tokens',
  },
  classes: { kind: 'integer', field: 'classes', metavar: 'N', minimum: 1, maximum: 65_536, help: '--model: number of classes' },
} as const satisfies OptionSpecs;

/** The network of `--graph`, or of `--model` with the shapes given. @throws UsageError where a shape is missing. */
export async function graphOfShape(values: ModelValues & Partial<ValuesOf<typeof shapeOptions>>): Promise<ModelGraph | undefined> {
  const { input, classes } = values;
  const shape = input !== undefined ? '--input' : classes !== undefined ? '--classes' : undefined;
  if (values.model === undefined && shape !== undefined)
    throw new UsageError(`${shape} goes with --model; the network of a file has a shape of its own`);
  const items = values.model === undefined ? undefined : itemsRead(values.model);
  if (items !== undefined && (input?.length !== (items === 'images' ? 3 : 1) || classes === undefined)) {
    throw new UsageError(
      {
        windows: `--model ${values.model} needs --input TOKENS and --classes VOCABULARY, e.g. --input 1024 --classes 50257`,
        sequences: `--model ${values.model} needs --input TOKENS and --classes N, e.g. --input 128 --classes 2`,
        images: '--model needs --input C,H,W and --classes N, e.g. --input 3,224,224 --classes 1000',
      }[items],
    );
  }
  return graphOf(values, { input: input ?? [1, 1, 1], classes: classes ?? 1 });
}

/**
 * Notes how many heads, and what patches, weights are taken to have where nobody said: those of another number of heads fit as
 * well, and compute something else. So do those of another vocabulary, whose separator may be another token.
 */
export function remarkAssumed(output: Output, values: ModelValues, graph: ModelGraph | undefined): void {
  const { model } = values;
  if (graph === undefined || model === undefined || (model !== 'vit' && itemsRead(model) === 'images')) return;
  const attention = graph.nodes.flatMap((node) => (node.op === 'attention' ? [node] : []))[0];
  const patches = graph.nodes.flatMap((node) => (node.op === 'conv2d' ? [node] : []))[0];
  const assumed = [
    ...(values.heads === undefined && attention !== undefined ? [{ option: '--heads', what: formatCount(attention.heads, 'head') }] : []),
    ...(values.patch === undefined && patches !== undefined
      ? [{ option: '--patch', what: `patches of ${patches.kernel.join('×')} pixels` }]
      : []),
  ];
  const types = graph.nodes.flatMap((node) => (node.op === 'type_embedding' ? [node] : []))[0];
  if (types !== undefined && values['vocabulary-size'] !== undefined && values.separator === undefined)
    assumed.push({ option: '--separator', what: types.separator === undefined ? 'no separator' : `the separator ${types.separator}` });
  if (assumed.length === 0) return;
  const width = inferShapes(graph).get(attention?.name ?? graph.output)?.at(-1);
  output.warn(
    `${model} of width ${width} is taken to have ` +
    `${assumed.map(({ what }) => what).join(' and ')} (${assumed.map(({ option }) => option).join(', ')})`,
  );
}

/** The network of `--graph`, or of `--model` with the shape of `--input` and `--classes`, else of the data. */
export async function graphOfShapeOrData(
  values: ModelValues & DataValues & Pick<ValuesOf<typeof shapeOptions>, 'input'>, compute: () => Promise<Compute>,
): Promise<ModelGraph | undefined> {
  if (values.input === undefined) {
    const given = await givenTask(values);
    if (given !== undefined) return given.graph;
    return values.model === undefined ? undefined : graphOf(values, await loadData(values, 'test', compute));
  }
  if (values.model === undefined) throw new UsageError('--input goes with --model');
  if (values.data !== undefined) throw new UsageError('--input and --data exclude each other: data have a shape of their own');
  const given = givenDataOption({ ...values, classes: undefined });
  if (given !== undefined) throw new UsageError(`--${given} goes with --data, not with --input`);
  return graphOfShape(values);
}

/** @throws UsageError for a network beside a bundle, which would change nothing. */
export function refuseNetwork(values: ModelValues & Partial<Pick<ValuesOf<typeof shapeOptions>, 'input'>>): void {
  const given = (['model', 'graph', 'input'] as const).find((option) => values[option] !== undefined);
  if (given !== undefined) throw new UsageError(`--${given} goes with a file of weights; a bundle carries its own network`);
  requireTaken(values, undefined, 'not for a bundle');
}

export type ModelValues = ValuesOf<typeof modelOptions>;

/** The network that the options name, shaped for `data`; undefined where they name none. */
export async function graphOf(
  values: ModelValues,
  data: DataSet | Pick<PresetOptions, 'input' | 'classes'>,
  fallback?: 'mlp',
): Promise<ModelGraph | undefined> {
  const given = await givenTask(values);
  if (given !== undefined) return given.graph;
  const name = values.model ?? fallback;
  requireTaken(values, name, 'and no network is named');
  if (name === undefined) return undefined;
  if (!('input' in data)) requireRead(name, data);
  const options: PresetOptions = {
    input: 'input' in data ? data.input : isImageSet(data) ? [data.channels, data.height, data.width] : [data.length],
    classes: data.classes,
    ...onlyDefined({
      widths: values.widths, width: values.width, depth: values.depth, heads: values.heads, patch: values.patch,
      vocabulary: values['vocabulary-size'], separator: values.separator, positions: values.positions, activation: values.activation,
      bias: values['no-bias'] ? false : undefined, stem: values.stem,
    }),
  };
  const graph = preset(name, options);
  if ('sequences' in data && graph.vocabulary !== undefined && data.vocabulary > graph.vocabulary) {
    throw new UsageError(
      `--vocabulary-size of ${name} is ${graph.vocabulary}, and ${data.name} has a token ${data.vocabulary - 1}: give ` +
      `--vocabulary-size ${data.vocabulary}, or what the tokeniser has`,
    );
  }
  return graph;
}

/** @throws UsageError for data of another kind than a network by name reads. */
function requireRead(name: PresetName, data: DataSet): void {
  const [has, reads] = [itemsOf(data), itemsRead(name)];
  if (has === reads) return;
  if (reads === 'windows') throw new UsageError(`--model ${name} reads --data text:PATH or tokens:FILE`);
  if (reads === 'sequences') throw new UsageError(`--model ${name} reads --data sequences:PATH`);
  throw new UsageError(
    `--data ${has === 'sequences' ? 'sequences:PATH needs' : 'text:PATH and tokens:FILE need'} --model ${namesReading(has)}, or a ` +
    '--graph that reads tokens',
  );
}

/** A network and what was done with it: a bundle's, or a graph's JSON, which has no `training`. */
export interface Task {
  readonly path: string;
  readonly graph: ModelGraph;
  /** The record of a bundle's training, as the bundle has it. */
  readonly training: unknown;
}

/** The network of --graph alone, which says what data must be like, with the record of its training where it is a bundle's. */
export async function givenTask(values: ModelValues): Promise<Task | undefined> {
  if (values.graph === undefined) return undefined;
  if (values.model !== undefined) throw new UsageError('--graph and --model exclude each other');
  requireTaken(values, undefined);
  const path = values.graph;
  if (!isBundle(path)) return { path, graph: readGraph(path), training: undefined };
  using opened = await openBundleFile(path);
  return { path, graph: opened.bundle.graph, training: opened.bundle.training };
}

/** The graph of a JSON file. */
function readGraph(path: string): ModelGraph {
  const text = new TextDecoder().decode(readWhole(path, limits.manifestBytes));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FileError(path, 'is neither a bundle nor JSON', cause);
  }
  if (isLayersModel(json)) return graphFromLayersModel(json);
  if (typeof json !== 'object' || json === null || !('nodes' in json)) {
    const what = Array.isArray(json) ? 'a JSON list' : 'JSON without nodes';
    throw new FileError(
      path,
      `is ${what} and no network: a graph is a JSON object { "version": 1, "input", "nodes", "output" } (docs/networks.md), and a ` +
      `bundle holds one too`,
    );
  }
  return parseGraph(json);
}
