// Bundles: what is written is read, in few bytes, from any source; what was bent is noticed.
import { createHash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { type RandomAccess, memorySource } from '../../src/bundle/random-access.ts';
import { stateFromSafetensors, stateToSafetensors } from '../../src/bundle/network-state.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { readSafetensors } from '../../src/bundle/safetensors.ts';
import { type BundleOptions, type CheckpointContent, writeBundle, writeBundleTo } from '../../src/bundle/writer.ts';
import { openZip } from '../../src/bundle/zip-reader.ts';
import { openCore } from '../../src/core/core.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { preset } from '../../src/model/presets.ts';
import type { NamedTensors, NetworkState } from '../../src/tensor/tensor.ts';
import { generator } from './generator.ts';
import { expectTyped } from './support.ts';
import { trajectory } from './trajectory.ts';

const core = await openCore();
const mlp = preset('mlp', { input: [20], widths: [70, 30], classes: 5 });
const residual = preset('resnet-small', { input: [1, 8, 8], classes: 4, width: 4 });

const bitsOf = (state: NetworkState): string[] =>
  [...state.parameters, ...state.buffers].map(
    ([name, { shape, data }]) =>
      `${name} ${shape.join('x')} ${createHash('sha256')
        .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
        .digest('hex')}`,
  );

/** Counts what is asked of a source. */
function counting(bytes: Uint8Array): RandomAccess & { reads: [number, number][]; total(): number } {
  const reads: [number, number][] = [];
  return {
    byteLength: bytes.byteLength, reads, total: () => reads.reduce((sum, [, length]) => sum + length, 0),
    read: async (offset, length) => {
      reads.push([offset, length]);
      return bytes.subarray(offset, offset + length);
    },
  };
}

function inSharedMemory(bytes: Uint8Array): Uint8Array {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  shared.set(bytes);
  return shared;
}

describe.each([['an MLP', mlp], ['a batch-norm residual net', residual]] as const)('%s', (_, graph) => {
  test.each<BundleOptions>([
    {}, { core }, { coding: 'full' }, { coding: 'lossless', keyFrameEvery: 1 }, { coding: 'lossless', keyFrameEvery: 3, core },
  ])('is read back bit for bit, coded with $coding, key frame every $keyFrameEvery', async (options) => {
    const checkpoints = trajectory(graph, 7);
    const bytes = await writeBundle({ graph, checkpoints, training: { seed: 1, nested: [1.5, 'a'] } }, options);
    using bundle = await openBundle(bytes);
    expect(bundle.graph).toEqual(graph);
    expect(bundle.manifest.training).toEqual({ seed: 1, nested: [1.5, 'a'] });
    // Out of order too: a chain must be followed from any point.
    for (const index of [6, 0, 3, 2, 1, 4, 5, 6, 5]) {
      const { label, state } = checkpoints[index] as CheckpointContent;
      expect(bitsOf(await bundle.readCheckpoint(label))).toEqual(bitsOf(state));
      const file = await bundle.readCheckpointFile(index);
      expect(Buffer.compare(file, stateToSafetensors(parameterLayout(graph), state))).toBe(0);
      expect(createHash('sha256').update(file).digest('hex')).toBe(bundle.checkpoint(index).sha256);
    }
    expect((await bundle.verify()).passed).toBe(true);
    expect(Buffer.compare(await writeBundle({ graph, checkpoints, training: { seed: 1, nested: [1.5, 'a'] } }, options), bytes)).toBe(0);
  });

  test.each([
    ['int8', 0.011],
    ['int4', 0.2],
  ] as const)('%s: every error is the one stated, and below %d of the step', async (coding, bound) => {
    const checkpoints = trajectory(graph, 9);
    const bytes = await writeBundle({ graph, checkpoints }, { coding });
    using bundle = await openBundle(bytes);
    const norm = (a: NamedTensors, b: NamedTensors): number =>
      Math.sqrt(
        [...a].reduce(
          (sum, [name, { data }]) => sum + data.reduce((part, x, i) => part + (x - (b.get(name)?.data[i] as number)) ** 2, 0),
          0,
        ),
      );
    for (const [index, { state }] of checkpoints.entries()) {
      const read = await bundle.readCheckpoint(index);
      const { stepNorm, stepError } = bundle.checkpoint(index);
      if (index > 0)
        expect(stepNorm).toBeCloseTo(norm(state.parameters, (checkpoints[index - 1] as CheckpointContent).state.parameters), 9);
      expect(stepError * stepNorm).toBeCloseTo(norm(read.parameters, state.parameters), 9);
      expect(stepError).toBeLessThan(bound);
      // Buffers are never quantised, and the coding is not vacuous.
      expect(bitsOf({ parameters: new Map(), buffers: read.buffers })).toEqual(bitsOf({ parameters: new Map(), buffers: state.buffers }));
      if (index > 0) expect(stepError).toBeGreaterThan(0);
    }
    expect((await bundle.verify()).passed).toBe(true);
  });
});

test('every entry whose name ends in .safetensors is one, and reading needs no trajport', async () => {
  const bytes = await writeBundle({ graph: mlp, checkpoints: trajectory(mlp, 3) }, { coding: 'full' });
  const zip = await openZip(memorySource(bytes));
  expect([...zip.entries.keys()]).toEqual([
    'checkpoints/0000.safetensors',
    'checkpoints/0001.safetensors',
    'checkpoints/0002.safetensors',
    'trajectory.json',
  ]);
  expect(readSafetensors(await zip.read('checkpoints/0001.safetensors')).tensors.size).toBe(6);
});

describe('what is touched', () => {
  const graph = preset('mlp', { input: [200], widths: [300], classes: 10 });
  test('opening reads the end only; a checkpoint its own bytes and its chain', async () => {
    const bytes = await writeBundle({ graph, checkpoints: trajectory(graph, 12) }, { keyFrameEvery: 4 });
    const source = counting(bytes);
    using bundle = await openBundle(source);
    expect(source.reads).toEqual([[bytes.byteLength - 65_633, 65_633]]);
    const zip = await openZip(memorySource(bytes));
    const region = (index: number): [number, number] => {
      const { offset, end } = zip.entry(bundle.checkpoint(index).entry as string);
      return [offset, end - offset];
    };
    source.reads.length = 0;
    await bundle.readCheckpoint(4);
    expect(source.reads).toEqual([region(4)]);
    source.reads.length = 0;
    await bundle.readCheckpoint(7);
    expect(source.reads).toEqual([region(5), region(6), region(7)]);
    source.reads.length = 0;
    await bundle.readCheckpoint(2);
    expect(source.reads).toEqual([region(0), region(1), region(2)]);
    source.reads.length = 0;
    await bundle.readCheckpoint(2);
    expect(source.reads).toEqual([]);
  });
});

test('what was decoded on the way to a checkpoint that could not be read is not taken for the one before', async () => {
  // Of 250 kB each, so that the second last is not in the end that opening reads.
  const graph = preset('mlp', { input: [200], widths: [300], classes: 10 });
  const checkpoints = trajectory(graph, 4);
  const bytes = await writeBundle({ graph, checkpoints });
  const { offset } = [...(await openZip(memorySource(bytes))).entries.values()][2] as { readonly offset: number };
  let works = true;
  const source: RandomAccess = {
    byteLength: bytes.byteLength,
    read: async (from, length) => {
      if (!works && from >= offset) throw new Error('connection reset');
      return bytes.subarray(from, from + length);
    },
  };
  using bundle = await openBundle(source);
  const first = bitsOf(await bundle.readCheckpoint(0));
  works = false;
  await expect(bundle.readCheckpoint(2)).rejects.toThrow('connection reset');
  expect(bitsOf(await bundle.readCheckpoint(0))).toEqual(first);
  works = true;
  expect(bitsOf(await bundle.readCheckpoint(2))).toEqual(bitsOf((checkpoints[2] as CheckpointContent).state));
});

test('every kind of source gives the same', async () => {
  const checkpoints = trajectory(mlp, 3);
  const bytes = await writeBundle({ graph: mlp, checkpoints });
  const stream = (): ReadableStream<Uint8Array> => new Blob([bytes]).stream();
  for (const source of [
    bytes,
    bytes.buffer,
    new Blob([bytes]),
    new Response(bytes),
    stream(),
    counting(bytes),
    inSharedMemory(bytes),
    counting(inSharedMemory(bytes)),
    new URL(`data:application/zip;base64,${Buffer.from(bytes).toString('base64')}`),
  ]) {
    using bundle = await openBundle(source);
    expect(bitsOf(await bundle.readCheckpoint('epoch 2'))).toEqual(bitsOf((checkpoints[2] as CheckpointContent).state));
  }
  await expectTyped(() => openBundle(stream(), { maximumBytes: 100 }), 'limit');
  await expectTyped(() => openBundle(new Response('no', { status: 404 })), 'network');
  // Where it came from, without what signs the link; `url` of a response is set by fetch alone.
  const far = Object.defineProperty(new Response('no', { status: 404 }), 'url', {
    value: 'https://example.org/a/tune.zip?signature=secret',
  });
  await expect(openBundle(far)).rejects.toMatchObject({ code: 'network', field: 'https://example.org/a/tune.zip', got: 'status 404' });
  await expectTyped(() => openBundle('bundle.zip' as never), 'invalid-argument');
  const locked = stream();
  locked.getReader();
  await expectTyped(() => openBundle(locked), 'invalid-argument');
  await expectTyped(() => openBundle(new URL('data:none')), 'network');
  await expectTyped(() => openBundle(new URL('blob:nodata:gone')), 'network');
  await expectTyped(() => openBundle(new URL('ftp://localhost/a')), 'unsupported');
});

test('a stream that stalls, fails or brings no bytes is an error, and an abort ends the wait', async () => {
  const stalled = (): ReadableStream<Uint8Array> => new ReadableStream({});
  await expectTyped(() => openBundle(stalled(), { idleMs: 20 }), 'network');
  await expectTyped(() => openBundle(new Response(stalled()), { idleMs: 20 }), 'network');
  await expectTyped(() => openBundle(new ReadableStream({ pull: (controller) => controller.error(new Error('cut off')) })), 'network');
  await expectTyped(
    () => openBundle(new ReadableStream({ start: (controller) => controller.enqueue('text' as never) })),
    'invalid-argument',
  );
  const reason = new Error('enough');
  const control = new AbortController();
  const waiting = openBundle(stalled(), { signal: control.signal });
  control.abort(reason);
  await expect(waiting).rejects.toBe(reason);
});

test('a checkpoint is written before the next is asked for, and the writer waits for its sink', async () => {
  const events: string[] = [];
  const checkpoints = trajectory(mlp, 4);
  function* source(): Generator<CheckpointContent> {
    for (const checkpoint of checkpoints) {
      events.push('asked');
      yield checkpoint;
    }
  }
  let busy = 0;
  const parts: Uint8Array[] = [];
  const sink = async (bytes: Uint8Array): Promise<void> => {
    expect(++busy).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 1));
    busy--;
    if (events.at(-1) !== 'written') events.push('written');
    parts.push(bytes);
  };
  const length = await writeBundleTo(sink, { graph: mlp, checkpoints: source() });
  expect(events).toEqual(['asked', 'written', 'asked', 'written', 'asked', 'written', 'asked', 'written']);
  expect(Buffer.compare(Buffer.concat(parts), await writeBundle({ graph: mlp, checkpoints }))).toBe(0);
  expect(parts.reduce((sum, { byteLength }) => sum + byteLength, 0)).toBe(length);
});

