/**
 * What a gradient takes on the WebAssembly heap, reckoned beforehand; the micro-batch that a heap has room for, and what is to be
 * computed anew on the way back where there is none.
 */
import { BudgetError } from '../core/errors.ts';
import { requireInteger } from '../core/require.ts';
import { peakElements } from '../model/activation-memory.ts';
import { recomputedFlops } from '../model/cost.ts';
import { INPUT, inferShapes, parameterLayout, type ModelGraph, type Shape } from '../model/graph.ts';
import { cutsOf, segmentsOf, wholeOf, type Segment } from '../model/segments.ts';
import { F32_BYTES, elementCount } from '../tensor/tensor.ts';
import { halvesOf } from './summation.ts';

/** tfjs's own data and stack, packed panels and runs of tiles: independent of the network. */
const FIXED_BYTES = 6 * 2 ** 20;
/** The allocator's fragments. */
const ALLOWANCE = 1.15;

/** How a gradient is to be computed. */
export interface GradientNeeds {
  /** Of the heap, from above. */
  readonly bytes: number;
  readonly segments: readonly Segment[];
  /** FLOPs of what is computed anew. */
  readonly recomputedFlops: number;
}

/**
 * Estimate, from above, of the heap of one gradient over `images` at once: parameters, their gradients, and those of
 * the open half and block where `parts` of them are added up (`summation.ts`), values (`model/activation-memory.ts`), and the
 * workspace of the largest kernel. Checked by running gradients under a cap of just that size.
 * @throws InvalidArgumentError unless `images` is an integer ≥ 1.
 */
export function gradientHeapBytes(graph: ModelGraph, images: number, parts = 1): number {
  return new GradientReckoning(graph, images, parts).of(wholeOf(graph)).bytes;
}

/**
 * How a gradient over `images` at once fits `heapBytes`: with every value kept where there is room, else with the fewest FLOPs for
 * what is computed anew (`model/segments.ts`), and where nothing fits, with the fewest bytes. The gradient's own bytes are the same.
 */
export function fitGradient(graph: ModelGraph, images: number, parts: number, heapBytes: number): GradientNeeds {
  const reckoning = new GradientReckoning(graph, images, parts);
  const whole = reckoning.of(wholeOf(graph));
  if (whole.bytes <= heapBytes) return whole;
  let least = whole;
  let best: GradientNeeds | undefined;
  for (const ends of cutsOf(graph, reckoning.elements)) {
    const needs = (recomputed: number): GradientNeeds => reckoning.of(segmentsOf(graph, ends, recomputed));
    const all = needs(ends.length);
    if (all.bytes < least.bytes) least = all;
    if (all.bytes > heapBytes) continue;
    // As few of the first segments as fit, which are those of the largest images.
    let [tooFew, found] = [0, { recomputed: ends.length, needs: all }];
    while (found.recomputed - tooFew > 1) {
      const recomputed = Math.floor((tooFew + found.recomputed) / 2);
      const middle = needs(recomputed);
      if (middle.bytes <= heapBytes) found = { recomputed, needs: middle };
      else tooFew = recomputed;
    }
    if (best === undefined || found.needs.recomputedFlops < best.recomputedFlops) best = found.needs;
  }
  return best ?? least;
}

/** What is left of what was reckoned, where the heap turned out to have no room for that. */
const TIGHTENED = 0.9;

/** Answers of `fitGradient` for one network, each found once. */
export class GradientFits {
  readonly #graph: ModelGraph;
  readonly #whole = new Map<string, GradientNeeds>();
  readonly #cut = new Map<string, GradientNeeds>();
  /** What of a heap a gradient may take at most, as far as failures tell: fragments grow with it. */
  #usableShare = 1;

  constructor(graph: ModelGraph) {
    this.#graph = graph;
  }

  /** @param heapBytes of the heap, what other things have of it apart. */
  of(images: number, parts: number, heapBytes: number): GradientNeeds {
    const key = `${images} × ${openSums(parts)}`;
    const room = Math.floor(this.#usableShare * heapBytes);
    const whole = this.#found(this.#whole, key, () => fitGradient(this.#graph, images, parts, Infinity));
    if (whole.bytes <= room) return whole;
    return this.#found(this.#cut, `${key} ${room}`, () => fitGradient(this.#graph, images, parts, room));
  }

  /**
   * A gradient that was to take so many bytes had no room: the heap lies in too many pieces. (A third one of a ResNet-18 of half width,
   * batch 64, found no 9 MB in 118 MB of which 93 were taken.) Later answers take less of a heap, where there is an answer that does. Not
   * so where it was not reckoned to have room: once what others have of it is free, every value is kept again.
   * @param heapBytes that there were for it.
   */
  tighten(bytes: number, heapBytes: number): void {
    if (heapBytes > 0) this.#usableShare = Math.min(1, (TIGHTENED * bytes) / heapBytes);
  }

  #found(known: Map<string, GradientNeeds>, key: string, find: () => GradientNeeds): GradientNeeds {
    const needs = known.get(key) ?? find();
    known.set(key, needs);
    return needs;
  }
}

/** Reckons one gradient with several ways to cut its network. */
class GradientReckoning {
  readonly #graph: ModelGraph;
  readonly #images: number;
  readonly #shapes: ReadonlyMap<string, Shape>;
  /** Elements of all that does not depend on how it is cut. */
  readonly #besideValues: number;
  /** Of each node's value. */
  readonly elements: readonly number[];

