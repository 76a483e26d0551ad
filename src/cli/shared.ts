/** Options and steps that several commands share: which data, which network, which weights. */
import { foreignFormatNames } from '../bundle/foreign/formats.ts';
import { requireFit } from '../bundle/foreign/map-names.ts';
import { stateFromForeign } from '../bundle/foreign/network.ts';
import { openBundle } from '../bundle/reader.ts';
import { limits } from '../core/limits.ts';
import { withFreshHead } from '../experiments/port-fine-tune.ts';
import { parameterLayout, parseGraph } from '../model/graph.ts';
import { graphFromLayersModel, isLayersModel } from '../model/layers-model.ts';
import { preset, presetNames } from '../model/presets.ts';
import type { TrajectoryBundle } from '../bundle/reader.ts';
import { isTokenSet } from '../data/data-set.ts';
import { splitRows } from '../data/image-set.ts';
import type { DataSet } from '../data/data-set.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { PresetName, PresetOptions } from '../model/presets.ts';
import { elementCount } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { lossKinds } from '../index.ts';
import type { Compute, Loss } from '../index.ts';
import { formatInteger } from '../report/text.ts';
import { thatFile } from './arguments.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import { readCheckpointFile } from './checkpoints.node.ts';
import { DEFAULT_DATA, dataFiles, loadImages } from './data.node.ts';
import type { DataPart, LoadChoices } from './data.node.ts';
import { FileError, UsageError } from './exit.ts';
import type { GlobalValues } from './command.ts';
import { openRandomAccess, readWhole } from './files.node.ts';
import type { Output } from './output.ts';
import { loadTokens, namesTokens } from './tokens.node.ts';

/** Images, or windows of tokens, a mini-batch of `train` and `transfer`. */
export const DEFAULT_BATCH_SIZE = 128;

export const dataOptions = {
  data: { kind: 'string', reads: dataFiles, metavar: 'DIR', help: "folder of images: files named as MNIST's (IDX) or CIFAR's (.bin), gzipped or not; or generated:before, generated:after; text:PATH, tokens:FILE for language models (default: generated:before, or the one of the two that the bundle was trained on)" },
  context: { kind: 'integer', metavar: 'N', minimum: 1, maximum: 65_536, help: 'text: tokens of a window (default: as many as the network given takes, else 64)' },
  vocabulary: { kind: 'string', reads: thatFile, metavar: 'FILE', help: 'text: tokens are the characters that occur in this text, by code point (default: bytes)' },
  'train-count': { kind: 'integer', metavar: 'N', minimum: 1, help: 'use only the first N training images or windows' },
  classes: { kind: 'integer', metavar: 'N', minimum: 1, maximum: 65_536, help: 'number of classes (default: the largest label and one); tokens: size of the vocabulary' },
  'pixel-maximum': { kind: 'integer', metavar: 'N', minimum: 1, maximum: 255, help: 'the byte that enters the network as 1 (default: 255, or the largest byte of a folder where that is below 64)' },
  'data-seed': { kind: 'integer', metavar: 'N', minimum: 0, maximum: 2 ** 32 - 1, default: 1, help: 'draws the generated images' },
} as const satisfies OptionSpecs;

