/** The fetch handler in this process: answers, refusals as typed JSON, caps, the queue. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTransferHandler } from '../../src/edge/index.ts';
import { stateToSafetensors } from '../../src/bundle/network-state.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { closeSharedCompute, openCompute, train } from '../../src/index.ts';
import { imageSet } from '../../src/data/image-set.ts';
import { idxImages, idxLabels, striped } from '../cli/fixtures.ts';

const SIZE = 6;
const images = striped(160, SIZE, 3);
const inputs: Record<string, Uint8Array> = {};
let expectedSha256: string;

async function sha256Of(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', Uint8Array.from(bytes)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

beforeAll(async () => {
  const data = imageSet({ name: 'striped', images: images.pixels, labels: Uint8Array.from(images.labels), channels: 1, height: SIZE, width: SIZE, classes: 3 });
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

function request(parts: Record<string, Uint8Array | string>, init: { accept?: string; signal?: AbortSignal } = {}): Request {
  const form = new FormData();
  for (const [name, value] of Object.entries(parts)) form.set(name, typeof value === 'string' ? value : new Blob([Uint8Array.from(value)]));
  return new Request('https://port.example/', {
    method: 'POST', body: form, headers: init.accept === undefined ? {} : { accept: init.accept }, ...(init.signal === undefined ? {} : { signal: init.signal }),
  });
}

const options = (value: unknown): string => JSON.stringify(value);
const fine = { method: 'fgmt', batchSize: 32, steps: 3, seed: 4 };
const problemOf = async (response: Response) => ({ status: response.status, body: (await response.json()) as { error: string; field: string } });

describe('handler', () => {
  const handle = createTransferHandler({ heapLimitBytes: 32 * 2 ** 20, maxDataBytes: 64 * 1024, maxBundleBytes: 64 * 1024, maxTargetBytes: 16 * 1024, maxGradients: 100, maxWaiting: 1 });

  it('answers weights that have the hash of the record', async () => {
    const response = await handle(request({ ...inputs, options: options(fine) }));
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    const record = JSON.parse(response.headers.get('trajport-record') as string) as { sha256: string; counts: { gradients: number }; settings: { seed: number } };
    expect(record.counts.gradients).toBe(6);
    expect(record.settings.seed).toBe(4);
    expectedSha256 = await sha256Of(new Uint8Array(await response.arrayBuffer()));
    expect(expectedSha256).toBe(record.sha256);
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
      heldOutSeed: 9, microBatch: 8, gmtBatches: 'fixed', solver: 'coordinate-descent', loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0.1 },
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
    ['a part of another name', { weights: 'x' }, 400, 'body'],
    ['a bundle that is none', { bundle: 'PK but no ZIP' }, 400, undefined],
    ['a target that is none', { target: 'nothing' }, 400, 'target'],
    ['options that are no JSON', { options: '{' }, 400, 'options'],
    ['options that are no object', { options: '[]' }, 400, 'options'],
    ['an unknown option', { options: options({ stepz: 3 }) }, 422, 'options.stepz'],
    ['an option out of range', { options: options({ ...fine, steps: 0 }) }, 422, 'steps'],
    ['an option of the wrong kind', { options: options({ ...fine, steps: '3' }) }, 422, 'options.steps'],
    ['a loss that is none', { options: options({ ...fine, loss: 'mse' }) }, 422, 'options.loss'],
    ['a polluting option', { options: '{"__proto__": {"method": "gmt"}}' }, 422, 'options.__proto__'],
    ['the oracle', { options: options({ method: 'oracle' }) }, 422, 'options.method'],
    ['more gradients than allowed', { options: options({ method: 'gmt', steps: 50, batchSize: 8 }) }, 413, 'options'],
    ['labels out of range', { labels: idxLabels(images.labels.map((label) => label + 1)) }, 422, undefined],
    ['a target too large', { target: new Uint8Array(17 * 1024) }, 413, 'target'],
    ['a body too large', { images: new Uint8Array(2 ** 21) }, 413, 'body'],
    ['a history budget too small', { options: options({ ...fine, historyBudgetBytes: 0 }) }, 503, undefined],
  ] as const)('refuses %s', async (_name, change, status, field) => {
    const parts = Object.fromEntries(Object.entries({ ...inputs, options: options(fine), ...change }).filter(([, value]) => value !== undefined));
    const { status: got, body } = await problemOf(await handle(request(parts as Record<string, Uint8Array | string>)));
    expect({ got, body }).toMatchObject({ got: status, body: { error: expect.any(String), ...(field === undefined ? {} : { field }) } });
    // Nothing that was refused spoils what comes after.
    expect((await handle(request({ ...inputs, options: options(fine) }))).status).toBe(200);
  });

  it('refuses other methods, other bodies and lying lengths', async () => {
    const put = await handle(new Request('https://port.example/', { method: 'PUT', body: 'x' }));
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST']);
    expect((await handle(new Request('https://port.example/', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }))).status).toBe(415);
    const headers = { 'content-type': 'multipart/form-data; boundary=x' };
    expect((await handle(new Request('https://port.example/', { method: 'POST', body: 'not a form', headers }))).status).toBe(400);
    expect((await handle(new Request('https://port.example/', { method: 'POST', headers }))).status).toBe(400);
  });

  it('stops reading an endless body at its cap', async () => {
    let pulled = 0;
    const body = new ReadableStream({ pull: (controller) => void (pulled++, controller.enqueue(new Uint8Array(65_536))) });
    const endless = new Request('https://port.example/', { method: 'POST', body, headers: { 'content-type': 'multipart/form-data; boundary=x' }, duplex: 'half' } as RequestInit);
    expect((await handle(endless)).status).toBe(413);
    expect(pulled).toBeLessThan(64);
  });

  it('runs one at a time, lets some wait and tells the rest to come back', async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(() => handle(request({ ...inputs, options: options(fine) }))));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 503, 503]);
    expect(answers[3]?.headers.get('retry-after')).toBe('10');
  });
});
