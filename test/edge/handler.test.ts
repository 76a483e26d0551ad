/** The fetch handler in this process: answers, refusals as typed JSON, caps, the queue. */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import type { CoreKernels } from '../../src/core/kernels.ts';
import { createTransferHandler } from '../../src/edge/index.ts';
import { computeInTurn, inTurn } from '../../src/edge/turn.ts';
import { stateFromSafetensors, stateToSafetensors } from '../../src/bundle/network-state.ts';
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { sequential } from '../../src/model/builder.ts';
import { preset } from '../../src/model/presets.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { closeSharedCompute, openBundle, openCompute, train, transfer } from '../../src/index.ts';
import type { TransferOptions } from '../../src/index.ts';
import { imageSet, normalised } from '../../src/data/image-set.ts';
import { idxImages, idxLabels, striped } from '../cli/fixtures.ts';
import { problemOf, request, sha256Of } from './requests.ts';

const SIZE = 6;
const images = striped(160, SIZE, 3);
const inputs: Record<string, Uint8Array> = {};
let expectedSha256: string;

beforeAll(async () => {
  const data = imageSet({
    name: 'striped',
    images: images.pixels,
    labels: Uint8Array.from(images.labels),
    channels: 1,
    height: SIZE,
    width: SIZE,
    classes: 3,
  });
  const graph = preset('mlp', { input: [1, SIZE, SIZE], classes: 3, widths: [12] });
  using compute = await openCompute();
  const trained = await train({ graph, data, seed: 1, epochs: 3, batchSize: 16, learningRate: 0.1, compute });
  inputs['bundle'] = await writeBundle({ graph, checkpoints: trained.checkpoints, training: trained.record });
  inputs['target'] = stateToSafetensors(parameterLayout(graph), initialise(compute.core, graph, { seed: 2 }));
  inputs['images'] = idxImages(160, SIZE, SIZE, images.pixels);
  inputs['labels'] = idxLabels(images.labels);
  expectedSha256 = '';
});
afterAll(closeSharedCompute);

const options = (value: unknown): string => JSON.stringify(value);
const fine = { method: 'fgmt', batchSize: 32, steps: 3, seed: 4 };

