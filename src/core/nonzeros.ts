/** How many numbers on the heap are not zero, told from a sample (`assembly/nonzeros.ts`): whether to leave the zeros out. */
import type { Core } from './core.ts';

export interface SharesOfNonZero {
  /** Share of all numbers that is not zero, 0 to 1. */
  readonly each: number;
  /** Share of the places in two successive images where either is not zero; of a single image, as `each`. */
  readonly either: number;
}

/** Shares in `count` ≥ 1 images of `elements` ≥ 1 f32 numbers each: a multiple of 4 where there are two images or more. */
export function sharesOfNonZero(core: Core, pointer: number, count: number, elements: number): SharesOfNonZero {
  return sampled(core, pointer, count > 1 ? 2 : 1, Math.max(1, count >> 1), elements);
}

/** Share of `elements` ≥ 1 f32 numbers that is not zero. */
export function shareOfNonZero(core: Core, pointer: number, elements: number): number {
  return sampled(core, pointer, 1, 1, elements).each;
}

function sampled(core: Core, pointer: number, images: 1 | 2, count: number, elements: number): SharesOfNonZero {
  return core.scoped((scratch) => {
    const countsPtr = scratch.i32(3, 'counts of a sample');
    core.kernels.sampleNonZeroF32(pointer, images, count, elements, countsPtr);
    const [places, each, either] = core.i32(countsPtr, 3) as unknown as readonly [number, number, number];
    return { each: each / (places * images), either: either / places };
  });
}