export const modelOptions = {
  model: { kind: 'choice', metavar: 'NAME', choices: presetNames, help: `network by name: ${presetNames.join(', ')}` },
  widths: { kind: 'integers', metavar: 'N,N…', minimum: 1, maximum: 65_536, help: 'mlp: hidden widths (default 512)' },
  width: { kind: 'number', field: 'width', metavar: 'X', minimum: 0, help: 'conv4/6/8, vgg, mobilenet_v2: factor on the channels; small-conv, resnet, convnext: channels of the first stage; vit, gpt2, mixer: features of a token' },
  depth: { kind: 'integer', field: 'depth', metavar: 'N', minimum: 1, maximum: 256, help: 'vit, gpt2, mixer: blocks (default 12)' },
  heads: { kind: 'integer', field: 'heads', metavar: 'N', minimum: 1, maximum: 65_536, help: 'vit, gpt2: heads of an attention (default one for 64 features)' },
  patch: { kind: 'integer', field: 'patch', metavar: 'N', minimum: 1, maximum: 1024, help: "vit, mixer, convnext: pixels of a patch's side (default 16, or 4 for small images and convnext)" },
  activation: { kind: 'choice', choices: ['relu', 'none'], help: 'mlp: between the layers (default relu)' },
  'no-bias': { kind: 'flag', help: 'mlp: without biases' },
  stem: { kind: 'choice', choices: ['imagenet', 'cifar'], help: 'resnet18/34/50, mobilenet_v2: for large images (default) or small ones; vgg: imagenet pools to 7×7' },
  graph: { kind: 'string', reads: thatFile, metavar: 'FILE', help: 'the network of a bundle, of a graph JSON or of a TensorFlow.js LayersModel (model.json) instead of --model' },
} as const satisfies OptionSpecs;

/** Which networks by name take each option of theirs; with any other, and with --graph, it would change nothing. */
export const takenBy: { readonly [O in Exclude<keyof typeof modelOptions, 'model' | 'graph'>]: RegExp } = {
  widths: /^mlp$/, activation: /^mlp$/, 'no-bias': /^mlp$/, width: /^(?!mlp$)/, depth: /^(vit|gpt2|mixer)$/, heads: /^(vit|gpt2)$/, patch: /^(vit|mixer|convnext)$/,
  stem: /^(resnet\d+|mobilenet_v2|vgg.*)$/,
};

function requireTaken(values: ModelValues, name: PresetName | undefined, otherwise = '--graph'): void {
  for (const [option, names] of Object.entries(takenBy) as [keyof typeof takenBy, RegExp][]) {
    if (values[option] === undefined || values[option] === false || (name !== undefined && names.test(name))) continue;
    throw new UsageError(`--${option} is for --model ${presetNames.filter((one) => names.test(one)).join(', ')}, not for ${name ?? otherwise}`);
  }
}

/** For what `--model` is shaped where no data say it. */
export const shapeOptions = {
  input: { kind: 'integers', field: 'input', metavar: 'C,H,W', minimum: 1, help: '--model: channels, height and width of an image; gpt2: number of tokens' },
  classes: { kind: 'integer', field: 'classes', metavar: 'N', minimum: 1, maximum: 65_536, help: '--model: number of classes' },
} as const satisfies OptionSpecs;

/** The network of `--graph`, or of `--model` with the shapes given. @throws UsageError where a shape is missing. */
export async function graphOfShape(values: ModelValues & ValuesOf<typeof shapeOptions>): Promise<ModelGraph | undefined> {
  const { input, classes } = values;
  if (values.model !== undefined && (input?.length !== (values.model === 'gpt2' ? 1 : 3) || classes === undefined)) {
    throw new UsageError(values.model === 'gpt2' ? '--model gpt2 needs --input TOKENS and --classes VOCABULARY' : '--model needs --input C,H,W and --classes N');
  }
  return graphOf(values, { input: input ?? [1, 1, 1], classes: classes ?? 1 });
}

/** The network of `--graph`, or of `--model` with the shape of `--input` and `--classes`, else of the data. */
export async function graphOfShapeOrData(
  values: ModelValues & DataValues & Pick<ValuesOf<typeof shapeOptions>, 'input'>, compute: () => Promise<Compute>,
): Promise<ModelGraph | undefined> {
  if (values.input === undefined) return (await givenTask(values))?.graph ?? (values.model === undefined ? undefined : graphOf(values, await loadData(values, 'test', compute)));
  if (values.model === undefined) throw new UsageError('--input goes with --model');
  if (values.data !== undefined) throw new UsageError('--input and --data exclude each other: data have a shape of their own');
  return graphOfShape(values);
}