describe('handler', () => {
  const handle = createTransferHandler({
    heapLimitBytes: 32 * 2 ** 20,
    maxDataBytes: 64 * 1024,
    maxLabelsBytes: 32 * 1024,
    maxBundleBytes: 64 * 1024,
    maxTargetBytes: 16 * 1024,
    maxGradients: 100,
    maxWaiting: 1,
  });

  it('answers weights that have the hash of the record', async () => {
    const response = await handle(request({ ...inputs, options: options(fine) }));
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    const record = JSON.parse(response.headers.get('trajport-record') as string) as {
      sha256: string;
      counts: { gradients: number };
      settings: { seed: number };
    };
    expect(record.counts.gradients).toBe(6);
    expect(record.settings.seed).toBe(4);
    expectedSha256 = await sha256Of(response);
    expect(expectedSha256).toBe(record.sha256);
  });

  it('takes images with an axis of channels', async () => {
    const grey = inputs['images'] as Uint8Array;
    const header = Buffer.concat([Buffer.from([0, 0, 8, 4]), grey.subarray(4, 8), Buffer.from([0, 0, 0, 1]), grey.subarray(8, 16)]);
    const response = await handle(request({ ...inputs, images: Buffer.concat([header, grey.subarray(16)]), options: options(fine) }));
    expect(await sha256Of(response)).toBe(expectedSha256);
  });

  it('ports to a base whose last layer is of another size, or is missing, from zeros there', async () => {
    const { tensors } = readSafetensors(inputs['target'] as Uint8Array, 'target');
    const asked = { ...fine, zeroHead: true };
    const hashes: string[] = [];
    using opened = await openBundle(inputs['bundle'] as Uint8Array);
    const checkpoints = await Promise.all(opened.checkpoints.map(async ({ label }, i) => ({
      label, state: await opened.readCheckpoint(i),
    })));
    const packed = await writeBundle({ graph: opened.graph, checkpoints, training: { ...(opened.training as object), zeroHead: true } });
    for (const classes of [0, 7, 3]) {
      const target = new Map([...tensors].flatMap(([name, { dtype, shape, bytes }]): [string, RawTensor][] => {
        if (!name.startsWith('linear2.')) return [[name, { dtype, shape, bytes }]];
        return classes === 0
          ? []
          : [[name, { dtype, shape: [classes, ...shape.slice(1)], bytes: new Uint8Array((bytes.byteLength / 3) * classes).fill(1) }]];
      }));
      const response = await handle(request({ ...inputs, target: writeSafetensors(target), options: options(asked) }));
      expect(response.status).toBe(200);
      // As a bundle asks that was packed so.
      const told = await handle(request({ ...inputs, bundle: packed, target: writeSafetensors(target), options: options(fine) }));
      expect(await sha256Of(told)).toBe(await sha256Of(response.clone()));
      const refused = await handle(request({ ...inputs, target: writeSafetensors(target), options: options(fine) }));
      expect(refused.status).toBe(classes === 3 ? 200 : 400);
      hashes.push(await sha256Of(response));
    }
    expect(new Set(hashes).size).toBe(1);
    using source = await openBundle(inputs['bundle'] as Uint8Array);
    const target = stateFromSafetensors(parameterLayout(source.graph), inputs['target'] as Uint8Array);
    const data = imageSet({
      name: 'x', images: images.pixels, labels: Uint8Array.from(images.labels), channels: 1, height: SIZE, width: SIZE, classes: 3,
    });
    const compute = await computeInTurn({ heapLimitBytes: 32 * 2 ** 20 });
    expect((await transfer({ ...asked, source, target, data, compute } as TransferOptions)).record.sha256).toBe(hashes[0]);
  });

  it('normalises the images as the bundle says, to the bytes of a transfer on such images', async () => {
    const mean = [0.25];
    const std = [0.125];
    using bundle = await openBundle(inputs['bundle'] as Uint8Array<ArrayBuffer>);
    const { graph } = bundle;
    const checkpoints = await Promise.all(
      bundle.checkpoints.map(async ({ label }, i) => ({ label, state: await bundle.readCheckpoint(i) })),
    );
    const told = await writeBundle({ graph, checkpoints, training: { normalisation: { mean, std } } });
    const response = await handle(request({ ...inputs, bundle: told, options: options(fine) }));
    const data = imageSet({
      name: 'data',
      images: images.pixels,
      labels: Uint8Array.from(images.labels),
      channels: 1,
      height: SIZE,
      width: SIZE,
      classes: 3,
    });
    const { method, ...choices } = fine;
    using source = await openBundle(told);
    const expected = await transfer({
      ...choices,
      method: method as 'fgmt',
      source,
      target: stateFromSafetensors(parameterLayout(graph), inputs['target'] as Uint8Array<ArrayBuffer>),
      data: normalised(data, mean, std),
      compute: await computeInTurn({ heapLimitBytes: 32 * 2 ** 20 }),
    });
    const sha256 = await sha256Of(response);
    expect(sha256).toBe(expected.record.sha256);
    expect(sha256).not.toBe(expectedSha256);
  });

  it('tells a misspelt option its name', async () => {
    expect(await problemOf(await handle(request({ ...inputs, options: options({ metod: 'gmt' }) })))).toMatchObject({
      status: 422,
      body: { field: 'options.metod', got: expect.stringContaining('did you mean method?') },
    });
  });

  it('answers both parts where only multipart is accepted, with the same bytes', async () => {
    const response = await handle(request({ ...inputs, options: options(fine) }, { accept: 'multipart/form-data' }));
    const form = await response.formData();
    const weights = form.get('weights') as File;
    expect(await sha256Of(new Uint8Array(await weights.arrayBuffer()))).toBe(expectedSha256);
    expect((JSON.parse(form.get('record') as string) as { sha256: string }).sha256).toBe(expectedSha256);
  });

  it('takes every choice of a transfer, which the record then states', async () => {
    const choices = {
      heldOutSeed: 9,
      microBatch: 8,
      gmtBatches: 'fixed',
      solver: 'coordinate-descent',
      loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0.1 },
    };
    const response = await handle(request({ ...inputs, options: options({ ...fine, ...choices }) }));
    expect(response.status).toBe(200);
    const { settings, sha256 } = JSON.parse(response.headers.get('trajport-record') as string) as { settings: object; sha256: string };
    expect(settings).toMatchObject(choices);
    expect(sha256).not.toBe(expectedSha256);
  });

  it('tells how it is used', async () => {
    const response = await handle(new Request('https://port.example/'));
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ service: 'trajport', caps: { maxGradients: 100 } });
  });

  it.each([
    ['a part that is missing', { target: undefined }, 400, 'target'],
    ['images without labels', { labels: undefined }, 400, 'labels'],
    ['labels without images', { images: undefined }, 400, 'images'],
    ['no data', { images: undefined, labels: undefined }, 400, 'body'],
    ['data of two kinds', { sequences: '{"tokens":[1],"label":0}' }, 422, 'sequences'],
    ['labels beside data that have theirs', { images: undefined, text: 'x' }, 422, 'text'],
    ['text for a network that reads images', { images: undefined, labels: undefined, text: 'x' }, 422, 'text'],
    ['sequences for one', { images: undefined, labels: undefined, sequences: '{"tokens":[1],"label":0}' }, 422, 'sequences'],
    ['a part of another name', { weights: 'x' }, 400, 'body'],
    ['a bundle that is none', { bundle: 'PK but no ZIP' }, 400, undefined],
    ['a target that is none', { target: 'nothing' }, 400, 'target'],
    ['options that are no JSON', { options: '{' }, 400, 'options'],
    ['options that are no object', { options: '[]' }, 400, 'options'],
    ['an unknown option', { options: options({ stepz: 3 }) }, 422, 'options.stepz'],
    ['an option out of range', { options: options({ ...fine, steps: 0 }) }, 422, 'options.steps'],
    ['an option of the wrong kind', { options: options({ ...fine, steps: '3' }) }, 422, 'options.steps'],
    ['a loss that is none', { options: options({ ...fine, loss: 'mse' }) }, 422, 'options.loss'],
    ['a polluting option', { options: '{"__proto__": {"method": "gmt"}}' }, 422, 'options.__proto__'],
    ['an option nested deeply', { options: `{"loss":{"kind":${'['.repeat(30_000)}${']'.repeat(30_000)}}}` }, 413, 'options'],
    ['an option given twice', { options: '{"seed":1,"seed":2}' }, 400, 'options'],
    ['a number that is none', { options: '{"seed":1e400}' }, 400, 'options'],
    ['the oracle', { options: options({ method: 'oracle' }) }, 422, 'options.method'],
    ['more gradients than allowed', { options: options({ method: 'gmt', steps: 50, batchSize: 8 }) }, 413, 'options'],
    ['labels out of range', { labels: idxLabels(images.labels.map((label) => label + 1)) }, 422, 'labels[2]'],
    ['images of another size', { images: idxImages(160, 4, 9, images.pixels) }, 422, 'images'],
    ['a target too large', { target: new Uint8Array(17 * 1024) }, 413, 'target'],
    ['a body too large', { images: new Uint8Array(2 ** 21) }, 413, 'body'],
    ['more steps than allowed, though without gradients', { options: options({ ...fine, method: 'naive', steps: 101 }) }, 413, 'options'],
    [
      'batches for statistics without end',
      { options: options({ ...fine, method: 'naive', statisticsBatches: 1e9 }) },
      422,
      'options.statisticsBatches',
    ],
    ['batches without end', { options: options({ ...fine, batchesPerStep: 1e9 }) }, 422, 'options.batchesPerStep'],
    ['images that unpack to more than allowed', { images: gzipSync(new Uint8Array(2 ** 20)) }, 413, 'images'],
    ['labels that unpack to more than allowed', { labels: gzipSync(new Uint8Array(48 * 1024)) }, 413, 'labels'],
    [
      'an option with a constructor of its own',
      { options: '{"seed":{"constructor":{"name":{"toString":null,"valueOf":null}}}}' },
      422,
      'options.seed',
    ],
    ['a loss too long for a header', { options: options({ ...fine, from: 'x'.repeat(5000) }) }, 413, 'options'],
    ['a history budget too small', { options: options({ ...fine, historyBudgetBytes: 0 }) }, 503, undefined],
  ] as const)('refuses %s', async (_name, change, status, field) => {
    const { status: got, body } = await problemOf(await handle(request({ ...inputs, options: options(fine), ...change })));
    expect({ got, body }).toMatchObject({ got: status, body: { error: expect.any(String), ...(field === undefined ? {} : { field }) } });
    // Nothing that was refused spoils what comes after.
    expect((await handle(request({ ...inputs, options: options(fine) }))).status).toBe(200);
  });

  it('says what a file is that it does not take', async () => {
    using core = await openCore();
    const graph = preset('gpt2', { input: [8], classes: 16, width: 8, depth: 1, heads: 2 });
    const layout = parameterLayout(graph);
    const state = initialise(core, graph, { seed: 1 });
    const bundle = await writeBundle({ graph, checkpoints: [{ label: 'a', state }, { label: 'b', state }] });
    const tokens = await problemOf(
      await handle(request({ ...inputs, bundle, target: stateToSafetensors(layout, state), options: options(fine) })),
    );
    expect(tokens).toMatchObject({
      status: 422, body: { field: 'images', expected: 'text or tokens: the network is a language model', got: 'images' },
    });
    const zip = await problemOf(await handle(request({ ...inputs, target: inputs['bundle'] as Uint8Array, options: options(fine) })));
    expect(zip).toMatchObject({
      status: 400, body: { field: 'target', got: expect.stringContaining('this is a ZIP, as files of PyTorch, numpy and Keras are') },
    });
  });

  it('refuses other methods, other bodies and lying lengths', async () => {
    const put = await handle(new Request('https://port.example/', { method: 'PUT', body: 'x' }));
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST']);
    expect(
      (await handle(new Request('https://port.example/', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })))
        .status,
    ).toBe(415);
    const headers = { 'content-type': 'multipart/form-data; boundary=x' };
    for (const coding of ['gzip', 'GZIP, identity', 'br']) {
      const packed = { ...headers, 'content-encoding': coding };
      const response = await handle(new Request('https://port.example/', { method: 'POST', body: 'packed', headers: packed }));
      expect(response.headers.get('accept-encoding')).toBe('identity');
      expect(await problemOf(response)).toMatchObject({ status: 415, body: { field: 'content-encoding', got: coding.toLowerCase() } });
    }
    const named = { ...headers, 'content-encoding': 'identity' };
    expect((await handle(new Request('https://port.example/', { method: 'POST', body: 'not a form', headers: named }))).status).toBe(400);
    expect((await handle(new Request('https://port.example/', { method: 'POST', body: 'not a form', headers }))).status).toBe(400);
    expect((await handle(new Request('https://port.example/', { method: 'POST', headers }))).status).toBe(400);
  });

  it('stops reading an endless body at its cap', async () => {
    let pulled = 0;
    const body = new ReadableStream({ pull: (controller) => void (pulled++, controller.enqueue(new Uint8Array(65_536))) });
    const endless = new Request('https://port.example/', {
      method: 'POST',
      body,
      headers: { 'content-type': 'multipart/form-data; boundary=x' },
      duplex: 'half',
    } as RequestInit);
    expect((await handle(endless)).status).toBe(413);
    expect(pulled).toBeLessThan(64);
  });

  it('caps the work: gradients, evaluation and statistics by their operations, with batches no larger than the data', async () => {
    const small = createTransferHandler({ heapLimitBytes: 32 * 2 ** 20, maxFlops: 1e6 });
    const of = async (choices: object) =>
      problemOf(
        await small(request({ ...inputs, options: options({ seed: 1, steps: 2, heldOutFraction: 0, stopRule: 'last', ...choices }) })),
      );
    // An image takes 36 · 12 + 12 · 3 multiplications and additions forward, and about three times that with its gradient.
    expect((await small(request({ ...inputs, options: options({ method: 'naive', steps: 2 }) }))).status).toBe(200);
    expect((await small(request({ ...inputs, options: options({ method: 'naive', steps: 2, batchSize: 1e9 }) }))).status).toBe(200);
    expect(await of({ method: 'fgmt', batchSize: 1e9 })).toMatchObject({
      status: 413,
      body: { field: 'options', expected: expect.stringContaining('floating-point operations') },
    });
    expect(await of({ method: 'naive', steps: 100, heldOutFraction: 0.9, stopRule: 'held-out' })).toMatchObject({
      status: 413,
      body: { field: 'options' },
    });
  });

  it('caps what it keeps in memory beside the heap', async () => {
    const small = createTransferHandler({ heapLimitBytes: 32 * 2 ** 20, maxHistoryBytes: 64 * 1024 });
    expect((await small(request({ ...inputs, options: options(fine) }))).status).toBe(200);
    const { status, body } = await problemOf(
      await small(request({ ...inputs, options: options({ ...fine, batchSize: 144, batchesPerStep: 4 }) })),
    );
    expect({ status, body }).toMatchObject({ status: 413, body: { field: 'options', expected: expect.stringContaining('kept') } });
  });

  it('says names once that an option repeats', async () => {
    const repeated = Array.from({ length: 3000 }, () => 'linear1.weight');
    const response = await handle(request({ ...inputs, options: options({ ...fine, skipParameters: repeated }) }));
    expect(response.status).toBe(200);
    const header = response.headers.get('trajport-record') as string;
    expect(header.length).toBeLessThan(8192);
    expect(JSON.parse(header)).toMatchObject({ settings: { skipParameters: ['linear1.weight'] } });
  });

  /** A body that begins and never goes on; `sent` bytes of it come. */
  function unfinished(sent: number, headers: Record<string, string> = {}, signal?: AbortSignal): Request {
    const body = new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(sent)) });
    return new Request('https://port.example/', {
      method: 'POST',
      body,
      headers: { 'content-type': 'multipart/form-data; boundary=x', ...headers },
      duplex: 'half',
      ...(signal === undefined ? {} : { signal }),
    } as RequestInit);
  }

  it('gives up a client that falls silent or takes too long, and lets nobody wait for one meanwhile', async () => {
    const impatient = createTransferHandler({ heapLimitBytes: 32 * 2 ** 20, maxIdleMs: 1500, maxWaiting: 1 });
    const slow = Array.from({ length: 4 }, () => impatient(unfinished(5)));
    const answered = await impatient(request({ ...inputs, options: options(fine) }));
    expect(answered.status).toBe(200);
    for (const response of await Promise.all(slow))
      expect(await problemOf(response)).toMatchObject({ status: 408, body: { error: 'TimeoutError', field: 'body' } });

    const strict = createTransferHandler({ maxIdleMs: 60_000, maxReadMs: 200 });
    let dropping: ReturnType<typeof setInterval> | undefined;
    const trickle = new ReadableStream({
      start: (controller) => void (dropping = setInterval(() => controller.enqueue(new Uint8Array(1)), 20)),
      cancel: () => clearInterval(dropping),
    });
    const dripping = new Request('https://port.example/', {
      method: 'POST',
      body: trickle,
      headers: { 'content-type': 'multipart/form-data; boundary=x' },
      duplex: 'half',
    } as RequestInit);
    expect((await strict(dripping)).status).toBe(408);
  });

  it('refuses a manifest that unpacks to more than allowed', async () => {
    const strict = createTransferHandler({ heapLimitBytes: 32 * 2 ** 20, maxManifestBytes: 300 });
    expect(await problemOf(await strict(request({ ...inputs, options: options(fine) })))).toMatchObject({
      status: 413, body: { error: 'LimitError', field: 'trajectory.json', expected: 'at most 300 bytes' },
    });
  });

  it('holds no more bytes of bodies than allowed, and forgets them with their requests', async () => {
    const narrow = createTransferHandler({ heapLimitBytes: 32 * 2 ** 20, maxIdleMs: 1000, maxHeldBytes: 256 * 1024 });
    const announced = narrow(unfinished(10, { 'content-length': `${200 * 1024}` }));
    const came = narrow(unfinished(20 * 1024));
    await new Promise((resolve) => void setTimeout(resolve, 50));
    const { status, body } = await problemOf(await narrow(unfinished(40 * 1024)));
    expect({ status, body }).toMatchObject({ status: 503, body: { error: 'BusyError', field: 'body' } });
    expect((await Promise.all([announced, came])).map((response) => response.status)).toEqual([408, 408]);
    expect((await narrow(request({ ...inputs, options: options(fine) }))).status).toBe(200);
  });

  it('counts what was announced once, however much of it has come', async () => {
    const KiB = 1024;
    // In the proportions of the defaults: 18 MiB in all, one that announced 3 and waits, another of 8 that has all but come.
    const narrow = createTransferHandler({ heapLimitBytes: 32 * 2 ** 20, maxIdleMs: 400, maxHeldBytes: 180 * KiB });
    const waits = narrow(unfinished(10 * KiB, { 'content-length': `${30 * KiB}` }));
    await new Promise((resolve) => void setTimeout(resolve, 20));
    const answer = await narrow(unfinished(79 * KiB, { 'content-length': `${80 * KiB}` }));
    expect([answer.status, (await waits).status]).toEqual([408, 408]);
  });

  it('answers a client that left, before its body ended or while it waited', async () => {
    const controller = new AbortController();
    const left = handle(unfinished(5, {}, controller.signal));
    const working = handle(request({ ...inputs, options: options(fine) }));
    const waiting = new AbortController();
    const late = handle(request({ ...inputs, options: options({ ...fine, steps: 50 }) }, { signal: waiting.signal }));
    setTimeout(() => { controller.abort(); waiting.abort(); }, 5);
    expect((await left).status).toBe(499);
    expect((await working).status).toBe(200);
    expect((await late).status).toBe(499);
    const cut = new ReadableStream({ start: (stream) => stream.error(new Error('connection reset')) });
    const broken = new Request('https://port.example/', {
      method: 'POST',
      body: cut,
      headers: { 'content-type': 'multipart/form-data; boundary=x' },
      duplex: 'half',
    } as RequestInit);
    expect(await problemOf(await handle(broken))).toMatchObject({ status: 400, body: { field: 'body' } });
  });

  it('does not blame a request for a core that does not open, and opens it for the next', async () => {
    const elsewhere = createTransferHandler({ heapLimitBytes: 33 * 2 ** 20 });
    const granted = WebAssembly.instantiate;
    WebAssembly.instantiate = (() =>
      Promise.reject(new RangeError('Out of memory: Cannot allocate Wasm memory for new instance'))) as unknown as typeof granted;
    try {
      const refused = await elsewhere(request({ ...inputs, options: options(fine) }));
      expect(refused.headers.get('retry-after')).toBe('10');
      expect(await problemOf(refused)).toMatchObject({ status: 503, body: { field: 'service' } });
    } finally {
      WebAssembly.instantiate = granted;
    }
    expect((await elsewhere(request({ ...inputs, options: options(fine) }))).status).toBe(200);
    // Two handlers of one realm share its one core.
    expect((await handle(request({ ...inputs, options: options(fine) }))).status).toBe(200);
    expect((await elsewhere(request({ ...inputs, options: options(fine) }))).status).toBe(200);
    const broken = createTransferHandler({ wasm: { core: new Uint8Array(8) } });
    expect(await problemOf(await broken(request({ ...inputs, options: options(fine) })))).toMatchObject({
      status: 500,
      body: { field: 'service' },
    });
    expect((await handle(request({ ...inputs, options: options(fine) }))).status).toBe(200);
  });

  it('asks for memory, not for 2^32 bytes less, where activations are beyond 4 GiB', async () => {
    const [count, hidden] = [49_000, 25_000];
    const graph = sequential(
      [1, 1, 1],
      [{ op: 'flatten' }, { op: 'dense', out: hidden, bias: false }, { op: 'relu' }, { op: 'dense', out: 2 }],
    );
    const wide: Record<string, Uint8Array> = {
      images: idxImages(
        count,
        1,
        1,
        new Uint8Array(count).map((_, i) => i % 251),
      ),
      labels: idxLabels(Array.from({ length: count }, (_, i) => i % 2)),
    };
    {
      using core = await openCore();
      const [start, end, target] = [1, 2, 3].map((seed) => initialise(core, graph, { seed })) as [NetworkState, NetworkState, NetworkState];
      wide['bundle'] = await writeBundle({ graph, checkpoints: [{ label: 's', state: start }, { label: 'e', state: end }] });
      wide['target'] = stateToSafetensors(parameterLayout(graph), target);
    }
    const response = await createTransferHandler()(
      request({ ...wide, options: options({ method: 'fgmt', steps: 1, batchSize: 43_000, maxSweeps: 1, frozenGroups: ['dense1'] }) }),
    );
    expect(await problemOf(response)).toMatchObject({ status: 503, body: { error: 'OutOfMemoryError' } });
  });

  const trap = (kernels: CoreKernels): void => kernels.addF32(0, 0xffff_fff0, 4);
  it.each<[string, RegExp, (kernels: CoreKernels) => void, string]>([
    ['traps', /./, trap, 'InternalError'],
    // Only matching computes inner products: a trap within its scope is a typed error by then.
    ['traps in a scope', /^inner/, trap, 'KernelError'],
    ['fails in a way that nobody foresaw', /./, () => { throw new TypeError('odd'); }, 'InternalError'],
  ])('gives up a core of which a kernel %s', async (_how, which, fail, error) => {
    const mine = await inTurn(() => computeInTurn({ heapLimitBytes: 32 * 2 ** 20 }), new AbortController().signal);
    const kernels = mine.core.kernels as unknown as Record<string, () => void>;
    const sound = { ...mine.core.kernels };
    for (const name of Object.keys(kernels)) if (name !== 'memory' && which.test(name)) kernels[name] = () => fail(sound);
    expect(await problemOf(await handle(request({ ...inputs, options: options(fine) })))).toMatchObject({ status: 500, body: { error } });
    expect(mine.disposed).toBe(true);
    expect((await handle(request({ ...inputs, options: options(fine) }))).status).toBe(200);
  });

  it('keeps the core where a request is at fault', async () => {
    const mine = await inTurn(() => computeInTurn({ heapLimitBytes: 32 * 2 ** 20 }), new AbortController().signal);
    expect((await handle(request({ ...inputs, options: options({ ...fine, steps: 101 }) }))).status).toBe(413);
    expect((await handle(request({ ...inputs, target: new Uint8Array(8) }))).status).toBe(400);
    expect(mine.disposed).toBe(false);
  });

  it('runs one at a time, lets some wait and tells the rest to come back', async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(() => handle(request({ ...inputs, options: options(fine) }))));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 503, 503]);
    expect(answers[3]?.headers.get('retry-after')).toBe('10');
  });
});
