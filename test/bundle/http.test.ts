// Bundles over HTTP Range, on a server of our own that behaves, and one fault at a time.
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openSource } from '../../src/bundle/byte-source.ts';
import { stateToSafetensors } from '../../src/bundle/network-state.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import type { TrajectoryBundle } from '../../src/bundle/reader.ts';
import { openCore } from '../../src/core/core.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { generator } from './generator.ts';
import { expectTyped } from './support.ts';

type Fault =
  | 'none' | 'ignores Range' | 'ignores Range, lies about length' | '416 to suffixes'
  | 'changes ETag' | 'changes size' | 'changes Last-Modified'
  | 'sends less' | 'sends more' | 'sends another range' | 'states no range' | 'states no size'
  | 'stalls' | 'stalls at once' | 'hangs up' | 'hangs up within'
  | 'says Bytes' | '404' | '416 later' | '500 later' | '200 later' | 'endless' | 'announces 5 GB';

const graph = preset('mlp', { input: [300], widths: [300], classes: 10 });
const requests: { range: string; sent: number }[] = [];
let fault: Fault = 'none';
let bytes: Uint8Array;
/** What the bundle was written of. */
let states: readonly NetworkState[];
let server: Server;
let url: URL;

function respond(request: IncomingMessage, response: ServerResponse): void {
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
  const record = { range: request.headers.range ?? '', sent: 0 };
  requests.push(record);
  const later = requests.length > 1;
  const headers: Record<string, string> = {
    ETag: later && fault === 'changes ETag' ? '"b"' : '"a"',
    'Last-Modified': later && fault === 'changes Last-Modified' ? 'Tue' : 'Mon',
  };
  const end = (status: number, more: Record<string, string | number>, body: Uint8Array): void => {
    record.sent = body.byteLength;
    response.writeHead(status, { ...headers, ...more });
    response.end(body);
  };
  if (fault === '404') return end(404, {}, new Uint8Array(3));
  if (fault === '500 later' && later) return end(500, {}, new Uint8Array(3));
  if (fault === 'endless') {
    response.writeHead(206, { ...headers, 'Content-Range': `bytes 0-9/10` });
    const timer = setInterval(() => response.write(new Uint8Array(1 << 16)), 1);
    response.on('close', () => clearInterval(timer));
    return;
  }
  if (fault === 'announces 5 GB') {
    response.writeHead(200, { ...headers, 'Content-Length': 5e9 });
    const more = (): void => {
      while (!response.destroyed && response.write(new Uint8Array(1 << 16))) record.sent += 1 << 16;
    };
    response.on('drain', more);
    return more();
  }
  if (fault === 'stalls' && later) {
    response.writeHead(206, headers);
    response.write(new Uint8Array(1));
    return;
  }
  // Neither a header nor a byte.
  if (fault === 'stalls at once') return;
  if (fault === 'hangs up within' && later) {
    // Fewer bytes than declared, then the end of the connection.
    response.writeHead(206, { ...headers, 'Content-Length': 1000 });
    return void response.write(new Uint8Array(500), () => request.socket.destroy());
  }
  if (fault === '416 later' && later) return end(416, { 'Content-Range': `bytes */${bytes.byteLength}` }, new Uint8Array(0));
  if (fault === 'hangs up' && later) return void request.socket.destroy();
  if (range === null || fault.startsWith('ignores Range') || (fault === '200 later' && later)) {
    if (fault === 'ignores Range, lies about length') return end(200, {}, bytes.subarray(0, bytes.byteLength - 10));
    return end(200, { 'Content-Length': bytes.byteLength }, bytes);
  }
  if (fault === '416 to suffixes' && range[1] === '') return end(416, {}, new Uint8Array(0));
  const size = later && fault === 'changes size' ? bytes.byteLength + 1 : bytes.byteLength;
  const first = range[1] === '' ? Math.max(0, bytes.byteLength - Number(range[2])) : Number(range[1]);
  const last = range[1] === '' ? bytes.byteLength - 1 : Math.min(Number(range[2]), bytes.byteLength - 1);
  const body = bytes.slice(first, last + 1);
  const stated =
    later && fault === 'sends another range'
      ? `bytes ${first + 1}-${last + 1}/${size}`
      : `bytes ${first}-${last}/${fault === 'states no size' ? '*' : size}`;
  const contentRange: Record<string, string> =
    fault === 'states no range' ? {} : { 'Content-Range': fault === 'says Bytes' ? stated.replace('b', 'B') : stated };
  if (later && fault === 'sends less') return end(206, contentRange, body.subarray(1));
  if (later && fault === 'sends more') return end(206, contentRange, new Uint8Array(body.byteLength + 1));
  return end(206, contentRange, body);
}