/** @throws UsageError for a network beside a bundle, which would change nothing. */
export function refuseNetwork(values: ModelValues & Partial<Pick<ValuesOf<typeof shapeOptions>, 'input'>>): void {
  const given = (['model', 'graph', 'input'] as const).find((option) => values[option] !== undefined);
  if (given !== undefined) throw new UsageError(`--${given} goes with a file of weights; a bundle carries its own network`);
  requireTaken(values, undefined, 'a bundle');
}

/** @throws UsageError for data beside a bundle in a command that reads none: its network says their shape. */
export function refuseData(values: DataValues): void {
  const given = (Object.keys(dataOptions) as (keyof DataValues)[]).find((option) => option !== 'data-seed' && values[option] !== undefined);
  if (given !== undefined) throw new UsageError(`--${given} goes with --model; a bundle's network has a shape of its own`);
}

export const freshHeadOptions = {
  'fresh-head': { kind: 'flag', help: 'give the weights a random last layer first, drawn from --seed: the old answers are not carried along' },
} as const satisfies OptionSpecs;

/** Weights to start from, from a file; with --fresh-head their last layer is drawn anew. */
export async function readStart(path: string, graph: ModelGraph, values: ValuesOf<typeof freshHeadOptions> & Pick<GlobalValues, 'seed'>, compute: () => Promise<Compute>): Promise<NetworkState> {
  const state = await readWeights(path, graph);
  return values['fresh-head'] ? withFreshHead(await compute(), graph, state, values.seed) : state;
}

export const lossOptions = {
  loss: { kind: 'choice', choices: lossKinds, help: 'what is minimised; the last two against one-hot targets' },
  'label-smoothing': { kind: 'number', metavar: 'X', minimum: 0, maximum: 1, help: 'softmax-cross-entropy: share of each target spread over all classes (default 0)' },
} as const satisfies OptionSpecs;

/** The loss that the options name; undefined where they name none. */
export function lossOf(values: ValuesOf<typeof lossOptions>): Loss | undefined {
  const { loss: kind, 'label-smoothing': labelSmoothing } = values;
  if (kind !== undefined && kind !== 'softmax-cross-entropy') {
    if (labelSmoothing !== undefined) throw new UsageError('--label-smoothing goes with --loss softmax-cross-entropy');
    return { kind };
  }
  return kind === undefined && labelSmoothing === undefined ? undefined : { kind: 'softmax-cross-entropy', labelSmoothing: labelSmoothing ?? 0 };
}

export type DataValues = ValuesOf<typeof dataOptions>;
export type ModelValues = ValuesOf<typeof modelOptions>;

/** Tokens of a window where neither --context nor a network says. */
const CONTEXT = 64;

/** Reads one part of the data that the options name. @param graph the network they are for, where it is known: it says how long windows of tokens are. */
export async function loadData(values: DataValues, part: DataPart, compute: () => Promise<Compute>, graph?: ModelGraph): Promise<DataSet> {
  const { data = DEFAULT_DATA } = values;
  if (namesTokens(data)) {
    if (values['pixel-maximum'] !== undefined) throw new UsageError('--pixel-maximum is for images');
    const fitting = graph?.vocabulary === undefined ? undefined : graph.input[0];
    return loadTokens(data, part, {
      context: values.context ?? fitting ?? CONTEXT, vocabulary: values.classes ?? (values.vocabulary === undefined ? graph?.vocabulary : undefined),
      characters: values.vocabulary, trainCount: values['train-count'],
    });
  }
  for (const option of ['context', 'vocabulary'] as const) if (values[option] !== undefined) throw new UsageError(`--${option} is for --data text:PATH`);
  const choices: LoadChoices = {
    seed: values['data-seed'],
    ...(values['train-count'] === undefined ? {} : { trainCount: values['train-count'] }),
    ...(values.classes === undefined ? {} : { classes: values.classes }),
    ...(values['pixel-maximum'] === undefined ? {} : { pixelMaximum: values['pixel-maximum'] }),
  };
  return loadImages(data, part, choices, compute);
}

