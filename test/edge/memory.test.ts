/** What a request at all its default caps keeps alive at once, against the isolate of 128 MB that the defaults are for. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { beforeAll, expect, it, vi } from 'vitest';
import { readAdapter } from '../../src/bundle/foreign/adapter.ts';
import { stateFromAdapter } from '../../src/bundle/foreign/network.ts';
import { stateFromSafetensors, stateToSafetensors } from '../../src/bundle/network-state.ts';
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { openCodec } from '../../src/bundle/codec-instance.ts';
import { methods } from '../../src/bundle/zip-format.ts';
import { openZip } from '../../src/bundle/zip-reader.ts';
import { ZipWriter, memorySink } from '../../src/bundle/zip-writer.ts';
import { memorySource } from '../../src/bundle/random-access.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { createTransferHandler } from '../../src/edge/index.ts';
import { initialise } from '../../src/model/initialise.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { preset } from '../../src/model/presets.ts';
import { openCompute } from '../../src/index.ts';
import type { ModelGraph, NetworkState } from '../../src/index.ts';
import { idxImages, idxLabels } from '../cli/fixtures.ts';

const MiB = 2 ** 20;
const ISOLATE_BYTES = 128e6;
/** The library itself, from above: importing it leaves 2.6 MiB on the heap in Node, and the windows of the codec are 1.2 MiB. */
const LIBRARY_BYTES = 6 * MiB;
const SIZE = 28;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const live = (): number => {
  collect();
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
};

/** What stays alive: blobs of the requests before are given up some turns of the event loop after their last use. */
async function settled(): Promise<number> {
  let least = live();
  for (let steady = 0; steady < 4; steady++) {
    await new Promise((resolve) => void setTimeout(resolve, 50));
    const now = live();
    if (now < least - MiB / 4) steady = -1;
    least = Math.min(least, now);
  }
  return least;
}

const blocks = { width: 92, depth: 3, heads: 4 };
const distilbert = { input: [24], positions: 64, classes: 4, vocabulary: 5000, ...blocks };

type Parts = Readonly<Record<string, Uint8Array>>;
/** Two digits and a comma for each token. */
const line = (row: number): string =>
  `{"tokens":[${Array.from({ length: 24 }, (_, i) => 10 + ((row * 31 + i * i) % 90)).join(',')}],"label":${row % 4}}\n`;

let parts: Parts;
let texts: Parts;
let tokens: Parts;
/** Texts with the adapter that the fine-tune is, as a bundle and as the base that it is of. */
let adapted: Parts;
let based: Parts;
beforeAll(async () => {
  const count = 8000;
  parts = await materials(preset('mlp', { input: [1, SIZE, SIZE], classes: 10, widths: [560, 560] }), {
    images: idxImages(count, SIZE, SIZE, Uint8Array.from({ length: count * SIZE * SIZE }, (_, i) => (Math.imul(i, 7919) >>> 5) & 255)),
    labels: idxLabels(Uint8Array.from({ length: count }, (_, i) => i % 10)),
  });
  // Nearly all the sequences that there may be, and as many bytes of numbers.
  texts = await materials(preset('distilbert', distilbert), {
    sequences: new TextEncoder().encode(Array.from({ length: 65_000 }, (_, row) => line(row)).join('')),
  });
  [adapted, based] = await adaptedMaterials(texts);
  // Nearly all the windows.
  tokens = await materials(preset('gpt2', { input: [50], classes: 5000, ...blocks }), {
    tokens: new Uint8Array(Uint16Array.from({ length: 3 * MiB - 4096 }, (_, i) => ((i * 7919) >>> 3) % 5000).buffer),
  });
});

/** An adapter of nearly all the bytes that one may have, as small a type as there is: its factors are four times as many as numbers. */
async function adaptedMaterials(given: Parts): Promise<readonly [Parts, Parts]> {
  const { bundle: _, target = new Uint8Array(0), ...data } = given;
  const graph = preset('distilbert', distilbert);
  const base = { tensors: readSafetensors(target).tensors, metadata: new Map(), convention: 'pytorch' } as const;
  const factor = (shape: readonly [number, number], seed: number): RawTensor =>
    ({ dtype: 'I8', shape, bytes: Uint8Array.from({ length: shape[0] * shape[1] }, (__, i) => (i * seed) & 3) });
  const rank = 200;
  const file = writeSafetensors(new Map([...base.tensors].flatMap(([name, { shape: [outputs = 0, inputs = 0] }]): [string, RawTensor][] =>
    /_lin\.weight|lin[12]\.weight/.test(name)
      ? [
          [name.replace('.weight', '.lora_A.weight'), factor([rank, inputs], 7)],
          [name.replace('.weight', '.lora_B.weight'), factor([outputs, rank], 5)],
        ]
      : [])));
  const config = { peft_type: 'LORA', lora_alpha: 0.01 };
  const adapter = readAdapter({ ...base, tensors: readSafetensors(file).tensors }, config);
  const end = (await stateFromAdapter(graph, base, adapter)).state as NetworkState;
  const start = stateFromSafetensors(parameterLayout(graph), target);
  const common = { target, adapter: file, config: new TextEncoder().encode(JSON.stringify(config)), ...data };
  const checkpoints = [{ label: 'start', state: start }, { label: 'end', state: end }];
  return [
    { bundle: await writeBundle({ graph, checkpoints }, { coding: 'full' }), ...common },
    { base: target, graph: new TextEncoder().encode(JSON.stringify(graph)), ...common },
  ];
}

