/** What a bundle says of its images' normalisation: the library does what the command line does. */
import { expect, test } from 'vitest';
import { initialise, normalised, normalisedAsRecorded, openBundle, openCompute, transfer, writeBundle } from '../../src/index.ts';
import type { ImageSet, NetworkState } from '../../src/index.ts';
import { normalisationRecord } from '../../src/data/normalisation.ts';
import { networks, quadrants } from './networks.ts';

const graph = networks.mlp;
const images = quadrants(200, 1);

test('a transfer takes images as its bundle says that they were, and no others', async () => {
  using compute = await openCompute();
  const random = (seed: number): NetworkState => initialise(compute.core, graph, { seed });
  const [start, end, target] = [random(1), random(2), random(3)];
  const checkpoints = [{ label: 'start', state: start }, { label: 'end', state: end }];
  const [mean, std] = [[0.25], [0.5]];
  const port = async (data: ImageSet, training?: object): Promise<string> => {
    using source = await openBundle(await writeBundle({ graph, checkpoints, ...(training === undefined ? {} : { training }) }));
    const options = { method: 'fgmt', seed: 1, steps: 2, batchSize: 32, heldOutFraction: 0.1, compute } as const;
    return (await transfer({ ...options, source, target, data })).record.sha256;
  };
  const training = { normalisation: { mean, std } };
  const asked = normalised(images, mean, std);
  const recorded = normalisedAsRecorded(images, training);
  expect([recorded.scale, recorded.offset]).toEqual([asked.scale, asked.offset]);
  const ported = await port(asked);
  // Another result than of the images as they are: to leave it out is no matter of taste.
  expect(await port(images)).not.toBe(ported);
  expect(await port(recorded, training)).toBe(ported);
  await expect(port(images, training)).rejects.toMatchObject({
    code: 'invalid-argument', field: 'data', expected: expect.stringContaining('normalisedAsRecorded(images, source.training)'),
  });
  for (const other of [normalised(images, mean, [0.25]), normalised(images, [0.5], std)])
    await expect(port(other, training)).rejects.toMatchObject({ field: 'data' });
  // Where the record names the byte that was 1: 16 of the bytes of `few` is what 255 is of those of `images`.
  const few = { ...images, images: images.images.map((byte) => byte >> 4) };
  const byte16 = { pixelMaximum: 16 };
  const sixteenths = { ...few, scale: [1 / 16] };
  expect(await port(normalisedAsRecorded(few, byte16), byte16)).toBe(await port(sixteenths));
  for (const other of [few, { ...few, scale: [1] }, { ...sixteenths, offset: [-0.5] }, { ...images, offset: [-0.5] }]) {
    await expect(port(other, byte16)).rejects.toMatchObject({
      code: 'invalid-argument', field: 'data',
      expected: "images as byte ÷ 16, as the source's were (normalisedAsRecorded(images, source.training))",
    });
  }
  // Their largest byte is beyond 16, so 16 is not their 1.
  expect(await port(images, byte16)).toBe(await port(images));
  expect(normalisedAsRecorded(images, null)).toBe(images);
});

test('images of few grey levels are met with the byte as 1 that the bundle names, and brighter ones than that are refused', () => {
  const few = { ...images, images: images.images.map((byte) => byte >> 4) };
  const recorded = normalisedAsRecorded(few, { pixelMaximum: 16 });
  expect([recorded.scale, recorded.offset]).toEqual([[1 / 16], [0]]);
  expect(normalisedAsRecorded(recorded, { pixelMaximum: 16 })).toEqual(recorded);
  expect(() => normalisedAsRecorded(images, { pixelMaximum: 16 })).toThrow(
    expect.objectContaining({ code: 'invalid-argument', field: 'images', expected: 'pixels of at most 16, as the bundle was trained on' }),
  );
  // A bundle names the byte where all channels have it, and nothing is taken away.
  const record = (scale: readonly number[], offset: readonly number[]): object => normalisationRecord(undefined, { ...few, scale, offset });
  expect(record([1 / 16, 1 / 16], [0, 0])).toEqual({ pixelMaximum: 16 });
  for (const [scale, offset] of [[[1 / 16, 1 / 17], [0, 0]], [[1 / 16, 1 / 16], [0, 0.5]], [[1 / 255], [0]], [[0.07], [0]]] as const)
    expect(record(scale, offset)).toEqual({});
  // What a stranger's manifest may hold instead says nothing.
  for (const pixelMaximum of ['16', 0, -1, 300, 1.5, null]) expect(normalisedAsRecorded(images, { pixelMaximum })).toBe(images);
});
