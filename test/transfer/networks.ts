/** Small networks and data for the tests of this floor: real layers, sizes that run in a second. */
import { imageSet } from '../../src/data/image-set.ts';
import type { ImageSet } from '../../src/data/image-set.ts';
import { preset } from '../../src/model/presets.ts';
import { Random, streams } from '../../src/tensor/random.ts';

const SIZE = 8;
const CLASSES = 4;

/** Four classes: a bright quadrant each, under noise; a network learns it in a few dozen steps. */
export function quadrants(count: number, seed: number): ImageSet {
  const random = new Random(seed, streams.generatedImages);
  const images = new Uint8Array(count * SIZE * SIZE);
  const labels = new Uint8Array(count);
  for (let row = 0; row < count; row++) {
    const label = random.below(CLASSES);
    labels[row] = label;
    for (let y = 0; y < SIZE; y++) {
      for (let x = 0; x < SIZE; x++) {
        const bright = Number(y >= SIZE / 2) * 2 + Number(x >= SIZE / 2) === label;
        images[(row * SIZE + y) * SIZE + x] = random.below(150) + (bright ? 60 : 0);
      }
    }
  }
  return imageSet({ name: 'quadrants', images, labels, channels: 1, height: SIZE, width: SIZE, classes: CLASSES });
}

export const networks = {
  mlp: preset('mlp', { input: [1, SIZE, SIZE], classes: CLASSES, widths: [24, 16] }),
  'small-conv': preset('small-conv', { input: [1, SIZE, SIZE], classes: CLASSES, width: 6 }),
  'resnet-small': preset('resnet-small', { input: [1, SIZE, SIZE], classes: CLASSES, width: 4 }),
};
