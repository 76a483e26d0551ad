/** Networks, data and losses in one line. */
import type { MappingReport } from '../bundle/foreign/map-names.ts';
import { isImageSet, isTokenSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import { recordedNormalisation } from '../data/normalisation.ts';
import type { ImageSet } from '../data/image-set.ts';
import { outputClasses, parameterLayout, readsSequences } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { Loss } from '../gradient/loss.ts';
import { formatCount, formatInteger, printable } from '../report/text.ts';
import { elementCount } from '../tensor/tensor.ts';

/** One line that says what a network is. */
export function graphSummary(graph: ModelGraph): string {
  const count = parameterLayout(graph).parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return `${describedGraph(graph)} · ${formatInteger(count)} parameters`;
}

function describedGraph(graph: ModelGraph): string {
  const { vocabulary, nodes, input: [tokens] } = graph;
  if (vocabulary !== undefined) {
    const attentions = nodes.flatMap((node) => (node.op === 'attention' ? [node.heads] : []));
    const width = nodes.flatMap((node) => (node.op === 'embedding' ? [node.features] : []))[0];
    const body =
      `${formatCount(attentions.length, 'attention')} of ${formatCount(attentions[0] ?? 0, 'head')}, width ${width}, ` +
      `context ${tokens}, vocabulary ${formatInteger(vocabulary)}`;
    return readsSequences(graph) ? `classifier of texts, ${body} → ${outputClasses(graph)}` : `language model, ${body}`;
  }
  const widths = graph.nodes.flatMap((node) => (node.op === 'dense' || node.op === 'conv2d' ? [node.out] : []));
  const shown = widths.length > 8 ? [...widths.slice(0, 4), '…', ...widths.slice(-3)] : widths;
  const kinds = [
    kindOf(graph),
    ...(graph.nodes.some(({ op }) => op === 'batch_norm') ? ['batch norm'] : []),
    ...(graph.nodes.some(({ op }) => op === 'add') ? ['residual'] : []),
  ];
  return `${kinds.join(', ')} ${graph.input.join('×')} → ${shown.join('-')}`;
}

function kindOf({ nodes }: ModelGraph): string {
  if (nodes.some(({ op }) => op === 'attention')) return 'transformer';
  return nodes.some(({ op }) => op === 'conv2d') ? 'conv net' : 'MLP';
}

/** More names than these are told by the first and the last. */
const NAMES_SHOWN = 4;

/** What a bundle's record says of where it came from, as whoever ports it should know; a line each, ready for a terminal. */
export function trainingSummary(training: unknown): readonly string[] {
  const { packedFrom, zeroHead, pixelMaximum } = (training ?? {}) as {
    readonly packedFrom?: unknown; readonly zeroHead?: unknown; readonly pixelMaximum?: unknown;
  };
  const files = Array.isArray(packedFrom) ? packedFrom.filter((name) => typeof name === 'string').map(printable) : [];
  const named = files.length > NAMES_SHOWN ? `${formatCount(files.length, 'file')}, ${files[0]} to ${files.at(-1)}` : files.join(', ');
  const normalisation = recordedNormalisation(training);
  return [
    ...(files.length > 0 ? [`packed from ${named}`] : []),
    ...(zeroHead === true
      ? ['the last layer of the first checkpoint became zeros (--zero-head); transfer does the same with its target']
      : []),
    ...(normalisation === undefined
      ? []
      : [`images normalised by mean ${normalisation.mean.join(', ')} and deviation ${normalisation.std.join(', ')}`]),
    ...(typeof pixelMaximum === 'number' ? [`pixels 0 to ${pixelMaximum}`] : []),
  ];
}

/** What a set has so many of. */
export function itemsOf(data: DataSet): 'images' | 'windows' | 'sequences' {
  if (isImageSet(data)) return 'images';
  return isTokenSet(data) ? 'windows' : 'sequences';
}

/** One line that says what a data set is. */
export function dataSummary(data: DataSet): string {
  if (isTokenSet(data))
    return `${data.name}: ${formatInteger(data.count)} windows of ${data.length} tokens, vocabulary ${formatInteger(data.classes)}`;
  if (!isImageSet(data)) {
    const mean = (data.sequences.length / data.count).toFixed(1);
    return `${data.name}: ${formatCount(data.count, 'sequence')} of up to ${data.length} tokens, ${mean} on average, ` +
      `${data.classes === 1 ? '1 class' : `${data.classes} classes`}`;
  }
  return `${data.name}: ${formatInteger(data.count)} images ${data.channels}×${data.height}×${data.width}, ` +
    `${data.classes} classes${pixelSummary(data)}`;
}

/** How pixels enter the network, where that is not as byte ÷ 255: of few grey levels (data.node.ts), or normalised. */
function pixelSummary({ scale, offset }: ImageSet): string {
  if (offset.some((value) => value !== 0)) {
    const highest = offset.map((value, channel) => 255 * (scale[channel] as number) + value);
    return `, pixels as ${Math.min(...offset).toFixed(2)} to ${Math.max(...highest).toFixed(2)}`;
  }
  const maximum = Math.round(1 / (scale[0] as number));
  return maximum === 255 ? '' : `, pixels 0 to ${maximum}`;
}

export function lossSummary(loss: Loss): string {
  return loss.kind === 'softmax-cross-entropy' && loss.labelSmoothing > 0
    ? `${loss.kind}, label smoothing ${loss.labelSmoothing}`
    : loss.kind;
}

/** How the file's names become the network's. */
export function namingOf({ prefix, added, scheme }: MappingReport): string {
  return (
    (prefix === '' ? '' : `; under the prefix ${printable(prefix)}`) + (added === '' ? '' : `; without the network's prefix ${added}`) +
    (scheme === undefined ? '' : `; by the names of ${scheme}`)
  );
}

/** Of what a file has besides the network: weights that are of no use to it. Counts, masks and copies hold nothing that would be lost. */
export function leftOutOf({ ignored }: MappingReport): readonly string[] {
  return ignored.flatMap(({ from, kind, belongs }) => (!belongs || kind === 'unread' ? [from] : []));
}

/** In one line; undefined where nothing is left out. */
export function leftOutSummary(names: readonly string[]): string | undefined {
  const [first] = names;
  if (first === undefined) return undefined;
  return `${formatCount(names.length, 'tensor')} of it left out, no part of the network: ` +
    `${printable(first)}${names.length > 1 ? ' and others' : ''}`;
}