  constructor(graph: ModelGraph, images: number, parts: number) {
    requireInteger('images', images, 1);
    this.#graph = graph;
    this.#images = images;
    const shapes = inferShapes(graph);
    this.#shapes = shapes;
    this.elements = graph.nodes.map(({ name }) => elementCount(shapes.get(name) as Shape));
    const sizes = parameterLayout(graph).parameters.map(({ shape }) => elementCount(shape));
    const parameters = sizes.reduce((sum, each) => sum + each, 0);
    // Parameters change their layout through a copy, and a gradient is computed before it is added to what there is.
    const workspace = Math.max(0, ...sizes, ...convolutionElements(graph, shapes, images));
    this.#besideValues = (1 + openSums(parts)) * parameters + workspace;
  }

  of(segments: readonly Segment[]): GradientNeeds {
    const values = this.#images * peakElements(this.#graph, this.#shapes, segments);
    return {
      bytes: FIXED_BYTES + Math.ceil(ALLOWANCE * F32_BYTES * (this.#besideValues + values)),
      segments,
      recomputedFlops: this.#images * recomputedFlops(this.#graph, this.#shapes, segments),
    };
  }
}

/**
 * The most images at once, of `most` or a half, a quarter … of it, with which a gradient of `batches` of `batchSize` fits `heapBytes`,
 * `besideBytes` of which something else has. Where there is no room for all values of a single one, some are computed anew on the way
 * back: of one at a time, or of `most`, which may have fewer sums of gradients beside them. Halving costs less, and comes first.
 * @throws BudgetError, with the fewest bytes of these two, where none of these fits.
 */
export function planMicroBatch(
  graph: ModelGraph,
  batchSize: number,
  heapBytes: number,
  {
    most = batchSize, batches = 1, besideBytes = 0,
  }: { readonly most?: number; readonly batches?: number; readonly besideBytes?: number } = {},
): number {
  requireInteger('batchSize', batchSize, 1);
  let images = most;
  requireInteger('heapBytes', heapBytes, 0);
  const partsOf = (atOnce: number): number => Math.ceil(batchSize / atOnce) * batches;
  while (images > 1 && besideBytes + gradientHeapBytes(graph, images, partsOf(images)) > heapBytes) images = Math.ceil(images / 2);
  if (images > 1) return images;
  const leastOf = (atOnce: number): number =>
    besideBytes + fitGradient(graph, atOnce, partsOf(atOnce), heapBytes - besideBytes).bytes;
  const ofOne = leastOf(1);
  if (ofOne <= heapBytes) return 1;
  const ofMost = leastOf(most);
  if (ofMost <= heapBytes) return most;
  const requiredBytes = Math.min(ofOne, ofMost);
  throw new BudgetError({
    field: 'heapBytes',
    expected: `at least ${requiredBytes}, for ${ofOne <= ofMost ? 'one image at a time' : `${most} images at once`}`,
    got: `${heapBytes}`,
    requiredBytes,
  });
}

/**
 * Most gradients at once while `parts` are added up: a second half of two blocks keeps its own beside the first half's
 * and the open block's.
 */
function openSums(parts: number): number {
  if (parts === 1) return 1;
  const [, second = []] = halvesOf(Array.from({ length: parts }));
  return second.length > 1 ? 3 : 2;
}

/**
 * Of each convolution: a padded copy of its input or of its gradient and the places of its windows, or the entries of
 * an image at least (`kernels/sparse-convolution.ts`: 8 bytes a number and a start a pixel), and the filter rotated and
 * packed or, for 3×3, in Winograd's form (`kernels/winograd.ts`); no less for the filter's gradient. A transposed one
 * is that from its output to its input. Depthwise ones copy no more rows than a padded image has, in which pixels of a
 * line or more, and rows, may lie further apart (`assembly/cache-sets.ts`: by less than two lines, and 64), and rotate a filter besides.
 */
function convolutionElements(graph: ModelGraph, shapes: ReadonlyMap<string, Shape>, images: number): number[] {
  return graph.nodes.flatMap((node) => {
    if (node.op !== 'conv2d' && node.op !== 'conv_transpose2d') return [];
    const ends = [node.inputs[0] as string, node.name].map((name) => shapes.get(name) as Shape);
    const [from = [], to = []] = node.op === 'conv2d' ? ends : ends.toReversed();
    const [channels = 1, height = 1, width = 1] = from;
    const [out = 1, outHeight = 1, outWidth = 1] = to;
    const [kernelHeight, kernelWidth] = node.kernel;
    const [top, bottom, left, right] = node.padding;
    // A tile of Winograd's may reach one pixel further. What is padded at the image is not at its gradient.
    const ofImage = (extent: number, padding: number): number => extent + padding + 1;
    const ofGradient = (extent: number, reach: number, padding: number): number => extent + Math.max(0, 2 * reach - padding) + 1;
    const paddedImage = channels * ofImage(height, top + bottom) * ofImage(width, left + right);
    const paddedGradient =
      out *
      ofGradient(outHeight, (kernelHeight - 1) * node.dilation[0], top + bottom) *
      ofGradient(outWidth, (kernelWidth - 1) * node.dilation[1], left + right);
    // The network's own input has no gradient.
    const padded = node.op === 'conv2d' && node.inputs[0] === INPUT ? paddedImage : Math.max(paddedImage, paddedGradient);
    const windows = Math.max(height * width, outHeight * outWidth);
    const entries = Math.max((2 * channels + 1) * height * width, (2 * out + 1) * outHeight * outWidth);
    const taps = kernelHeight * kernelWidth;
    const filters = (channels / node.groups) * out * (taps === 9 ? 9 + 16 : 2 * taps);
    const depthwise = node.groups > 1 && node.groups === channels && node.groups === out;
    const copiedRows = Math.min(7, Math.max(height, outHeight)) + kernelHeight - 1;
    const apart = copiedRows * ((channels < 16 ? 0 : 32) * Math.max(width, outWidth) + 1024) + taps * channels;
    return [Math.max(images * (padded + windows), entries) + filters + (depthwise ? apart : 0)];
  });
}
