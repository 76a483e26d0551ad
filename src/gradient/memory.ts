/** What a gradient takes on the WebAssembly heap, reckoned beforehand, and the micro-batch that a heap has room for. */
import { BudgetError, requireInteger } from '../core/errors.ts';
import { gradientCost } from '../model/cost.ts';
import { inferShapes, parameterLayout, type ModelGraph } from '../model/graph.ts';
import { elementCount } from '../tensor/tensor.ts';

const F32_BYTES = 4;
/** tfjs's own data and stack, packed panels and runs of tiles: independent of the network. */
const FIXED_BYTES = 6 * 2 ** 20;
/** The allocator's fragments. */
const ALLOWANCE = 1.15;

/**
 * Estimate, from above, of the heap of one gradient over `images` at once: parameters, their gradients, and those of the open block
 * where `parts` of them are added up, values (`model/cost.ts`), and the workspace of the largest kernel. Checked by running
 * gradients under a cap of just that size.
 * @throws InvalidArgumentError unless `images` is an integer ≥ 1.
 */
export function gradientHeapBytes(graph: ModelGraph, images: number, parts = 1): number {
  const { parameterElements, activationBytes } = gradientCost(graph, images);
  const workspace = largestParameter(graph) + Math.max(0, ...convolutionElements(graph, images));
  return FIXED_BYTES + Math.ceil(ALLOWANCE * (F32_BYTES * ((parts > 1 ? 3 : 2) * parameterElements + workspace) + activationBytes));
}

/**
 * The most images at once, of `batchSize` or a half, a quarter … of it, whose gradient fits `heapBytes`. Values are not computed
 * anew in the backward pass: halving the micro-batch saves as much and costs nothing.
 * @throws BudgetError, with the bytes of a single image, where even that does not fit.
 */
export function planMicroBatch(graph: ModelGraph, batchSize: number, heapBytes: number): number {
  let images = requireInteger('batchSize', batchSize, 1);
  requireInteger('heapBytes', heapBytes, 0);
  const bytes = (): number => gradientHeapBytes(graph, images, Math.ceil(batchSize / images));
  while (bytes() > heapBytes) {
    if (images === 1) {
      const requiredBytes = bytes();
      throw new BudgetError({ field: 'heapBytes', expected: `at least ${requiredBytes}, for one image at a time`, got: `${heapBytes}`, requiredBytes });
    }
    images = Math.ceil(images / 2);
  }
  return images;
}

/** Parameters change their layout through a copy. */
function largestParameter(graph: ModelGraph): number {
  return Math.max(0, ...parameterLayout(graph).parameters.map(({ shape }) => elementCount(shape)));
}

/** Elements that the entries of an image take where it is convolved from its non-zeros: 8 bytes for 0.6 of them, and a start a pixel. */
const ENTRIES_SHARE = 1.2;

/**
 * Of each convolution: a padded copy of its input or of its gradient, or their entries (`kernels/sparse-convolution.ts`), and the filter rotated and, for 3×3, in Winograd's form
 * (`kernels/winograd.ts`).
 */
function convolutionElements(graph: ModelGraph, images: number): number[] {
  const shapes = inferShapes(graph);
  return graph.nodes.flatMap((node) => {
    if (node.op !== 'conv2d') return [];
    const [channels = 1, height = 1, width = 1] = shapes.get(node.inputs[0] as string) ?? [];
    const [out = 1, outHeight = 1, outWidth = 1] = shapes.get(node.name) ?? [];
    const [kernelHeight, kernelWidth] = node.kernel;
    const rim = (extent: number, kernel: number): number => extent + 2 * kernel;
    const padded = Math.max(
      channels * rim(height, kernelHeight) * rim(width, kernelWidth),
      out * rim(outHeight, kernelHeight) * rim(outWidth, kernelWidth),
      (ENTRIES_SHARE * channels + 1) * height * width,
      (ENTRIES_SHARE * out + 1) * outHeight * outWidth,
    );
    const taps = kernelHeight * kernelWidth;
    const filters = (channels / node.groups) * out * (taps === 9 ? 9 + 16 : taps);
    return [images * padded + filters];
  });
}
