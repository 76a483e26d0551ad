/** A request that is cancelled while what all requests share is being opened, and never runs again: those after it are answered. */
import { afterEach, expect, it, vi } from 'vitest';
import { idxImages, idxLabels } from '../cli/fixtures.ts';

const granted = WebAssembly.instantiate;
afterEach(() => {
  WebAssembly.instantiate = granted;
});

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, milliseconds));

async function materials(): Promise<FormData> {
  const { initialise, openCompute, parameterLayout, preset, stateToSafetensors, writeBundle } = await import('../../src/index.ts');
  using compute = await openCompute();
  const graph = preset('mlp', { input: [1, 4, 4], classes: 3, widths: [5] });
  const [start, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed }));
  if (start === undefined || end === undefined || target === undefined) throw new Error('three states');
  const parts = {
    bundle: await writeBundle({ graph, checkpoints: [{ label: 'start', state: start }, { label: 'end', state: end }] }),
    target: stateToSafetensors(parameterLayout(graph), target),
    images: idxImages(60, 4, 4, Uint8Array.from({ length: 60 * 16 }, (_, i) => (i * 37) & 255)),
    labels: idxLabels(Uint8Array.from({ length: 60 }, (_, i) => i % 3)),
  };
  const form = new FormData();
  for (const [name, bytes] of Object.entries(parts)) form.set(name, new Blob([Uint8Array.from(bytes)]));
  form.set('options', JSON.stringify({ method: 'fgmt', steps: 2, batchSize: 16 }));
  return form;
}

it.each([
  ['the codec', 0],
  ["tfjs's binary", 1],
  ['the kernels', 2],
])('%s never opens for a request whose client leaves', async (_name, stage) => {
  const form = await materials();
  // A cold start: nothing is kept of what the materials took.
  vi.resetModules();
  const { createTransferHandler } = await import('../../src/edge/index.ts');
  const { byteLength } = await new Response(form).arrayBuffer();
  const handle = createTransferHandler({ maxHeldBytes: 1.5 * byteLength });
  const post = (signal?: AbortSignal): Promise<Response> =>
    handle(new Request('https://port.example/', { method: 'POST', body: form, ...(signal === undefined ? {} : { signal }) }));

  let calls = 0;
  const hangs = vi.fn(() => new Promise<never>(() => undefined));
  WebAssembly.instantiate = ((...given: Parameters<typeof granted>) =>
    calls++ === stage ? hangs() : granted(...given)) as typeof granted;
  const client = new AbortController();
  void post(client.signal);
  await vi.waitFor(() => expect(hangs).toHaveBeenCalled(), 10_000);
  client.abort();

  const next = async (): Promise<number | void> => Promise.race([post().then(({ status }) => status), pause(20_000)]);
  expect([await next(), await next()]).toEqual([200, 200]);
}, 60_000);

it('opens compiled modules without a turn of the event loop', async () => {
  const { coreWasm, tfjsWasm } = await import('#wasm');
  const [core, tfjs] = await Promise.all(
    [coreWasm(), tfjsWasm()].map((bytes) => WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>)),
  ) as [WebAssembly.Module, WebAssembly.Module];
  const { openCore } = await import('../../src/core/core.ts');
  WebAssembly.instantiate = (() => new Promise(() => undefined)) as unknown as typeof granted;
  let turned = false;
  setImmediate(() => {
    turned = true;
  });
  using opened = await openCore({ wasm: { core, tfjs } });
  expect(turned).toBe(false);
  expect(opened.disposed).toBe(false);
});
