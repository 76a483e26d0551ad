/** examples/worker under workerd: the transferred weights are those of Node, byte for byte; bad input gets typed JSON. */
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  generateTaskPair, imageSet, initialise, openBundle, openCompute, parameterLayout, preset, sequenceSet, stateToSafetensors, tokenSet,
  train, transfer, writeBundle,
} from '../../src/index.ts';
import type { ImageSet, NetworkState } from '../../src/index.ts';
import { idxImages, idxLabels } from '../cli/fixtures.ts';
import { materialOf, portedByLibrary } from './adapters.ts';
import { bundleModule } from '../hosts/bundle.ts';
import { hostStatus, requireAllHosts } from '../hosts/launch.ts';
import { root } from '../hosts/root.ts';
import { serveWorker } from '../hosts/workerd-host.ts';
import type { WorkerServer } from '../hosts/workerd-host.ts';

const status = hostStatus('workerd');
const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [64] });
const layout = parameterLayout(graph);
const options = { method: 'fgmt', seed: 7, steps: 3, batchSize: 32 } as const;
const servers: WorkerServer[] = [];

interface Material {
  readonly bundle: Uint8Array<ArrayBuffer>;
  readonly target: NetworkState;
  readonly data: ImageSet;
  /** SHA-256 of the weights that Node gives. */
  readonly expected: string;
}

async function serve(file: string): Promise<string> {
  if (!status.available) throw new Error(status.reason);
  const server = await serveWorker('workerd', status.binary, await bundleModule('workerd', join(root, file)));
  servers.push(server);
  return server.url;
}

afterAll(async () => {
  for (const server of servers) {
    await server.kill();
    rmSync(server.folder, { recursive: true, force: true });
  }
});

// Hashes, because a failing comparison of large arrays keeps the test runner printing for minutes.
function sha256(bytes: ArrayBuffer): string {
  return createHash('sha256').update(new Uint8Array(bytes)).digest('hex');
}

async function makeMaterial(): Promise<Material> {
  using compute = await openCompute();
  const pair = generateTaskPair(compute.core, { seed: 5, trainCount: 320, testCount: 64 });
  // As the Worker reads them from IDX files: bytes ÷ 255.
  const [before, after] = [pair.before, pair.after].map(({ train: { name, images, labels, channels, height, width, classes } }) =>
    imageSet({ name, images, labels, channels, height, width, classes }),
  ) as [ImageSet, ImageSet];
  const common = { graph, batchSize: 32, compute };
  const source = await train({ ...common, data: before, seed: 1, iterations: 20 });
  const { state: target } = await train({ ...common, data: before, seed: 2, iterations: 20 });
  const tuned = await train({ ...common, data: after, seed: 3, iterations: 20, initial: source.state });
  const bundle = await writeBundle(tuned);
  using opened = await openBundle(bundle);
  const { state } = await transfer({ ...options, source: opened, target, data: after, compute });
  return { bundle, target, data: after, expected: sha256(stateToSafetensors(layout, state).buffer) };
}