/** The network that the options name, shaped for `data`; undefined where they name none. */
export async function graphOf(
  values: ModelValues,
  data: DataSet | Pick<PresetOptions, 'input' | 'classes'>,
  fallback?: 'mlp',
): Promise<ModelGraph | undefined> {
  const given = await givenTask(values);
  if (given !== undefined) return given.graph;
  const name = values.model ?? fallback;
  if (name === undefined) return undefined;
  requireTaken(values, name);
  if (!('input' in data) && isTokenSet(data) !== (name === 'gpt2')) {
    throw new UsageError(name === 'gpt2' ? '--model gpt2 reads --data text:PATH or tokens:FILE' : '--data text:PATH and tokens:FILE need --model gpt2, or a --graph that reads tokens');
  }
  const options: PresetOptions = {
    input: 'input' in data ? data.input : isTokenSet(data) ? [data.length] : [data.channels, data.height, data.width],
    classes: data.classes,
    ...(values.widths === undefined ? {} : { widths: values.widths }),
    ...(values.width === undefined ? {} : { width: values.width }),
    ...(values.depth === undefined ? {} : { depth: values.depth }),
    ...(values.heads === undefined ? {} : { heads: values.heads }),
    ...(values.patch === undefined ? {} : { patch: values.patch }),
    ...(values.activation === undefined ? {} : { activation: values.activation }),
    ...(values['no-bias'] ? { bias: false } : {}),
    ...(values.stem === undefined ? {} : { stem: values.stem }),
  };
  return preset(name, options);
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
  return isLayersModel(json) ? graphFromLayersModel(json) : parseGraph(json);
}

/** Our ZIPs end with the directory entry of their manifest; PyTorch's, numpy's and Keras's files are ZIPs too. */
const MANIFEST_NAME = Uint8Array.from('trajectory.json', (letter) => letter.charCodeAt(0));
const TAIL_BYTES = 65_536;

/** …and begin with an entry of theirs, behind a local header of 30 bytes. */
const FIRST_ENTRY = /^(checkpoints\/\d{4,}\.safetensors|trajectory\.json)/;
const HEAD_BYTES = 64;

/** By content, since names lie: also what only begins like a bundle, which `openBundleFile` then says is cut short. */
export function isBundle(path: string): boolean {
  const { begins, ends } = lookOver(path);
  return begins || ends;
}

function lookOver(path: string): { readonly begins: boolean; readonly ends: boolean } {
  const file = openRandomAccess(path);
  try {
    if (file.byteLength < 4 || file.peek(2).join() !== '80,75') return { begins: false, ends: false };
    const head = String.fromCharCode(...file.peek(Math.min(file.byteLength, HEAD_BYTES)));
    const length = Math.min(file.byteLength, TAIL_BYTES);
    const tail = file.peek(length, file.byteLength - length);
    return { begins: FIRST_ENTRY.test(head.slice(30)), ends: tail.some((_, at) => MANIFEST_NAME.every((byte, i) => tail[at + i] === byte)) };
  } finally {
    file.close();
  }
}

export interface OpenedBundle extends Disposable {
  readonly bundle: TrajectoryBundle;
}

