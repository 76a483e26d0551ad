/** Loading both binaries, the shared heap and its cap, typed errors. */
import { binaryHashes } from '../../src/core/binaries.ts';
import { openCore } from '../../src/core/core.ts';
import { TrajportError } from '../../src/core/errors.ts';
import { equal, ok, test, throws } from './harness.ts';
import { detectRuntime } from './runtime.ts';

test('core: opens, allocates and frees', async () => {
  using core = await openCore();
  const pointer = core.allocate(1 << 20, 'test');
  core.f32(pointer, 4).set([1, 2, 3, 4]);
  equal([...core.f32(pointer, 4)], [1, 2, 3, 4]);
  equal(core.liveAllocations, 1);
  core.free(pointer);
  equal(core.liveAllocations, 0);
  await throws(() => core.free(pointer), 'invalid-argument');
});

test('core: the packaged binaries are known by their hashes', () => {
  for (const hash of Object.values(binaryHashes)) ok(/^[0-9a-f]{64}$/.test(hash), hash);
});

test('core: at the heap cap an allocation throws and the next, smaller one works', async () => {
  const heapLimitBytes = 32 * 2 ** 20;
  using core = await openCore({ heapLimitBytes });
  const error = await throws(() => core.allocate(heapLimitBytes, 'too much'), 'out-of-memory');
  ok(error instanceof TrajportError && error.field === 'too much', `field of ${error.message}`);
  ok(core.heapBytes <= heapLimitBytes, `heap of ${core.heapBytes} bytes above its cap`);
  core.free(core.allocate(2 ** 20, 'enough'));
});

test('core: a heap cap that makes no sense, or below what the heap starts with, is refused', async () => {
  for (const heapLimitBytes of [0, NaN, 2 ** 20, 2 ** 24 - 1]) await throws(() => openCore({ heapLimitBytes }), 'invalid-argument');
  using core = await openCore({ heapLimitBytes: 2 ** 24 });
  equal(core.heapBytes, 2 ** 24);
});

test('core: bytes that are no wasm, or that the runtime may not compile, are refused', async () => {
  const bytes = new Uint8Array([0, 97, 115, 109, 9, 9, 9, 9]);
  await throws(() => openCore({ wasm: { core: bytes } }), 'unsupported');
});

test('core: only workerd forbids compiling WebAssembly from bytes', async () => {
  const empty = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
  const compiles = await WebAssembly.compile(empty).then(() => true, () => false);
  equal(compiles, detectRuntime().name !== 'workerd');
});
