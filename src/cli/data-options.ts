/** Which data the options name. */
import { onlyDefined } from '../core/only-defined.ts';
import type { DataSet } from '../data/data-set.ts';
import { splitRows } from '../data/split.ts';
import { SMALLEST_DEVIATION } from '../data/normalisation.ts';
import type { Normalisation } from '../data/normalisation.ts';
import type { Compute } from '../index.ts';
import { outputClasses, readsSequences } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { formatInteger } from '../report/text.ts';
import { sequenceFormOf } from '../transfer/inputs.ts';
import { thatFile } from './arguments.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import { DEFAULT_DATA, dataFiles, loadImages } from './data.node.ts';
import type { DataPart, LoadChoices } from './data.node.ts';
import { UsageError } from './exit.ts';
import type { Output } from './output.ts';
import { loadSequences } from './sequences.node.ts';
import { itemsOf } from './summaries.ts';
import { loadTokens, namesSequences, namesTokens } from './tokens.node.ts';

/** What images were normalised by, as torchvision's Normalize takes it. */
export const normalisationOptions = {
  'pixel-mean': {
    kind: 'numbers', field: 'pixelMean', metavar: 'X,…', minimum: 0, maximum: 1,
    help:
      "pixels enter the network as (byte ÷ 255 − mean) ÷ std, a mean per channel or one for all, e.g. 0.485,0.456,0.406 (default: what " +
      "the bundle says, else as they are)",
  },
  'pixel-std': {
    kind: 'numbers', field: 'pixelStd', metavar: 'X,…', minimum: SMALLEST_DEVIATION, maximum: 1,
    help: 'the standard deviations that go with --pixel-mean',
  },
} as const satisfies OptionSpecs;

export const dataOptions = {
  data: {
    kind: 'string', reads: dataFiles, metavar: 'DIR',
    help:
      "images: a folder of files named as MNIST's (IDX) or CIFAR's (.bin), gzipped or not, or one .npz with x_train, y_train, x_test, " +
      "y_test (colour, any " +
      'size); or generated:before, generated:after; text:PATH, ' +
      'tokens:FILE for language models, sequences:PATH for classifiers of texts (default: generated:before, or the one of the two that ' +
      'the bundle was trained on)',
  },
  context: {
    kind: 'integer', metavar: 'N', minimum: 1, maximum: 65_536,
    help:
      'text and tokens: length of a window in tokens; sequences: to which they are padded (default: as many as the network given takes, ' +
      'else 64)',
  },
  vocabulary: {
    kind: 'string', reads: thatFile, metavar: 'FILE',
    help: 'text: tokens are the characters that occur in this text, by code point (default: bytes)',
  },
  'train-count': {
    kind: 'integer', field: 'trainCount', metavar: 'N', minimum: 1, help: 'use only the first N training images, windows or sequences',
  },
  classes: {
    kind: 'integer', field: ['classes', 'data.classes'], metavar: 'N', minimum: 1, maximum: 65_536,
    help:
      "number of classes (default: the largest label and one; of CIFAR's files at least 10, or what the network given has); tokens: " +
      "size of the vocabulary",
  },
  'pixel-maximum': {
    kind: 'integer', metavar: 'N', minimum: 1, maximum: 255,
    help: 'the byte that enters the network as 1 (default: 255, or the largest byte of a folder where that is below 64)',
  },
  ...normalisationOptions,
  'data-seed': { kind: 'integer', metavar: 'N', minimum: 0, maximum: 2 ** 32 - 1, help: 'draws the generated images (default 1)' },
} as const satisfies OptionSpecs;

/** The options that say the shape of an input, for commands that look at nothing else of the data. */
export const inputShapeOptions = {
  data: dataOptions.data, context: dataOptions.context, vocabulary: dataOptions.vocabulary, classes: dataOptions.classes,
} as const;

/** … and how many there are. */
export const inputCountOptions = {
  ...inputShapeOptions, 'train-count': dataOptions['train-count'], 'data-seed': dataOptions['data-seed'],
} as const;

/** The first option that says something of the data, which have to be there for it to. */
export function givenDataOption(values: DataValues): keyof DataValues | undefined {
  return (Object.keys(dataOptions) as (keyof DataValues)[]).find((option) => values[option] !== undefined);
}

