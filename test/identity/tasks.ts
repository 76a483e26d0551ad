/**
 * The two tasks that a network of the identity command learns one after the other: generated glyphs, or a made-up language
 * for networks that read tokens.
 */
import { generateTaskPair, imageSet, tokenSet } from '../../src/index.ts';
import type { Core, DataSet, ImageSet } from '../../src/index.ts';
import { Random, streams } from '../../src/tensor/random.ts';

export interface Tasks {
  readonly before: DataSet;
  readonly after: DataSet;
  /** Of the second task. */
  readonly test: DataSet;
}

const TRAIN = 384;
const TEST = 256;

export const VOCABULARY = 24;
export const CONTEXT = 16;

/** @param border blank pixels around each image: VGG halves its image five times and needs 32. */
export function glyphs(core: Core, border = 0): Tasks {
  const { before, after } = generateTaskPair(core, { seed: 11, trainCount: TRAIN, testCount: TEST });
  return { before: framed(before.train, border), after: framed(after.train, border), test: framed(after.test, border) };
}

function framed(set: ImageSet, border: number): ImageSet {
  const [height, width] = [set.height + 2 * border, set.width + 2 * border];
  const images = new Uint8Array(set.count * height * width);
  for (let image = 0; image < set.count; image++) {
    for (let y = 0; y < set.height; y++) {
      const from = (image * set.height + y) * set.width;
      images.set(set.images.subarray(from, from + set.width), (image * height + border + y) * width + border);
    }
  }
  return imageSet({ ...set, images, height, width });
}

export function language(): Tasks {
  return { before: windows('before', 0, 0, TRAIN), after: windows('after', 1, 7, TRAIN), test: windows('test', 2, 7, TEST) };
}

/** Each of the letters is followed by one other nine times of ten; `shift` says by which. */
function windows(name: string, stream: number, shift: number, count: number): DataSet {
  const random = new Random(11, streams.generatedImages, stream);
  const tokens = new Uint8Array(count * CONTEXT + 1);
  for (let i = 1; i < tokens.length; i++) {
    tokens[i] = random.below(10) < 9 ? ((tokens[i - 1] as number) * 5 + 3 + shift) % VOCABULARY : random.below(VOCABULARY);
  }
  return tokenSet({ name, tokens, length: CONTEXT, vocabulary: VOCABULARY });
}