test('a checkpoint that its reader gave up is not kept', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  using bundle = await openBundle(await writeBundle({ graph: mlp, checkpoints: trajectory(mlp, 2) }));
  const read = new WeakRef(await bundle.readCheckpoint(1));
  // A weak reference holds what it was made of until the turn is over.
  await new Promise((resolve) => void setTimeout(resolve, 0));
  collect();
  expect(read.deref() === undefined).toBe(true);
});

test('concurrent reads of two bundles do not disturb each other', async () => {
  const checkpoints = trajectory(mlp, 6);
  const others = trajectory(residual, 6);
  using a = await openBundle(new Blob([await writeBundle({ graph: mlp, checkpoints })]));
  using b = await openBundle(new Blob([await writeBundle({ graph: residual, checkpoints: others })]));
  const order = [5, 0, 3, 1, 4, 2];
  const read = await Promise.all(order.flatMap((i) => [a.readCheckpoint(i), b.readCheckpoint(i)]));
  expect(read.map(bitsOf)).toEqual(
    order.flatMap((i) => [checkpoints[i] as CheckpointContent, others[i] as CheckpointContent]).map(({ state }) => bitsOf(state)),
  );
});

test('numbers beyond 2^53 are written as a reader takes them: in the record, as an epoch, as the length of a step', async () => {
  const [first, second] = trajectory(mlp, 2) as [CheckpointContent, CheckpointContent];
  const large = new Map(
    [...second.state.parameters].map(([name, { shape, data }]) => [name, { shape, data: data.map((value) => value * 1e17) }]),
  );
  const training = { startedNs: 1.7e18, seed: 2 ** 53, negative: -(2 ** 60), text: '9007199254740993', list: [1e300, 0.1, 2 ** 53 - 1] };
  using bundle = await openBundle(
    await writeBundle({
      graph: mlp,
      checkpoints: [first, { ...second, epoch: 2 ** 70, state: { ...second.state, parameters: large } }],
      training,
    }),
  );
  expect(bundle.manifest.training).toEqual(training);
  const { stepNorm, epoch } = bundle.checkpoint(1);
  expect(epoch).toBe(2 ** 70);
  const squares = [...large].map(([name, { data }]) =>
    data.reduce((sum, value, i) => sum + (value - (first.state.parameters.get(name)?.data[i] as number)) ** 2, 0),
  );
  expect(stepNorm / Math.sqrt(squares.reduce((sum, square) => sum + square, 0))).toBeCloseTo(1, 12);
  expect(stepNorm).toBeGreaterThan(2 ** 53);
});