/** @throws UsageError for data beside a bundle in a command that reads none: its network says their shape. */
export function refuseData(values: DataValues): void {
  const given = givenDataOption(values);
  if (given !== undefined) throw new UsageError(`--${given} goes with --model; a bundle's network has a shape of its own`);
}

/** Values of those options that a command does not take are undefined. */
export type DataValues = Partial<ValuesOf<typeof dataOptions>>;

/** What data are held against that a network is yet to be made for. */
interface NetworkValues {
  readonly 'vocabulary-size'?: number | undefined;
}

/** @throws UsageError for one of the two without the other. */
export function normalisationOf(values: Partial<ValuesOf<typeof normalisationOptions>>): Normalisation | undefined {
  const { 'pixel-mean': mean, 'pixel-std': std } = values;
  if (mean !== undefined && std !== undefined) return { mean, std };
  if (mean !== std)
    throw new UsageError(`--pixel-mean and --pixel-std go together: give --pixel-${mean === undefined ? 'mean' : 'std'} too`);
  return undefined;
}

/** Tokens of a window or an input where neither --context nor a network says. */
const CONTEXT = 64;

/**
 * Reads one part of the data that the options name. @param graph the network they are for, where it is known: it says
 * how long windows of tokens are, and what pads sequences.
 */
export async function loadData(
  values: DataValues & NetworkValues, part: DataPart, compute: () => Promise<Compute>, graph?: ModelGraph,
): Promise<DataSet> {
  const { data = DEFAULT_DATA } = values;
  if (graph !== undefined && readsSequences(graph) && !namesSequences(data))
    throw new UsageError(`the network tells which class a text is of: --data sequences:PATH is for it, not ${data}`);
  if (namesTokens(data)) {
    const ofImages = (['pixel-maximum', 'pixel-mean', 'pixel-std'] as const).find((option) => values[option] !== undefined);
    if (ofImages !== undefined) throw new UsageError(`--${ofImages} is for images`);
    const fitting = graph?.vocabulary === undefined ? undefined : graph.input[0];
    const context = values.context ?? fitting ?? CONTEXT;
    if (namesSequences(data)) {
      if (values.vocabulary !== undefined) throw new UsageError('--vocabulary is for --data text:PATH');
      if (graph !== undefined && !readsSequences(graph))
        throw new UsageError('--data sequences:PATH is for networks that read tokens and give one answer to all of them');
      // Of a network by name, which the data are to shape, padding is 0.
      const form = graph === undefined ? { padding: 0, ...onlyDefined({ vocabulary: values['vocabulary-size'] }) } : sequenceFormOf(graph);
      const given = onlyDefined({ classes: values.classes, trainCount: values['train-count'] });
      return loadSequences(data, part, { ...form, length: context, ...given });
    }
    return loadTokens(data, part, {
      context,
      vocabulary: values.classes ?? (values.vocabulary === undefined ? graph?.vocabulary : undefined),
      characters: values.vocabulary,
      trainCount: values['train-count'],
    });
  }
  if (values.context !== undefined) throw new UsageError('--context is for --data text:PATH, tokens:FILE, sequences:PATH');
  if (values.vocabulary !== undefined) throw new UsageError('--vocabulary is for --data text:PATH');
  const normalisation = normalisationOf(values);
  const choices: LoadChoices = {
    seed: values['data-seed'] ?? 1,
    ...onlyDefined({
      trainCount: values['train-count'],
      classes: values.classes,
      networkClasses: graph === undefined ? undefined : outputClasses(graph),
      pixelMaximum: values['pixel-maximum'],
      normalisation,
    }),
  };
  return loadImages(data, part, choices, compute);
}

/** Says so where batches larger than what there is to draw them from were asked for. */
export function remarkLargeBatch(output: Output, batchSize: number | undefined, data: DataSet, heldOutFraction: number): void {
  const { length } = splitRows(data.count, heldOutFraction, 0).training;
  if (batchSize === undefined || batchSize <= length) return;
  output.warn(
    `--batch-size ${batchSize} is more than the ${formatInteger(length)} ${itemsOf(data)} that are not held out: each batch is all of them`,
  );
}