async function materials(graph: ModelGraph, data: Parts): Promise<Parts> {
  using compute = await openCompute();
  const [start, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed })) as [
    NetworkState,
    NetworkState,
    NetworkState,
  ];
  return {
    bundle: await writeBundle({ graph, checkpoints: [{ label: 'start', state: start }, { label: 'end', state: end }] }, { coding: 'full' }),
    target: stateToSafetensors(parameterLayout(graph), target),
    ...data,
  };
}

/** The part that is capped as data. */
const dataPart = (given: Parts): string => ['images', 'sequences', 'tokens'].find((name) => name in given) as string;

/** The bundle with a record of the training that is `training`, deflated; canonical otherwise. */
async function bundleWith(training: string): Promise<Uint8Array<ArrayBuffer>> {
  const zip = await openZip(memorySource(parts['bundle'] as Uint8Array));
  const { sink, bytes } = memorySink();
  const writer = await ZipWriter.open(sink);
  for (const name of zip.entries.keys()) {
    const content = await zip.read(name);
    if (name !== 'trajectory.json') {
      await writer.addStored(name, new Uint8Array(content));
      continue;
    }
    const text = new TextDecoder().decode(content).replace('"training": null', `"training": ${training}`);
    const plain = new TextEncoder().encode(text);
    const crc32 = (await openCodec()).crc32(plain);
    await writer.addPacked(name, { method: methods.deflated, crc32, bytes: plain.length, parts: [new Uint8Array(deflateRawSync(plain))] });
  }
  await writer.finish();
  return bytes();
}

/** A file of weights with nothing but objects in its header. */
function ofObjects(count: number): Uint8Array {
  const header = new TextEncoder().encode(`{"a":${empties(count)}}`);
  const file = new Uint8Array(8 + header.length);
  new DataView(file.buffer).setUint32(0, header.length, true);
  file.set(header, 8);
  return file;
}

const empties = (count: number): string => `[${'{},'.repeat(count - 1)}{}]`;

async function requestOf(
  options: object, { announce = true, pack = false, given = parts, changed = {} as Parts },
): Promise<{ request: Request; whole: Uint8Array }> {
  const form = new FormData();
  for (const [name, bytes] of Object.entries({ ...given, ...changed }))
    form.set(name, new Blob([Uint8Array.from(pack && name === dataPart(given) ? gzipSync(bytes, { level: 0 }) : bytes)]));
  form.set('options', JSON.stringify(options));
  const written = new Response(form);
  const type = written.headers.get('content-type') as string;
  const whole = new Uint8Array(await written.arrayBuffer());
  let sent = 0;
  const body = new ReadableStream({
    pull: (controller) => {
      if (sent >= whole.length) return controller.close();
      controller.enqueue(whole.slice(sent, (sent += 65_536)));
    },
  });
  const headers = { 'content-type': type, ...(announce ? { 'content-length': `${whole.length}` } : {}) };
  return { request: new Request('https://port.example/', { method: 'POST', body, headers, duplex: 'half' } as RequestInit), whole };
}

/** Numbers of texts and of factors take ten megabytes of what may be kept. */
const beside = { historyBudgetBytes: 15.5e6 };
const narrow = { batchSize: 16, microBatch: 2, heldOutFraction: 0.002 };

