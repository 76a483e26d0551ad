/** Every coding of a bundle: the same file in every runtime, and the same checkpoint out of it. */
import { openBundle } from '../../src/bundle/reader.ts';
import { type BundleOptions, writeBundle } from '../../src/bundle/writer.ts';
import { openCore } from '../../src/core/core.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import type { NamedTensors } from '../../src/tensor/tensor.ts';
import { equal, sameEverywhere, test } from './harness.ts';
import { values } from './values.ts';

const graph = preset('resnet-small', { input: [1, 8, 8], classes: 3, width: 4 });

async function sample(options: BundleOptions, withSeed: boolean): Promise<Uint8Array<ArrayBuffer>> {
  const core = options.core ?? (await openCore({ heapLimitBytes: 2 ** 25 }));
  const first = initialise(core, graph, { seed: 5 });
  const move = (tensors: NamedTensors, epoch: number): NamedTensors =>
    new Map([...tensors].map(([name, { shape, data }], i) => {
      const step = values(data.length, epoch * 100 + i);
      return [name, { shape, data: data.map((x, k) => x + 0.001 * epoch * (step[k] as number)) }];
    }));
  const checkpoints = [0, 1, 2, 3].map((epoch) => ({
    label: `epoch ${epoch}`, epoch,
    state: epoch === 0 ? first : { parameters: move(first.parameters, epoch), buffers: move(first.buffers, epoch) },
    ...(withSeed && epoch === 0 ? { seed: { seed: 5 } } : {}),
  }));
  return writeBundle({ graph, checkpoints, training: { epochs: 3 } }, options);
}

for (const coding of ['full', 'lossless', 'int8', 'int4'] as const) {
  test(`codings: ${coding}, the same bytes everywhere, and read back`, async () => {
    const core = await openCore({ heapLimitBytes: 2 ** 25 });
    const bytes = await sample({ coding, core, keyFrameEvery: 3 }, coding !== 'full');
    await sameEverywhere(`bundle coded ${coding}`, bytes);
    using bundle = await openBundle(bytes, { core });
    equal((await bundle.verify()).passed, true, 'verify');
    await sameEverywhere(`checkpoint of ${coding}`, await bundle.readCheckpointFile(3));
    core[Symbol.dispose]();
  });
}
