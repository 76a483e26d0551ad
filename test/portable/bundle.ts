/** Trajectory bundles: every kind of source, the same file everywhere, damage always noticed. */
import { openBundle } from '../../src/bundle/reader.ts';
import type { ByteSource } from '../../src/bundle/byte-source.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { TrajportError } from '../../src/core/errors.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { preset } from '../../src/model/presets.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { equal, ok, sameEverywhere, test, throws } from './harness.ts';
import { values } from './values.ts';

const graph = preset('resnet-small', { input: [1, 8, 8], classes: 3, width: 2 });

/** States that move a little from each to the next, as training does. */
function states(count: number): NetworkState[] {
  const { parameters, buffers } = parameterLayout(graph);
  return Array.from({ length: count }, (_, epoch) => {
    const tensors = (infos: typeof parameters, first: number) =>
      new Map(
        infos.map(({ name, shape }, index) => {
          const step = values(elementCount(shape), 1000 * (epoch + 1) + first + index);
          const data = values(elementCount(shape), first + index).map((value, i) => value + epoch * 1e-3 * (step[i] as number));
          return [name, { shape, data }] as const;
        }),
      );
    return { parameters: tensors(parameters, 1), buffers: tensors(buffers, 500) };
  });
}

const written = async (): Promise<Uint8Array<ArrayBuffer>> =>
  writeBundle({ graph, checkpoints: states(4).map((state, epoch) => ({ label: `epoch-${epoch}`, epoch, state })) });

test('bundle: the same file everywhere, read back to the bit', async () => {
  const file = await written();
  await sameEverywhere('bundle', file);
  using bundle = await openBundle(file);
  equal(bundle.graph, graph);
  equal(bundle.checkpoints.map(({ label }) => label), ['epoch-0', 'epoch-1', 'epoch-2', 'epoch-3']);
  const expected = states(4);
  for (const index of [3, 0, 2]) equal(await bundle.readCheckpoint(index), expected[index], `checkpoint ${index}`);
  ok((await bundle.verify()).passed, 'verify');
});

test('bundle: opens from every kind of source', async () => {
  const file = await written();
  const sources: Record<string, () => ByteSource> = {
    Uint8Array: () => file,
    ArrayBuffer: () => file.buffer,
    Blob: () => new Blob([file]),
    Response: () => new Response(file),
    ReadableStream: () => new Blob([file]).stream(),
    'random access': () => ({ byteLength: file.length, read: async (offset, length) => file.slice(offset, offset + length) }),
  };
  const expected = states(4)[1];
  for (const [name, source] of Object.entries(sources)) {
    using bundle = await openBundle(source());
    equal(await bundle.readCheckpoint('epoch-1'), expected, name);
  }
});

test('bundle: one flipped bit anywhere is noticed or changes nothing', async () => {
  const file = await written();
  const expected = states(4);
  let refused = 0;
  for (let at = 5; at < file.length; at += 97) {
    const damaged = file.slice();
    damaged[at] = (damaged[at] as number) ^ (1 << (at % 8));
    try {
      using bundle = await openBundle(damaged);
      for (let index = 0; index < 4; index++)
        equal(await bundle.readCheckpoint(index), expected[index], `bit at ${at}, checkpoint ${index}`);
    } catch (thrown) {
      ok(thrown instanceof TrajportError, `bit at ${at}: ${String(thrown)}`);
      refused++;
    }
  }
  ok(refused > 20, `only ${refused} damaged files were refused`);
});

test('bundle: bytes that are no bundle are refused', async () => {
  const file = await written();
  await throws(() => openBundle(new Uint8Array(0)), 'malformed-file');
  await throws(() => openBundle(new Uint8Array(1000)), 'malformed-file');
  await throws(() => openBundle(file.slice(0, file.length >> 1)), 'malformed-file');
});
