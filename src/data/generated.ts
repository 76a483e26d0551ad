/**
 * The image sets of `npm start`, drawn from a seed: two related tasks of ten classes of 28×28 grey glyphs. Both tasks put
 * their glyphs together from one alphabet of curved strokes, so a network trained on the first has learned features that
 * the second can use, as a base model and a fine-tune have.
 *
 * What makes a linear classifier fail: eight different glyphs a class, whose places, slants and strokes wander. With 6000
 * training images and 10 epochs of SGD (momentum 0.9, batch 64, cosine from 0.05; 0.01 for the linear one) on seed 1, a
 * linear classifier reaches 69 and 70 % of 2000 test images of the two tasks, an MLP 784-256-256-10 96 and 95 %; a
 * fine-tune of an MLP 1024 (91 %) ported to another base reaches 41 % unpermuted, 76 % by FGMT, 72 % by GMT before any
 * training (`npm run bench:generated-data`).
 *
 * Only +, −, ×, ÷, √ and the core's sine are used on the integers of `Random`, so the bytes are the same everywhere.
 */
import { requireCore, type Core } from '../core/core.ts';
import { elementary, type Elementary } from '../core/elementary.ts';
import { requireInteger, requireMembers } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { Random, streams } from '../tensor/random.ts';
import { imageSet, type ImageSet } from './image-set.ts';

/** Which pair of generated tasks, and how many images. */
export interface TaskPairOptions {
  readonly seed: number;
  /** Training images of each task; the first n are the same for every count ≥ n. Default 6000. */
  readonly trainCount?: number;
  /** Test images of each task. Default 1000. */
  readonly testCount?: number;
}

const optionNames: OptionNames<TaskPairOptions> = { seed: true, trainCount: true, testCount: true };

/** Images of one task. */
export interface Task {
  readonly train: ImageSet;
  readonly test: ImageSet;
}

const LARGEST_COUNT = 2 ** 20;
const SIZE = 28;
const CLASSES = 10;
/** Different glyphs that mean the same class. */
const GLYPHS_PER_CLASS = 8;
/** Strokes in the alphabet that both tasks share. */
const ALPHABET = 16;
const STROKES_PER_GLYPH = 3;
/** Points that a stroke is drawn with: closer than a pixel for the longest. */
const STROKE_POINTS = 18;

// How much images of one glyph differ: radians, pixels, fractions of the image, pixels, grey levels. More rotation or
// shift costs the MLP more than the linear classifier (0.35 and 3: 82 % against 38 %).
const ROTATION = 0.15;
const SHIFT = 1.2;
const SHAKE = 0.018;
const DISTRACTOR_REACH = 8;
const NOISE = 14;

/** A quadratic Bézier curve: three control points (x0, y0, x1, y1, x2, y2), in units of the image, centred on 0. */
type Stroke = readonly number[];
type Glyph = readonly Stroke[];
type Circle = Pick<Elementary, 'sin' | 'cos'>;

/**
 * Two tasks, `before` and `after`, of images with the same shape, classes and normalisation.
 * @throws InvalidArgumentError for a bad seed or count.
 */
export function generateTaskPair(core: Core, options: TaskPairOptions): { readonly before: Task; readonly after: Task } {
  requireCore(core);
  requireMembers('options', options, ['seed']);
  requireOptions('generateTaskPair', options, optionNames);
  const trainCount = requireInteger('trainCount', options.trainCount ?? 6000, 1, LARGEST_COUNT);
  const testCount = requireInteger('testCount', options.testCount ?? 1000, 1, LARGEST_COUNT);
  const circle = elementary(core);
  const design = new Random(options.seed, streams.generatedImages, 0);
  const alphabet = Array.from({ length: ALPHABET }, () => drawStroke(design));
  const task = (name: string, number: number): Task => {
    const glyphs = Array.from({ length: CLASSES * GLYPHS_PER_CLASS }, () => drawGlyph(design, alphabet));
    // A stream an image: the first n images do not depend on how many there are.
    const part = (suffix: string, which: number, count: number): ImageSet =>
      renderSet(`${name}-${suffix}`, glyphs, count, circle, (image) => {
        return new Random(options.seed, streams.generatedImages, 1 + (2 * number + which) * LARGEST_COUNT + image);
      });
    return { train: part('train', 0, trainCount), test: part('test', 1, testCount) };
  };
  return { before: task('glyphs-before', 0), after: task('glyphs-after', 1) };
}

/** Uniform in [low, high). */
const between = (random: Random, low: number, high: number): number => low + ((high - low) * random.u32()) / 4_294_967_296;

function drawStroke(random: Random): Stroke {
  // Ends at least a third of the box apart, so that no stroke is a dot.
  for (;;) {
    const points = Array.from({ length: 6 }, () => between(random, -0.5, 0.5));
    const [x0, y0, , , x2, y2] = points as [number, number, number, number, number, number];
    const distance = (x2 - x0) * (x2 - x0) + (y2 - y0) * (y2 - y0);
    if (distance > 0.12) return points;
  }
}

