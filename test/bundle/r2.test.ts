// R2 buckets that misbehave, one fault at a time; what a Worker's real binding does stands in test/edge/r2.test.ts.
import { beforeAll, describe, expect, test } from 'vitest';
import { type R2BucketLike, type R2ObjectLike, openR2 } from '../../src/bundle/r2-source.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import type { TrajectoryBundle } from '../../src/bundle/reader.ts';
import { preset } from '../../src/model/presets.ts';
import { expectTyped } from './support.ts';
import { trajectory } from './trajectory.ts';

type Fault =
  | 'none' | 'no object' | 'throws' | 'stalls before' | 'stalls within' | 'breaks off' | 'sends less' | 'sends more' | 'is endless'
  | 'changes' | 'ignores the condition' | 'changes size';

const graph = preset('mlp', { input: [300], widths: [300], classes: 10 });
let bytes: Uint8Array<ArrayBuffer>;
let cancelled = 0;

beforeAll(async () => {
  bytes = await writeBundle({ graph, checkpoints: trajectory(graph, 4) }, { keyFrameEvery: 2 });
});

function streamOf(content: Uint8Array, fault: Fault): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      if (fault === 'stalls within') return new Promise(() => undefined);
      if (fault === 'breaks off') throw new Error('connection reset');
      if (fault === 'is endless') return controller.enqueue(new Uint8Array(65_536));
      controller.enqueue(content);
      controller.close();
      return undefined;
    },
    cancel: () => void cancelled++,
  });
}

/** @param from the number of the first request at which the fault shows. */
function bucketWith(fault: Fault, from: number): R2BucketLike & { calls: Parameters<R2BucketLike['get']>[1][] } {
  const calls: Parameters<R2BucketLike['get']>[1][] = [];
  return {
    calls,
    get: async (_key, options): Promise<R2ObjectLike | null> => {
      calls.push(options);
      const now: Fault = calls.length > from ? fault : 'none';
      if (now === 'no object') return null;
      if (now === 'throws') throw new Error('10001: internal error');
      if (now === 'stalls before') return new Promise(() => undefined);
      const size = bytes.byteLength + (now === 'changes size' ? 1 : 0);
      if (now === 'changes' && options.onlyIf?.etagMatches === 'a') return { size, etag: 'b' };
      const etag = now === 'ignores the condition' ? 'b' : 'a';
      const [begin, end] =
        'suffix' in options.range
          ? [Math.max(0, bytes.byteLength - options.range.suffix), bytes.byteLength]
          : [options.range.offset, options.range.offset + options.range.length];
      const content = bytes.subarray(begin, now === 'sends less' ? end - 1 : end);
      return { size, etag, body: streamOf(now === 'sends more' ? new Uint8Array(end - begin + 1) : content, now) };
    },
  };
}

const open = async (fault: Fault, from = 1): Promise<TrajectoryBundle> =>
  openBundle(await openR2(bucketWith(fault, from), 'a.zip', { idleMs: 300 }));

test('one request for the end, one for each link of a chain, all of the object that was opened', async () => {
  const bucket = bucketWith('none', 0);
  using bundle = await openBundle(await openR2(bucket, 'a.zip'));
  expect(bucket.calls).toEqual([{ range: { suffix: 131_072 } }]);
  await bundle.readCheckpoint(1);
  expect(bucket.calls.slice(1).map(({ onlyIf }) => onlyIf)).toEqual([{ etagMatches: 'a' }, { etagMatches: 'a' }]);
  expect((await bundle.verify()).passed).toBe(true);
});

test('an object shorter than the first request', async () => {
  const small = preset('mlp', { input: [3], widths: [4], classes: 2 });
  const whole = bytes;
  bytes = await writeBundle({ graph: small, checkpoints: trajectory(small, 2) });
  using bundle = await open('throws');
  bytes = whole;
  expect((await bundle.verify()).passed).toBe(true);
});

const always: Fault[] = ['no object', 'throws', 'stalls before', 'stalls within', 'breaks off', 'sends less', 'is endless'];
describe('a fault on opening is an error of the network', () => {
  test.each(always)('%s', async (fault) => {
    await expectTyped(() => open(fault, 0), 'network');
  });
});

describe('a fault on reading is an error of the network', () => {
  test.each<Fault>([...always, 'sends more', 'changes', 'changes size', 'ignores the condition'])('%s', async (fault) => {
    using bundle = await open(fault);
    await expectTyped(() => bundle.readCheckpoint(0), 'network');
  });
});

test('a body that goes on is given back to the bucket', async () => {
  cancelled = 0;
  await expectTyped(() => open('is endless', 0), 'network');
  expect(cancelled).toBe(1);
});

test('abort ends a stalled read at once, as an abort', async () => {
  for (const fault of ['stalls before', 'stalls within'] as const) {
    using bundle = await open(fault);
    await expect(bundle.readCheckpoint(0, AbortSignal.timeout(30))).rejects.toThrow(/abort|timeout/i);
  }
});

test('an object that comes too late is given back to the bucket', async () => {
  cancelled = 0;
  let deliver: ((object: R2ObjectLike) => void) | undefined;
  const late: R2BucketLike = { get: () => new Promise((resolve) => (deliver = resolve)) };
  await expectTyped(() => openR2(late, 'a.zip', { idleMs: 20 }), 'network');
  deliver?.({ size: bytes.byteLength, etag: 'a', body: streamOf(bytes, 'none') });
  await new Promise((resolve) => void setTimeout(resolve, 0));
  expect(cancelled).toBe(1);
});

test('a binding that there is not, or a key that is no text, is the fault of the call', async () => {
  expect(await expectTyped(() => openR2(undefined as never, 'a.zip'), 'invalid-argument')).toMatchObject({ field: 'bucket' });
  expect(await expectTyped(() => openR2({} as never, 'a.zip'), 'invalid-argument')).toMatchObject({ field: 'bucket' });
  expect(await expectTyped(() => openR2(bucketWith('none', 0), undefined as never), 'invalid-argument')).toMatchObject({ field: 'key' });
});