/** Opens a bundle on disk; only what is asked for is read. Close it with `using`. */
export async function openBundleFile(path: string, signal?: AbortSignal): Promise<OpenedBundle> {
  if (!lookOver(path).ends) throw new FileError(path, 'is not a bundle, or is cut short; trajport train --out and trajport pack make bundles');
  const file = openRandomAccess(path);
  try {
    const bundle = await openBundle(file, { name: path, ...(signal === undefined ? {} : { signal }) });
    return {
      bundle,
      [Symbol.dispose]: () => {
        bundle[Symbol.dispose]();
        file.close();
      },
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Why weights cannot be used without a network: what reading them throws where they are none, so that a file of another kind is not asked for one. */
export async function refuseWithoutNetwork(path: string): Promise<never> {
  const { format } = await readCheckpointFile(path);
  throw new UsageError(`${path} (${foreignFormatNames[format]}) holds no network: give --graph BUNDLE, --graph FILE.json or --model NAME`);
}

/** Weights of `graph` from a file of any kind, or the checkpoint `label` (default: the last) of a bundle. */
export async function readWeights(path: string, graph: ModelGraph, label?: string): Promise<NetworkState> {
  if (isBundle(path)) {
    using opened = await openBundleFile(path);
    // Awaited here: `using` closes the bundle as soon as this function answers.
    return await opened.bundle.readCheckpoint(checkpointIndex(opened.bundle, label));
  }
  const { state, report } = stateFromForeign(graph, await readCheckpointFile(path), [], path);
  requireFit(path, report);
  return state as NetworkState;
}

/** Number of the checkpoint with that label, the last one where none is named. */
export function checkpointIndex(bundle: TrajectoryBundle, label: string | undefined): number {
  if (label === undefined) return bundle.checkpoints.length - 1;
  const index = bundle.checkpoints.findIndex((checkpoint) => checkpoint.label === label);
  if (index < 0) {
    throw new UsageError(`there is no checkpoint ${JSON.stringify(label)}; there are ${bundle.checkpoints.map((c) => c.label).join(', ')}`);
  }
  return index;
}

/** Says so where batches larger than what there is to draw them from were asked for. */
export function remarkLargeBatch(output: Output, batchSize: number | undefined, data: DataSet, heldOutFraction: number): void {
  const { length } = splitRows(data.count, heldOutFraction, 0).training;
  if (batchSize === undefined || batchSize <= length) return;
  output.warn(`--batch-size ${batchSize} is more than the ${formatInteger(length)} ${isTokenSet(data) ? 'windows' : 'images'} that are not held out: each batch is all of them`);
}

/** One line that says what a network is. */
export function graphSummary(graph: ModelGraph): string {
  const widths = graph.nodes.flatMap((node) => (node.op === 'dense' || node.op === 'conv2d' ? [node.out] : []));
  const shown = widths.length > 8 ? [...widths.slice(0, 4), '…', ...widths.slice(-3)] : widths;
  const kinds = [
    kindOf(graph),
    ...(graph.nodes.some(({ op }) => op === 'batch_norm') ? ['batch norm'] : []),
    ...(graph.nodes.some(({ op }) => op === 'add') ? ['residual'] : []),
  ];
  const count = parameterLayout(graph).parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return `${kinds.join(', ')} ${graph.input.join('×')} → ${shown.join('-')} · ${formatInteger(count)} parameters`;
}

function kindOf({ vocabulary, nodes }: ModelGraph): string {
  if (vocabulary !== undefined) return 'language model';
  if (nodes.some(({ op }) => op === 'attention')) return 'transformer';
  return nodes.some(({ op }) => op === 'conv2d') ? 'conv net' : 'MLP';
}

/** One line that says what a data set is. */
export function dataSummary(data: DataSet): string {
  if (isTokenSet(data)) return `${data.name}: ${formatInteger(data.count)} windows of ${data.length} tokens, vocabulary ${formatInteger(data.classes)}`;
  // Said of folders with few grey levels (data.node.ts); the generated tasks have an offset besides.
  const maximum = data.offset.some((offset) => offset !== 0) ? 255 : Math.round(1 / (data.scale[0] as number));
  const levels = maximum === 255 ? '' : `, pixels 0 to ${maximum}`;
  return `${data.name}: ${formatInteger(data.count)} images ${data.channels}×${data.height}×${data.width}, ${data.classes} classes${levels}`;
}