/** Strokes of the alphabet, each shrunk, shifted and perhaps mirrored. */
function drawGlyph(random: Random, alphabet: readonly Stroke[]): Glyph {
  return Array.from({ length: STROKES_PER_GLYPH }, () => {
    const stroke = alphabet[random.below(alphabet.length)] as Stroke;
    const width = between(random, 0.45, 0.7) * (random.below(2) === 0 ? 1 : -1);
    const height = between(random, 0.45, 0.7) * (random.below(2) === 0 ? 1 : -1);
    const shiftX = between(random, -0.17, 0.17);
    const shiftY = between(random, -0.17, 0.17);
    return stroke.map((value, index) => (index % 2 === 0 ? value * width + shiftX : value * height + shiftY));
  });
}

function renderSet(
  name: string,
  glyphs: readonly Glyph[],
  count: number,
  circle: Circle,
  randomOf: (image: number) => Random,
): ImageSet {
  const images = new Uint8Array(count * SIZE * SIZE);
  const labels = new Uint8Array(count);
  const ink = new Float64Array(SIZE * SIZE);
  for (let image = 0; image < count; image++) {
    const random = randomOf(image);
    const label = image % CLASSES;
    const glyph = glyphs[label * GLYPHS_PER_CLASS + random.below(GLYPHS_PER_CLASS)] as Glyph;
    labels[image] = label;
    ink.fill(0);
    drawInk(ink, glyph, random, circle);
    expose(ink, images.subarray(image * SIZE * SIZE, (image + 1) * SIZE * SIZE), random);
  }
  return imageSet({ name, images, labels, channels: 1, height: SIZE, width: SIZE, classes: CLASSES, scale: [2 / 255], offset: [-1] });
}

/** The glyph under a random affine map, every control point shaken, and a distracting stroke. */
function drawInk(ink: Float64Array, glyph: Glyph, random: Random, { sin, cos }: Circle): void {
  const angle = between(random, -ROTATION, ROTATION);
  const scaleX = SIZE * between(random, 0.85, 1.15);
  const scaleY = SIZE * between(random, 0.85, 1.15);
  const slant = between(random, -0.15, 0.15);
  const centreX = SIZE / 2 + between(random, -SHIFT, SHIFT);
  const centreY = SIZE / 2 + between(random, -SHIFT, SHIFT);
  const a = cos(angle) * scaleX;
  const b = (cos(angle) * slant - sin(angle)) * scaleY;
  const c = sin(angle) * scaleX;
  const d = (sin(angle) * slant + cos(angle)) * scaleY;
  const radius = between(random, 0.8, 1.6);
  for (const stroke of glyph) {
    const points: number[] = [];
    for (let i = 0; i < 6; i += 2) {
      const x = (stroke[i] as number) + between(random, -SHAKE, SHAKE);
      const y = (stroke[i + 1] as number) + between(random, -SHAKE, SHAKE);
      points.push(a * x + b * y + centreX, c * x + d * y + centreY);
    }
    drawCurve(ink, points, radius, 1);
  }
  const faint = between(random, 0.3, 0.8);
  const x = between(random, 0, SIZE);
  const y = between(random, 0, SIZE);
  const points = [x, y];
  for (let i = 0; i < 4; i++) points.push((i % 2 === 0 ? x : y) + between(random, -DISTRACTOR_REACH, DISTRACTOR_REACH));
  drawCurve(ink, points, radius, faint);
}

/** Discs along the curve, soft at the rim, the darkest ink winning. */
function drawCurve(ink: Float64Array, points: readonly number[], radius: number, strength: number): void {
  const [x0, y0, x1, y1, x2, y2] = points as [number, number, number, number, number, number];
  for (let i = 0; i < STROKE_POINTS; i++) {
    const t = i / (STROKE_POINTS - 1);
    const s = 1 - t;
    const x = s * s * x0 + 2 * s * t * x1 + t * t * x2;
    const y = s * s * y0 + 2 * s * t * y1 + t * t * y2;
    const top = Math.max(0, Math.ceil(y - radius - 1));
    const bottom = Math.min(SIZE - 1, Math.floor(y + radius + 1));
    const left = Math.max(0, Math.ceil(x - radius - 1));
    const right = Math.min(SIZE - 1, Math.floor(x + radius + 1));
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const distance = Math.sqrt((column - x) * (column - x) + (row - y) * (row - y));
        const value = strength * Math.min(1, Math.max(0, radius + 0.5 - distance));
        const at = row * SIZE + column;
        if (value > (ink[at] as number)) ink[at] = value;
      }
    }
  }
}

/** Ink to bytes: a random background and contrast, and noise. */
function expose(ink: Float64Array, pixels: Uint8Array, random: Random): void {
  const background = between(random, 10, 70);
  const contrast = between(random, 110, 185);
  let word = 0;
  for (let i = 0; i < pixels.length; i++) {
    // A byte of noise a pixel: four pixels a draw.
    word = i % 4 === 0 ? random.u32() : word >>> 8;
    const noise = ((word & 255) / 127.5 - 1) * NOISE;
    pixels[i] = Math.min(255, Math.max(0, Math.round(background + contrast * (ink[i] as number) + noise)));
  }
}