beforeAll(async () => {
  const core = await openCore();
  states = Array.from({ length: 5 }, (_, i) => initialise(core, graph, { seed: i }));
  const checkpoints = states.map((state, i) => ({ label: `${i}`, state }));
  bytes = await writeBundle({ graph, checkpoints }, { keyFrameEvery: 2 });
  server = createServer(respond).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/bundle.zip?signature=secret`);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** Bit for bit what was written. */
async function expectCheckpoint(bundle: TrajectoryBundle, index: number): Promise<void> {
  const [read, written] = [await bundle.readCheckpoint(index), states[index] as NetworkState].map((state) =>
    stateToSafetensors(parameterLayout(graph), state),
  );
  expect(Buffer.compare(read as Uint8Array, written as Uint8Array), `checkpoint ${index}`).toBe(0);
}

async function open(now: Fault): Promise<TrajectoryBundle> {
  fault = now;
  requests.length = 0;
  return openBundle(url, { idleMs: 500 });
}

test('a checkpoint costs one request for the end and one for each link of its chain', async () => {
  using bundle = await open('none');
  expect(requests).toEqual([{ range: 'bytes=-131072', sent: 131_072 }]);
  await bundle.readCheckpoint(1);
  expect(requests.length).toBe(3);
  const own = bundle.checkpoint(0).storedBytes + bundle.checkpoint(1).storedBytes;
  expect((requests[1]?.sent as number) + (requests[2]?.sent as number)).toBeLessThan(own + 200);
  expect(bytes.byteLength).toBeGreaterThan(2 * own);
});

test('ranges are of bytes, however that is spelt', async () => {
  using bundle = await open('says Bytes');
  for (const { index } of bundle.checkpoints) await expectCheckpoint(bundle, index);
});

test('any range is what the file has there, an empty one without a request', async () => {
  fault = 'none';
  requests.length = 0;
  const source = await openSource(url);
  const next = generator(5);
  for (let i = 0; i < 40; i++) {
    const offset = next() % bytes.byteLength;
    const length = i % 4 === 0 ? 0 : next() % (bytes.byteLength - offset);
    const asked = requests.length;
    expect(Buffer.compare(await source.read(offset, length), bytes.subarray(offset, offset + length))).toBe(0);
    const isFar = length > 0 && offset < bytes.byteLength - 131_072;
    expect(requests.length - asked).toBe(isFar ? 1 : 0);
  }
});

describe('a server that does not know ranges is read once, whole', () => {
  test.each<Fault>(['ignores Range', '416 to suffixes', 'states no range'])('%s', async (now) => {
    using bundle = await open(now);
    for (const { index } of bundle.checkpoints) await expectCheckpoint(bundle, index);
    expect(requests.map(({ range }) => range)).toEqual(now === 'ignores Range' ? ['bytes=-131072'] : ['bytes=-131072', '']);
  });

  test('within the cap', async () => {
    fault = 'ignores Range';
    await expectTyped(() => openBundle(url, { maximumBytes: 1000 }), 'limit');
  });

  test('and not at all where it announces more', async () => {
    requests.length = 0;
    fault = 'announces 5 GB';
    expect(await expectTyped(() => openBundle(url, { maximumBytes: 50e6 }), 'limit')).toMatchObject({ got: '5000000000' });
    // What fits the buffers of two sockets.
    expect(requests[0]?.sent).toBeLessThan(20e6);
  });
});

describe('a fault on opening is an error of the network', () => {
  test.each<Fault>(['404', 'states no size', 'endless', 'stalls at once'])('%s', async (now) => {
    const error = await expectTyped(() => open(now), 'network');
    expect(error.message).not.toContain('secret');
  });

  test('no server at all', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => closed.once('listening', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const error = await expectTyped(() => openBundle(new URL(`http://127.0.0.1:${port}/x.zip?signature=secret`)), 'network');
    expect(error).toMatchObject({ field: `http://127.0.0.1:${port}/x.zip`, got: expect.stringContaining('ECONNREFUSED') });
  });

  test('a whole file that came compressed may announce the length that it had on the wire', async () => {
    const answer = (headers: Record<string, string>) => async () => new Response(bytes.slice(), { headers });
    const length = `${bytes.byteLength - 1}`;
    using bundle = await openBundle(url, { fetch: answer({ 'content-encoding': 'gzip', 'content-length': length }) });
    expect(bundle.checkpoints.length).toBeGreaterThan(0);
    const cut = await expectTyped(() => openBundle(url, { fetch: answer({ 'content-length': length }) }), 'network');
    expect(cut.expected).toBe(`${length} bytes, as declared`);
  });

  test('nothing of a signature comes out, whatever the runtime says', async () => {
    // As browsers and Node word it: the URL in the message, in the cause, in a field.
    const failure = Object.assign(new TypeError(`Failed to fetch ${url.href}`, { cause: new Error(url.href) }), { input: url.href });
    const error = await expectTyped(() => openBundle(url, { fetch: () => Promise.reject(failure) }), 'network');
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('secret');
    expect(error.got).toBe('none (TypeError)');
  });

  test('a URL with a password is refused before it is sent anywhere', async () => {
    const withPassword = new URL(url);
    [withPassword.username, withPassword.password] = ['user', 'secret'];
    let sent = 0;
    const error = await expectTyped(
      () => openBundle(withPassword, { fetch: () => Promise.reject(new Error(`${sent++}`)) }),
      'invalid-argument',
    );
    expect(inspect(error, { depth: 9 })).not.toContain('secret');
    expect(sent).toBe(0);
  });
});

