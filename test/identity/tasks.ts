/**
 * The two tasks that a network of the identity command learns one after the other: generated glyphs, or made-up languages
 * for networks that read tokens.
 */
import { generateTaskPair, imageSet, sequenceSet, tokenSet } from '../../src/index.ts';
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

/** Classes of texts, each of which is in a language of its own. */
export const LANGUAGES = 4;

export function texts(): Tasks {
  const [before, after] = [labelled('before', 3, 0, TRAIN), labelled('after', 4, LANGUAGES, TRAIN)];
  return { before, after, test: labelled('test', 5, LANGUAGES, TEST) };
}

/** Texts of 4 to `CONTEXT` letters, 1 … 24; 0 is padding. Their languages are `windows`' with shifts from `first` on. */
function labelled(name: string, stream: number, first: number, count: number): DataSet {
  const random = new Random(11, streams.generatedImages, stream);
  const labels = Uint8Array.from({ length: count }, () => random.below(LANGUAGES));
  const sequences = Array.from(labels, (label) => {
    const text = [random.below(VOCABULARY)];
    for (let left = 3 + random.below(CONTEXT - 3); left > 0; left--) text.push(following(text.at(-1) as number, first + label, random));
    return text.map((letter) => letter + 1);
  });
  return sequenceSet({ name, sequences, labels, length: CONTEXT, padding: 0, vocabulary: VOCABULARY + 1, classes: LANGUAGES });
}

function windows(name: string, stream: number, shift: number, count: number): DataSet {
  const random = new Random(11, streams.generatedImages, stream);
  const tokens = new Uint8Array(count * CONTEXT + 1);
  for (let i = 1; i < tokens.length; i++) tokens[i] = following(tokens[i - 1] as number, shift, random);
  return tokenSet({ name, tokens, length: CONTEXT, vocabulary: VOCABULARY });
}

/** Each of the letters is followed by one other nine times of ten; `shift` says by which. */
function following(letter: number, shift: number, random: Random): number {
  return random.below(10) < 9 ? (letter * 5 + 3 + shift) % VOCABULARY : random.below(VOCABULARY);
}
