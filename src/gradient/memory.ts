/** What a gradient takes on the WebAssembly heap, reckoned beforehand, and the micro-batch that a heap has room for. */
import { BudgetError } from '../core/errors.ts';
import { requireInteger } from '../core/require.ts';
import { gradientCost } from '../model/cost.ts';
import { inferShapes, parameterLayout, type ModelGraph, type Shape } from '../model/graph.ts';
import { elementCount } from '../tensor/tensor.ts';
import { halvesOf } from './summation.ts';

const F32_BYTES = 4;
/** tfjs's own data and stack, packed panels and runs of tiles: independent of the network. */
const FIXED_BYTES = 6 * 2 ** 20;
/** The allocator's fragments. */
const ALLOWANCE = 1.15;

/**
 * Estimate, from above, of the heap of one gradient over `images` at once: parameters, their gradients, and those of
 * the open half and block where `parts` of them are added up (`summation.ts`), values (`model/activation-memory.ts`), and the
 * workspace of the largest kernel. Checked by running gradients under a cap of just that size.
 * @throws InvalidArgumentError unless `images` is an integer ≥ 1.
 */
export function gradientHeapBytes(graph: ModelGraph, images: number, parts = 1): number {
  const { parameterElements, activationBytes } = gradientCost(graph, images);
  const workspace = Math.max(largestParameter(graph), ...convolutionElements(graph, images));
  return FIXED_BYTES + Math.ceil(ALLOWANCE * (F32_BYTES * ((1 + openSums(parts)) * parameterElements + workspace) + activationBytes));
}

/**
 * The most images at once, of `most` or a half, a quarter … of it, with which a gradient of `batches` of `batchSize` fits `heapBytes`,
 * `besideBytes` of which something else has. Values are not computed anew in the backward pass: halving the micro-batch
 * saves as much and costs nothing.
 * @throws BudgetError, with the bytes of a single image, where even that does not fit.
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
  const bytes = (): number => besideBytes + gradientHeapBytes(graph, images, Math.ceil(batchSize / images) * batches);
  while (bytes() > heapBytes) {
    if (images === 1) {
      const requiredBytes = bytes();
      throw new BudgetError({
        field: 'heapBytes',
        expected: `at least ${requiredBytes}, for one image at a time`,
        got: `${heapBytes}`,
        requiredBytes,
      });
    }
    images = Math.ceil(images / 2);
  }
  return images;
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

/** Parameters change their layout through a copy, and a gradient is computed before it is added to what there is. */
function largestParameter(graph: ModelGraph): number {
  return Math.max(0, ...parameterLayout(graph).parameters.map(({ shape }) => elementCount(shape)));
}

/**
 * Of each convolution: a padded copy of its input or of its gradient and the places of its windows, or the entries of
 * an image at least (`kernels/sparse-convolution.ts`: 8 bytes a number and a start a pixel), and the filter rotated and
 * packed or, for 3×3, in Winograd's form (`kernels/winograd.ts`); no less for the filter's gradient. A transposed one
 * is that from its output to its input.
 */
function convolutionElements(graph: ModelGraph, images: number): number[] {
  const shapes = inferShapes(graph);
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
    const padded = Math.max(
      channels * ofImage(height, top + bottom) * ofImage(width, left + right),
      out *
        ofGradient(outHeight, (kernelHeight - 1) * node.dilation[0], top + bottom) *
        ofGradient(outWidth, (kernelWidth - 1) * node.dilation[1], left + right),
    );
    const windows = Math.max(height * width, outHeight * outWidth);
    const entries = Math.max((2 * channels + 1) * height * width, (2 * out + 1) * outHeight * outWidth);
    const taps = kernelHeight * kernelWidth;
    const filters = (channels / node.groups) * out * (taps === 9 ? 9 + 16 : 2 * taps);
    return [Math.max(images * (padded + windows), entries) + filters];
  });
}
