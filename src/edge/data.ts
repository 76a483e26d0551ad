/**
 * The data of a request, in whichever of its parts they came, as the set that the bundle's network is trained on: images, labelled
 * sequences of tokens, or a stream of tokens.
 */
import { cappedSequences } from '../bundle/json-lines.ts';
import { InvalidArgumentError, LimitError, MalformedFileError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { isImageSet, isTokenSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import { unpacked } from '../data/gzip.ts';
import { imageSetFromIdx } from '../data/idx.ts';
import { normalisedAsRecorded } from '../data/normalisation.ts';
import { tokenSetOf, tokensFromBytes } from '../data/token-set.ts';
import type { TokenSet } from '../data/token-set.ts';
import { outputClasses, readsSequences } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { requireData, sequenceFormOf } from '../transfer/inputs.ts';
import type { Caps } from './caps.ts';

export type Bytes = Uint8Array<ArrayBuffer>;
export type Parts = ReadonlyMap<string, Bytes>;
type DataCaps = Pick<Caps, 'maxDataBytes' | 'maxLabelsBytes'>;

/** The parts that are data, as GET tells of them. */
export const dataPartUses = {
  images: "the source's task, IDX, gzipped or not: [count, height, width], in colour [count, channels, height, width]",
  labels: 'their labels, IDX, gzipped or not',
  sequences:
    'instead, of a classifier of texts: JSON Lines, gzipped or not, {"tokens":[101,2204,102],"label":1} a line, the tokens as numbers',
  text: 'instead, of a language model whose tokens are bytes: text, gzipped or not',
  tokens: 'instead, of any language model: token numbers of two bytes each, little-endian, gzipped or not',
} as const;

/** By the part that says which: the labels of images are another one. */
const kinds = ['images', 'sequences', 'text', 'tokens'] as const;

/** Data of one kind, not yet read. */
export type RequestData =
  | { readonly kind: 'images'; readonly images: Bytes; readonly labels: Bytes }
  | { readonly kind: Exclude<(typeof kinds)[number], 'images'>; readonly bytes: Bytes };

/** JSON values in one line: twice the tokens of the longest sequence that there can be. As empty objects they take 19 MB. */
const LINE_VALUES = 2 ** 17;

/** Cap of each part, in bytes. Only those of one kind come together. */
export function dataPartLimits({ maxDataBytes, maxLabelsBytes }: DataCaps): Readonly<Record<keyof typeof dataPartUses, number>> {
  return { images: maxDataBytes, labels: maxLabelsBytes, sequences: maxDataBytes, text: maxDataBytes, tokens: maxDataBytes };
}

/** The part of that name. @throws MalformedFileError where there is none. */
export function requirePart(parts: Parts, name: string): Bytes {
  const found = parts.get(name);
  if (found === undefined) throw new MalformedFileError({ field: name, expected: 'a part of this name', got: 'none' });
  return found;
}

/** @throws MalformedFileError for no data, or images without labels; InvalidArgumentError for data of two kinds. */
export function requireOneKind(parts: Parts): RequestData {
  const [kind, second] = kinds.filter((name) => parts.has(name) || (name === 'images' && parts.has('labels')));
  if (kind === undefined)
    throw new MalformedFileError({ field: 'body', expected: 'data: images and labels, sequences, text or tokens', got: 'none of them' });
  if (second !== undefined)
    throw new InvalidArgumentError({
      field: second, expected: 'data of one kind', got: `a part of another, ${parts.has(kind) ? kind : 'labels'}, beside it`,
    });
  return kind === 'images'
    ? { kind, images: requirePart(parts, 'images'), labels: requirePart(parts, 'labels') }
    : { kind, bytes: requirePart(parts, kind) };
}

/** @throws InvalidArgumentError for data of a kind that the network does not read. */
export function requireKindOf(graph: ModelGraph, { kind }: RequestData): void {
  const [read, expected] = readBy(graph);
  if (!read.includes(kind)) throw new InvalidArgumentError({ field: kind, expected, got: kind });
}

function readBy(graph: ModelGraph): readonly [read: readonly RequestData['kind'][], expected: string] {
  if (graph.vocabulary === undefined) return [['images'], 'images and labels: the network reads images'];
  if (readsSequences(graph)) return [['sequences'], 'sequences: the network tells which class a text is of'];
  return [['text', 'tokens'], 'text or tokens: the network is a language model'];
}

/**
 * The set; all of it is the training part.
 * @param training what the bundle says of its own: how its images were normalised.
 * @throws what the readers do, and what `transfer` would of data that do not fit the network, by the name of the part; LimitError for
 *   what unpacks to more than the caps.
 */
export async function readData(data: RequestData, graph: ModelGraph, training: unknown, caps: DataCaps): Promise<DataSet> {
  try {
    const set = await readSet(data, graph, training, caps);
    requireData(graph, set);
    return set;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    // Who sent parts knows of no `data`.
    const field = error.field.replace(/^data\b(\.labels\b)?/, (_, labels?: string) => (labels === undefined ? data.kind : 'labels'));
    throw new InvalidArgumentError({ field, expected: error.expected, got: error.got });
  }
}

async function readSet(data: RequestData, graph: ModelGraph, training: unknown, caps: DataCaps): Promise<DataSet> {
  if (data.kind === 'images') {
    const images = await imageSetFromIdx({
      name: 'data',
      images: data.images,
      labels: data.labels,
      fileNames: { images: 'images', labels: 'labels' },
      classes: outputClasses(graph),
      limitBytes: { images: caps.maxDataBytes, labels: caps.maxLabelsBytes },
    });
    return normalisedAsRecorded(images, training);
  }
  const bytes = await unpacked(data.kind, data.bytes, Math.min(caps.maxDataBytes, limits.textFileBytes));
  if (data.kind !== 'sequences') return readTokens(data.kind, bytes, graph, caps);
  return cappedSequences(
    { name: data.kind, bytes, ...sequenceFormOf(graph) },
    // A sequence costs what a label does: its row numbers.
    { lines: caps.maxLabelsBytes, tokens: Math.floor(caps.maxDataBytes / Int32Array.BYTES_PER_ELEMENT), lineValues: LINE_VALUES },
  );
}

function readTokens(part: 'text' | 'tokens', bytes: Uint8Array, graph: ModelGraph, { maxLabelsBytes }: DataCaps): TokenSet {
  const { input: [length = 1], vocabulary = 1 } = graph;
  const set = tokenSetOf({ name: 'data', tokens: tokensFromBytes(bytes, part === 'text' ? 8 : 16), length, vocabulary }, part);
  // … and so does a window.
  if (set.count > maxLabelsBytes)
    throw new LimitError({ field: part, expected: `at most ${maxLabelsBytes} windows of ${length} tokens`, got: `${set.count}` });
  return set;
}

/** What a set's tokens take as numbers, beside the part that they came in: text is taken as it is. */
export function tokenBytesOf(set: DataSet): number {
  if (isImageSet(set)) return 0;
  if (isTokenSet(set)) return set.tokens instanceof Uint8Array ? 0 : set.tokens.byteLength;
  return set.sequences.byteLength;
}
