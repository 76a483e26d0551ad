/** Bodies in pieces of any size, read whole: what comes out, and what it takes meanwhile. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test, vi } from 'vitest';
import { openBundle } from '../../src/bundle/reader.ts';
import { Watchdog } from '../../src/bundle/watchdog.ts';
import { generator } from './generator.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** `pull` is asked for piece after piece until it has none. */
function streamOf(pull: () => Uint8Array | undefined): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      const piece = pull();
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  });
}

async function read(
  body: ReadableStream<Uint8Array>,
  maximum: number,
  options: Parameters<Watchdog['readBody']>[2] = {},
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  using watchdog = new Watchdog(5000, undefined);
  return watchdog.readBody(body, maximum, options);
}

test.each([
  0, 1, 999, 70_000, 200_000, 300_000,
])('what was sent comes out, %i bytes announced, in a buffer of its own length', async (expectedBytes) => {
  const next = generator(expectedBytes);
  const sent = Uint8Array.from({ length: 200_000 }, () => next() & 255);
  let at = 0;
  let most = 0;
  let last = 0;
  const got = await read(
    streamOf(() => (at < sent.length ? sent.subarray(at, (at += 1 + (next() % 5000))) : undefined)),
    400_000,
    { expectedBytes, onHeld: (bytes) => (most = Math.max(most, (last = bytes))) },
  );
  expect(Buffer.compare(got as Uint8Array, sent)).toBe(0);
  expect(got?.buffer.byteLength).toBe(sent.length);
  expect(last).toBe(sent.length);
  // One buffer where the truth was announced; an old and a new one otherwise, of which the new one has at most twice what came.
  expect(most).toBeLessThanOrEqual(expectedBytes === sent.length ? sent.length : 3 * Math.max(sent.length, expectedBytes));
});

test('400,000 pieces of a byte take what their bytes take', async () => {
  const count = 400_000;
  let left = count;
  collect();
  const before = process.memoryUsage();
  let after = before;
  let most = 0;
  const got = await read(
    streamOf(() => {
      if (left-- > 0) return new Uint8Array(1).fill(left & 255);
      collect();
      after = process.memoryUsage();
      return undefined;
    }),
    count,
    { onHeld: (bytes) => (most = Math.max(most, bytes)) },
  );
  expect(got?.length).toBe(count);
  expect(most).toBeLessThan(3 * count);
  expect(after.heapUsed + after.external - before.heapUsed - before.external).toBeLessThan(8e6);
});

test('a body beyond the cap is given up, whether its end is ever heard of or not', async () => {
  const cancel = vi.fn(() => new Promise<void>(() => undefined));
  const endless = (): ReadableStream<Uint8Array> =>
    new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1000)), cancel });
  expect(await read(endless(), 5000)).toBeUndefined();
  await expect(openBundle(endless(), { maximumBytes: 5000 })).rejects.toMatchObject({ code: 'limit', got: 'more' });
  expect(cancel).toHaveBeenCalledTimes(2);
}, 5000);

test('a response that announces more than the cap is not read', async () => {
  const pull = vi.fn((controller: ReadableStreamDefaultController) => controller.enqueue(new Uint8Array(1000)));
  const cancel = vi.fn();
  const announcing = (headers: Record<string, string>): Response =>
    new Response(new ReadableStream({ pull, cancel }, { highWaterMark: 0 }), { headers });
  await expect(openBundle(announcing({ 'content-length': '5000000000' }), { maximumBytes: 2e8 })).rejects.toMatchObject({
    code: 'limit',
    got: '5000000000',
  });
  expect(pull).not.toHaveBeenCalled();
  expect(cancel).toHaveBeenCalledOnce();
  // What is coded is longer or shorter than what comes out: it is counted as it comes.
  await expect(
    openBundle(announcing({ 'content-length': '5000000000', 'content-encoding': 'gzip' }), { maximumBytes: 5000 }),
  ).rejects.toMatchObject({ code: 'limit', got: 'more' });
});

test.each([0, 10])('one byte beyond the cap is refused, %i announced', async (expectedBytes) => {
  const of = (count: number): ReadableStream<Uint8Array> => streamOf(() => (count-- > 0 ? new Uint8Array(1) : undefined));
  expect((await read(of(100), 100, { expectedBytes }))?.length).toBe(100);
  expect(await read(of(101), 100, { expectedBytes })).toBeUndefined();
});

test('a watchdog that is done leaves no timer, which would keep a process alive', () => {
  vi.useFakeTimers();
  try {
    const watchdog = new Watchdog(1000, undefined, 60_000);
    expect(vi.getTimerCount()).toBe(2);
    watchdog[Symbol.dispose]();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test('a body that comes slowly but steadily is read to its end, however long that takes', async () => {
  vi.useFakeTimers();
  try {
    let left = 5;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await new Promise((resolve) => void setTimeout(resolve, 800));
        if (left-- === 0) controller.close();
        else controller.enqueue(Uint8Array.of(left));
      },
    }, { highWaterMark: 0 });
    using watchdog = new Watchdog(1000, undefined);
    const reading = watchdog.readBody(body, 100).catch(String);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await reading).toEqual(Uint8Array.of(4, 3, 2, 1, 0));
  } finally {
    vi.useRealTimers();
  }
});