describe('a fault on reading is an error of the network, and the bundle goes on', () => {
  const faults: Fault[] = [
    'changes ETag', 'changes Last-Modified', 'changes size', 'sends less', 'sends more', 'sends another range', 'stalls', 'hangs up',
    'hangs up within',
    '416 later', '500 later', '200 later',
  ];
  test.each(faults)('%s', async (now) => {
    using bundle = await open(now);
    const error = await expectTyped(() => bundle.readCheckpoint(0), 'network');
    expect(error.message).not.toContain('secret');
    fault = 'none';
    await expectCheckpoint(bundle, 0);
  });
});

test('of a file that changed it is told what changed', async () => {
  using bundle = await open('changes Last-Modified');
  expect(await expectTyped(() => bundle.readCheckpoint(0), 'network')).toMatchObject({
    expected: `the file that was opened (${bytes.byteLength} bytes, ETag "a", Last-Modified Mon)`,
    got: `${bytes.byteLength} bytes, ETag "a", Last-Modified Tue`,
  });
});

test.each([Number.NaN, -1, '1000', {}])('%s is no cap', async (maximumBytes) => {
  fault = 'ignores Range';
  for (const source of [url, new Blob([bytes.slice()]).stream(), new Response(bytes.slice())])
    expect(await expectTyped(() => openBundle(source, { maximumBytes: maximumBytes as number }), 'invalid-argument'))
      .toMatchObject({ field: 'maximumBytes' });
  expect(await expectTyped(() => openBundle(bytes, { inflatedBytes: maximumBytes as number }), 'invalid-argument'))
    .toMatchObject({ field: 'inflatedBytes' });
});

test('there may be none', async () => {
  fault = 'ignores Range';
  using bundle = await openBundle(url, { maximumBytes: Infinity });
  await expectCheckpoint(bundle, 1);
});

test('a length that the file does not have is noticed', async () => {
  await expectTyped(() => open('ignores Range, lies about length'), 'malformed-file');
});

test('abort ends a stalled read at once, as an abort', async () => {
  using bundle = await open('stalls');
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  await expect(bundle.readCheckpoint(0, controller.signal)).rejects.toThrow(/abort/i);
});