it.each<[string, object, { pack?: true; announce?: false; training?: string; given?: () => Parts }]>([
  ['fgmt with all the history that it may have', { method: 'fgmt', steps: 7, batchSize: 64 }, {}],
  ['the same with images that unpack to as much again', { method: 'fgmt', steps: 7, batchSize: 64 }, { pack: true }],
  ['fgmt, of a length that nobody announced', { method: 'fgmt', steps: 3 }, { announce: false }],
  ['gmt that keeps its gradients', { method: 'gmt', gmtBatches: 'fixed', steps: 2 }, {}],
  ['naive', { method: 'naive', steps: 3 }, {}],
  // What a manifest may cost: all the values that it may have, as the costliest.
  ['fgmt with a manifest of 32,000 empty objects', { method: 'fgmt', steps: 7, batchSize: 64 }, { training: empties(32_000) }],
  ['fgmt of labelled texts', { method: 'fgmt', steps: 2, ...narrow }, { given: () => texts }],
  ['gmt of packed ones', { method: 'gmt', steps: 2, ...narrow }, { given: () => texts, pack: true }],
  ['fgmt of an adapter', { method: 'fgmt', steps: 2, ...narrow, ...beside }, { given: () => adapted }],
  ['gmt of one, of packed texts', { method: 'gmt', steps: 2, ...narrow, ...beside }, { given: () => adapted, pack: true }],
  ['fgmt of one on a base', { method: 'fgmt', steps: 2, ...narrow, ...beside }, { given: () => based, pack: true }],
  ['fgmt of a language model', { method: 'fgmt', steps: 2, ...narrow }, { given: () => tokens, pack: true }],
])('%s fits into an isolate', async (_name, options, sending) => {
  const { caps } = (await (await createTransferHandler()(new Request('https://port.example/'))).json()) as { caps: Record<string, number> };
  // At the caps, all of them, or this would prove nothing.
  const { training, given = () => parts, ...form } = sending;
  for (const [name, cap] of [
    ['bundle', 'maxBundleBytes'], ['base', 'maxTargetBytes'], ['target', 'maxTargetBytes'], ['adapter', 'maxAdapterBytes'],
    [dataPart(given()), 'maxDataBytes'],
  ] as const) {
    const part = given()[name];
    if (part !== undefined) expect(part.length / (caps[cap] as number), name).toBeGreaterThan(0.94);
  }
  const changed: Record<string, Uint8Array> = training === undefined ? {} : { bundle: await bundleWith(training) };
  const { request, whole } = await requestOf(options, { ...form, given: given(), changed });
  const before = await settled();
  let most = 0;
  // At every pause of the computation, which is a timer of no time.
  const timer = globalThis.setTimeout;
  const watch = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, milliseconds?: number) => {
    if (milliseconds === 0) most = Math.max(most, live());
    return timer(run, milliseconds);
  }) as typeof timer);
  // The products of an adapter pause for nobody, and call this for each tensor once they have all that they take of it.
  const { map } = Float32Array.prototype;
  let weights = 0;
  const products = 'adapter' in given() ? vi.spyOn(Float32Array.prototype, 'map') : undefined;
  products?.mockImplementation(function (this: Float32Array, ...call: Parameters<typeof map>) {
    // It would keep what it is called with.
    products.mockClear();
    weights++;
    most = Math.max(most, live());
    return map.apply(this, call);
  });
  const response = await createTransferHandler()(request);
  products?.mockRestore();
  watch.mockRestore();
  // Alive to here: what the client holds must not be freed within, and so be taken off.
  expect(whole.length).toBeGreaterThan(('base' in given() ? 12 : 14) * MiB);
  expect(response.status, await response.clone().text()).toBe(200);
  // The heap of WebAssembly is not in it; it counts with all that it may grow to, as do the bodies of others.
  const others = (caps['maxHeldBytes'] as number) - whole.length;
  const peak = most - before + (caps['heapLimitBytes'] as number) + others + LIBRARY_BYTES;
  // Eighteen weights of the adapter, before the port and after it.
  if ('adapter' in given()) expect(weights).toBe(36);
  expect(most - before).toBeGreaterThan(20 * MiB);
  expect(peak, `${(peak / 1e6).toFixed(0)} MB`).toBeLessThan(ISOLATE_BYTES);
}, 60_000);

it.each([
  [
    'a bundle whose manifest unpacks to five million lists',
    async (): Promise<Parts> => ({ bundle: await bundleWith(`[${'[],'.repeat(5_400_000)}[]]`) }),
    'trajectory.json',
  ],
  ['one with more objects than a manifest of its size has', async () => ({ bundle: await bundleWith(empties(80_000)) }), 'trajectory.json'],
  ['weights whose header is a million objects', () => Promise.resolve({ target: ofObjects(1_000_000) }), 'target'],
  ['an adapter whose header is a third of that', () => Promise.resolve({ ...based, adapter: ofObjects(340_000) }), 'adapter'],
  ['a target beside one', () => Promise.resolve({ ...based, target: ofObjects(1_000_000) }), 'target'],
  // Texts are read before it, each as an object.
  ['a base', () => {
    const sequences = new TextEncoder().encode(line(1).repeat(40));
    return Promise.resolve({ ...based, sequences, base: ofObjects(1_000_000) });
  }, 'base'],
  [
    'a graph of as many objects as fit', () => Promise.resolve({ ...based, graph: new TextEncoder().encode(`{"x":${empties(87_000)}}`) }),
    'graph',
  ],
])('%s is refused before it is parsed whole', async (_name, make, field) => {
  const changed = await make();
  const { request } = await requestOf({ method: 'naive', steps: 1 }, { given: 'base' in changed ? {} : parts, changed });
  // The parser pauses for nobody to look at the heap: what it has made by the end it holds.
  const create = vi.spyOn(Object, 'create');
  const response = await createTransferHandler()(request);
  const made = create.mock.calls.length;
  create.mockRestore();
  expect(response.status).toBe(413);
  expect(await response.json()).toMatchObject({ code: 'limit', field });
  expect(made).toBeLessThan(70_000);
}, 60_000);
