// Bundles in R2 as a Worker reads them: workerd's own bucket binding before a store of ours that speaks its protocol,
// counts what is asked for and may replace the object meanwhile.
import { rmSync } from 'node:fs';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openBundle, preset, writeBundle } from '../../src/index.ts';
import type { TrajectoryBundle } from '../../src/index.ts';
import { trajectory } from '../bundle/trajectory.ts';
import { bundleModule } from '../hosts/bundle.ts';
import { hostStatus, requireAllHosts } from '../hosts/launch.ts';
import { root } from '../hosts/root.ts';
import { serveWorker } from '../hosts/workerd-host.ts';
import type { WorkerServer } from '../hosts/workerd-host.ts';

const KEY = 'runs/fine-tune.zip';
const status = hostStatus('workerd');
const graph = preset('mlp', { input: [300], widths: [300], classes: 10 });

/** What the binding sends: numbers as texts where they may exceed 2^53. */
interface GetRequest {
  readonly method: string;
  readonly object: string;
  readonly range?: { readonly offset?: string; readonly length?: string; readonly suffix?: string };
  readonly onlyIf?: { readonly etagMatches?: readonly { readonly value: string }[] };
}

const gets: [begin: number, end: number][] = [];
let etag = 'first';
let changesAfter = Number.POSITIVE_INFINITY;
let bytes: Uint8Array<ArrayBuffer>;
let store: Server;
let worker: WorkerServer;
let reference: TrajectoryBundle;

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { method, object, range = {}, onlyIf } = JSON.parse(String(request.headers['cf-r2-request'])) as GetRequest;
  const refuse = (code: number, v4code: number, metadata = ''): void => {
    response.writeHead(code, {
      'cf-r2-error': JSON.stringify({ version: 1, v4code, message: 'refused' }),
      'cf-r2-metadata-size': metadata.length,
    });
    response.end(metadata);
  };
  if (method !== 'get' || object !== KEY) return refuse(404, 10_007);
  if (gets.length >= changesAfter) etag = 'second';
  const metadata = {
    name: object,
    version: etag,
    size: String(bytes.byteLength),
    etag,
    uploaded: '0',
    httpFields: {},
    customFields: [],
    checksums: {},
  };
  if (onlyIf?.etagMatches?.some(({ value }) => value !== etag) === true) return refuse(412, 10_031, JSON.stringify(metadata));
  const begin = range.suffix === undefined ? Number(range.offset ?? 0) : Math.max(0, bytes.byteLength - Number(range.suffix));
  const end = range.suffix === undefined ? begin + Number(range.length ?? bytes.byteLength) : bytes.byteLength;
  gets.push([begin, end]);
  const head = Buffer.from(JSON.stringify({ ...metadata, range: { offset: String(begin), length: String(end - begin) } }));
  const body = Buffer.concat([head, bytes.subarray(begin, end)]);
  response.writeHead(200, { 'cf-r2-metadata-size': head.byteLength, 'content-length': body.byteLength });
  response.end(body);
}

beforeAll(async () => {
  if (!status.available) {
    if (requireAllHosts) throw new Error(status.reason);
    return;
  }
  bytes = await writeBundle({ graph, checkpoints: trajectory(graph, 9) }, { keyFrameEvery: 3 });
  reference = await openBundle(bytes);
  store = createServer(answer).listen(0, '127.0.0.1');
  await new Promise((resolve) => store.once('listening', resolve));
  const bundled = await bundleModule('workerd', join(root, 'test', 'edge', 'fixtures', 'r2.ts'));
  worker = await serveWorker('workerd', status.binary, bundled, `127.0.0.1:${(store.address() as AddressInfo).port}`);
}, 60_000);

afterAll(async () => {
  reference?.[Symbol.dispose]();
  store?.closeAllConnections();
  store?.close();
  await worker?.kill();
  if (worker !== undefined) rmSync(worker.folder, { recursive: true, force: true });
});

async function read(labels: readonly string[], key = KEY): Promise<Response> {
  gets.length = 0;
  etag = 'first';
  const query = new URLSearchParams(labels.map((label) => ['checkpoint', label]));
  return fetch(`${worker.url}${key}?${query.toString()}`);
}

describe.skipIf(!status.available)("workerd's R2 binding (skipped where there is no workerd)", () => {
  it('brings a checkpoint at the cost of the end and of its own chain', async () => {
    const response = await read(['epoch 4']);
    expect(Buffer.compare(new Uint8Array(await response.arrayBuffer()), await reference.readCheckpointFile('epoch 4'))).toBe(0);
    const [first, ...ranges] = gets;
    expect(first).toEqual([bytes.byteLength - 131_072, bytes.byteLength]);
    // Epoch 4 builds on the key frame of epoch 3. A local header takes under 100 bytes.
    const asked = ranges.map(([begin, end]) => end - begin);
    expect(asked.length).toBe(2);
    for (const [i, label] of ['epoch 3', 'epoch 4'].entries()) {
      const { storedBytes } = reference.checkpoint(label);
      expect(asked[i]).toBeGreaterThan(storedBytes);
      expect(asked[i]).toBeLessThan(storedBytes + 100);
    }
    expect(bytes.byteLength).toBeGreaterThan(2 * (asked[0] as number) + 131_072);
  });

  it('brings all of them', async () => {
    const labels = reference.checkpoints.map(({ label }) => label);
    const got = new Uint8Array(await (await read(labels)).arrayBuffer());
    const files = await Promise.all(labels.map((label) => reference.readCheckpointFile(label)));
    expect(Buffer.compare(got, Buffer.concat(files))).toBe(0);
  });

  it('an object that is not there, and one that is replaced meanwhile, are errors of the network', async () => {
    expect(await (await read(['initial'], 'other.zip')).json()).toMatchObject({
      code: 'network',
      field: 'R2 object other.zip',
      got: 'none',
    });
    changesAfter = 1;
    try {
      const error = (await (await read(['initial'])).json()) as { expected: string; got: string };
      expect(error).toMatchObject({ code: 'network', expected: 'the object that was opened' });
      expect(error.got).toContain('second');
    } finally {
      changesAfter = Number.POSITIVE_INFINITY;
    }
  });
});