describe('refusals', () => {
  test('of what cannot be written', async () => {
    const [first, second] = trajectory(mlp, 2) as [CheckpointContent, CheckpointContent];
    const write = (checkpoints: CheckpointContent[]) => writeBundle({ graph: mlp, checkpoints });
    await expectTyped(() => write([]), 'invalid-argument');
    await expectTyped(() => write([first, { ...second, label: 'initial' }]), 'invalid-argument');
    await expectTyped(() => write([{ ...first, label: '' }]), 'invalid-argument');
    await expectTyped(() => write([{ ...first, epoch: Number.NaN }]), 'invalid-argument');
    await expectTyped(() => writeBundle({ graph: residual, checkpoints: [first] }), 'malformed-file');
    const [name, { shape, data }] = [...first.state.parameters][0] as [string, { shape: readonly number[]; data: Float32Array }];
    const bent = new Map(first.state.parameters).set(name, { shape, data: data.map((x, i) => (i === 3 ? Number.NaN : x)) });
    expect((await expectTyped(() => write([{ ...first, state: { ...first.state, parameters: bent } }]), 'not-finite')).field).toContain(
      `${name}[3]`,
    );
  });

  test('of a record or a label that no reader would take, before the first checkpoint is asked for', async () => {
    const deep = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    let taken = 0;
    const checkpoints = function* () {
      for (const checkpoint of trajectory(mlp, 2)) {
        taken++;
        yield checkpoint;
      }
    };
    for (const [training, code] of [
      [deep(64), 'limit'],
      [deep(20_000), 'invalid-argument'],
      [{ note: '\ud800' }, 'invalid-argument'],
      [{ '\udc00': 1 }, 'invalid-argument'],
      [cyclic, 'invalid-argument'],
      [{ n: 1n }, 'invalid-argument'],
      [() => 1, 'invalid-argument'],
      ['x'.repeat(2 ** 24), 'limit'],
    ] as const) {
      expect((await expectTyped(() => writeBundle({ graph: mlp, checkpoints: checkpoints(), training }), code)).field).toBe('training');
    }
    expect(taken).toBe(0);
    const [first] = trajectory(mlp, 1) as [CheckpointContent];
    expect(
      (await expectTyped(() => writeBundle({ graph: mlp, checkpoints: [{ ...first, label: 'x\ud83d' }] }), 'invalid-argument')).field,
    ).toBe('checkpoint.label');
    using fits = await openBundle(await writeBundle({ graph: mlp, checkpoints: checkpoints(), training: deep(63) }));
    expect(fits.manifest.training).toEqual(deep(63));
  });

  test('of a checkpoint that is not there, and of a bundle that was disposed', async () => {
    const bundle = await openBundle(await writeBundle({ graph: mlp, checkpoints: trajectory(mlp, 2) }));
    await expectTyped(() => bundle.readCheckpoint('epoch 9'), 'invalid-argument');
    await expectTyped(() => bundle.readCheckpoint(2), 'invalid-argument');
    bundle[Symbol.dispose]();
    await expectTyped(() => bundle.readCheckpoint(0), 'invalid-argument');
  });

  test('a seed is stored only where it makes the state', async () => {
    const [first] = trajectory(mlp, 1) as [CheckpointContent];
    using honest = await openBundle(await writeBundle({ graph: mlp, checkpoints: [first] }, { core }));
    expect(honest.checkpoint(0)).toMatchObject({ coding: 'seed', storedBytes: 0 });
    using other = await openBundle(await writeBundle({ graph: mlp, checkpoints: [{ ...first, seed: { seed: 2 } }] }, { core }));
    expect(other.checkpoint(0).coding).toBe('planes');
  });

  test('abort', async () => {
    const checkpoints = trajectory(mlp, 2);
    const bytes = await writeBundle({ graph: mlp, checkpoints });
    using bundle = await openBundle(bytes);
    await expect(bundle.readCheckpoint(1, AbortSignal.abort())).rejects.toThrow(/abort/i);
    await expect(openBundle(bytes, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    expect(bitsOf(await bundle.readCheckpoint(1))).toEqual(bitsOf((checkpoints[1] as CheckpointContent).state));
  });
});

test('every flipped bit is noticed', async () => {
  const tiny = preset('mlp', { input: [3], widths: [4], classes: 2 });
  const bytes = await writeBundle({ graph: tiny, checkpoints: trajectory(tiny, 3), training: { a: 1 } });
  const next = generator(5);
  for (let round = 0; round < 1500; round++) {
    const bit = next() % (bytes.byteLength * 8);
    const bent = Uint8Array.from(bytes);
    bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7));
    let noticed = true;
    try {
      using bundle = await openBundle(bent);
      noticed = !(await bundle.verify()).passed;
    } catch (error) {
      await expectTyped(() => Promise.reject(error));
    }
    if (!noticed) expect({ bit, noticed }).toEqual({ bit, noticed: true });
  }
});

test('states of other files go through the layout of the graph', async () => {
  const [{ state }] = trajectory(residual, 1) as [CheckpointContent];
  expect(bitsOf(stateFromSafetensors(parameterLayout(residual), stateToSafetensors(parameterLayout(residual), state)))).toEqual(
    bitsOf(state),
  );
});