describe.skipIf(!status.available && !requireAllHosts)('examples/worker in workerd', () => {
  let url: string;
  let material: Material;
  beforeAll(async () => {
    material = await makeMaterial();
    url = await serve('examples/worker/src/index.ts');
  });

  function form(changes: Record<string, Uint8Array | string | null> = {}): FormData {
    const { bundle, target, data } = material;
    const parts: Record<string, Uint8Array | string | null> = {
      bundle,
      target: stateToSafetensors(layout, target),
      images: idxImages(data.count, data.height, data.width, data.images),
      labels: idxLabels(data.labels),
      options: JSON.stringify(options),
      ...changes,
    };
    const body = new FormData();
    for (const [name, value] of Object.entries(parts)) {
      if (value !== null) body.set(name, typeof value === 'string' ? value : new Blob([Uint8Array.from(value)]));
    }
    return body;
  }

  const post = (body: FormData, to = url): Promise<Response> => fetch(to, { method: 'POST', body });

  it('tells what it accepts', async () => {
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ service: 'trajport', parts: { bundle: expect.any(String) } });
  });

  it('answers the weights that Node gives', async () => {
    const response = await post(form());
    expect(response.status, await response.clone().text()).toBe(200);
    expect(sha256(await response.arrayBuffer())).toBe(material.expected);
    expect(JSON.parse(response.headers.get('trajport-record') ?? '')).toMatchObject({ kind: 'transfer', settings: { method: 'fgmt' } });
  });

  it.each<['sequences' | 'tokens' | 'text', string]>([
    ['sequences', 'a classifier of texts'], ['tokens', 'a language model'], ['text', 'one of bytes'],
  ])('answers those of the part %s, for %s', async (part) => {
    const shape = { input: [10], width: 16, depth: 1, heads: 2 };
    const network = part === 'sequences'
      ? preset('distilbert', { ...shape, classes: 3, vocabulary: 300 })
      : preset('gpt2', { ...shape, classes: 300 });
    const numbers = Array.from({ length: 600 }, (_, i) => 1 + ((i * i) % (part === 'text' ? 250 : 299)));
    const texts = Array.from({ length: 60 }, (_, i) => ({ tokens: numbers.slice(9 * i, 9 * i + 3 + (i % 6)), label: i % 3 }));
    const contents = {
      sequences: new TextEncoder().encode(texts.map((text) => `${JSON.stringify(text)}\n`).join('')),
      tokens: Uint8Array.from(numbers.flatMap((number) => [number & 255, number >>> 8])),
      text: Uint8Array.from(numbers),
    };
    const data = part === 'sequences'
      ? sequenceSet({
          name: part, sequences: texts.map(({ tokens }) => tokens), labels: texts.map(({ label }) => label), length: 10, padding: 0,
          vocabulary: 300, classes: 3,
        })
      : tokenSet({ name: part, tokens: Uint16Array.from(numbers), length: 10, vocabulary: 300 });
    using compute = await openCompute();
    const [start, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, network, { seed })) as [
      NetworkState, NetworkState, NetworkState,
    ];
    const bundle = await writeBundle({ graph: network, checkpoints: [{ label: 'start', state: start }, { label: 'end', state: end }] });
    using source = await openBundle(bundle);
    const choices = { method: 'gmt', seed: 7, steps: 2, batchSize: 16, stopRule: 'last' } as const;
    const { record } = await transfer({ ...choices, source, target, data, compute });
    const targetFile = stateToSafetensors(parameterLayout(network), target);
    const response = await post(
      form({ bundle, target: targetFile, images: null, labels: null, [part]: contents[part], options: JSON.stringify(choices) }),
    );
    expect(response.status, await response.clone().text()).toBe(200);
    expect(sha256(await response.arrayBuffer())).toBe(record.sha256);
  });

  it.each(['bundle', 'base'] as const)('answers the adapter that Node ports, by way of a %s', async (way) => {
    const given = await materialOf('distilbert');
    const { common, adapterParts, basePart, bundle } = given;
    const parts = { ...common, ...adapterParts, ...(way === 'bundle' ? {} : basePart) };
    using compute = await openCompute();
    const wanted = await portedByLibrary('distilbert', given, compute);
    const response = await post(form({ bundle: way === 'bundle' ? bundle : null, images: null, labels: null, ...parts }));
    expect(response.status, await response.clone().text()).toBe(200);
    expect(sha256(await response.arrayBuffer())).toBe(sha256(wanted.buffer));
    const alone = await post(form({ bundle, images: null, labels: null, ...parts, base: null, graph: null, config: null }));
    expect({ status: alone.status, answer: await alone.json() }).toMatchObject({ status: 400, answer: { field: 'config' } });
  });

  const spoilt = (): Uint8Array<ArrayBuffer> => {
    const [[name, tensor] = ['', undefined]] = material.target.parameters;
    if (tensor === undefined) throw new Error('no parameters');
    const data = tensor.data.map((value, i) => (i === 3 ? NaN : value));
    return stateToSafetensors(layout, {
      ...material.target,
      parameters: new Map(material.target.parameters).set(name, { ...tensor, data }),
    });
  };
  const cases: [string, () => FormData, number, object][] = [
    ['no bundle', () => form({ bundle: null }), 400, { code: 'malformed-file', field: 'bundle' }],
    ['a bundle that is none', () => form({ bundle: new Uint8Array(500) }), 400, { code: 'malformed-file' }],
    ['a truncated bundle', () => form({ bundle: material.bundle.slice(0, -40) }), 400, { code: 'malformed-file' }],
    ['NaN in the target', () => form({ target: spoilt() }), 422, { code: 'not-finite' }],
    ['a target that is too large', () => form({ target: new Uint8Array(4 * 2 ** 20) }), 413, { code: 'limit', field: 'target' }],
    ['labels of another count', () => form({ labels: idxLabels(new Uint8Array(3)) }), 400, { code: 'malformed-file' }],
    [
      'a label out of range',
      () => form({ labels: idxLabels(new Uint8Array(material.data.count).fill(10)) }),
      422,
      { code: 'invalid-argument' },
    ],
    ['zero steps', () => form({ options: '{"steps":0}' }), 422, { code: 'invalid-argument' }],
    [
      'sequences for a network that reads images',
      () => form({ images: null, labels: null, sequences: '{"tokens":[1],"label":0}' }),
      422,
      { code: 'invalid-argument', field: 'sequences' },
    ],
    ['an unknown option', () => form({ options: '{"speed":9}' }), 422, { code: 'invalid-argument', field: 'options.speed' }],
    ['options that are no JSON', () => form({ options: '{' }), 400, { code: 'malformed-file', field: 'options' }],
    ['more gradients than allowed', () => form({ options: '{"method":"gmt","steps":200}' }), 413, { code: 'limit', field: 'options' }],
    ['a budget too small', () => form({ options: '{"historyBudgetBytes":1000}' }), 503, { code: 'budget' }],
  ];
  it.each(cases)('refuses %s', async (_name, body, expectedStatus, facts) => {
    const response = await post(body());
    const answer = (await response.json()) as object;
    expect({ status: response.status, answer }).toMatchObject({ status: expectedStatus, answer: facts });
    expect(answer).toMatchObject({ error: expect.any(String), expected: expect.any(String), got: expect.any(String) });
  });

  it('refuses other methods and other bodies', async () => {
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(405);
    expect((await fetch(url, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })).status).toBe(415);
  });

  it('answers others while one client sends nothing, one leaves in the middle of its body and one in the middle of its transfer', async () => {
    const { hostname, port } = new URL(url);
    const begin = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n--b\r\n';
    const sockets = [1, 2].map(() => connect(Number(port), hostname).on('error', () => undefined));
    for (const socket of sockets) socket.write(begin);
    const client = new AbortController();
    const leaving = fetch(url, {
      method: 'POST',
      body: form({ options: JSON.stringify({ ...options, steps: 100 }) }),
      signal: client.signal,
    }).catch(() => 'left');
    await new Promise((resolve) => void setTimeout(resolve, 300));
    sockets[1]?.destroy();
    client.abort();
    expect(await leaving).toBe('left');
    const response = await post(form());
    expect(sha256(await response.arrayBuffer())).toBe(material.expected);
    sockets[0]?.destroy();
  });

  it('is none the worse for it', async () => {
    const response = await post(form());
    expect(sha256(await response.arrayBuffer())).toBe(material.expected);
  });

  it('says so when its heap is too small, and goes on', async () => {
    const small = await serve('test/edge/fixtures/small-heap.ts');
    const wide = preset('small-conv', { input: [1, 28, 28], classes: 10, width: 32 });
    using compute = await openCompute();
    const [first, second, third] = [1, 2, 3].map((seed) => initialise(compute.core, wide, { seed })) as [
      NetworkState,
      NetworkState,
      NetworkState,
    ];
    const bundle = await writeBundle({ graph: wide, checkpoints: [{ label: 'start', state: first }, { label: 'end', state: second }] });
    const body = form({ bundle, target: stateToSafetensors(parameterLayout(wide), third), options: '{"steps":1,"batchSize":256}' });
    const answer = await post(body, small);
    expect({ status: answer.status, answer: await answer.json() }).toMatchObject({ status: 503, answer: { code: 'out-of-memory' } });
    expect((await fetch(small)).status).toBe(200);
  });
});
