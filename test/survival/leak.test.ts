// The short form of `npm run -s leak`, and that it finds what leaks.
import { expect, it } from 'vitest';
import { engine } from '#tfjs';
import { transferManyTimes } from './leak.ts';

it('30 transfers over one compute leave nothing behind', async () => {
  const { transfers, freeBytes } = await transferManyTimes(30);
  expect(transfers).toBe(30);
  expect(freeBytes).toBeGreaterThan(0);
});

it('a few bytes that a kernel allocates and forgets are found', async () => {
  await expect(transferManyTimes(30, ({ core }) => core.tfjs.malloc(16))).rejects.toThrow(/bytes of the WebAssembly heap are free/);
});

it('an allocation of the core that nobody frees is found', async () => {
  await expect(transferManyTimes(30, ({ core }) => core.allocate(16, 'leak'))).rejects.toThrow(/left 0 tensors and 1 allocations/);
});

it('a tfjs tensor that nobody disposes is found', async () => {
  await expect(transferManyTimes(30, () => engine().makeTensor(new Float32Array(4), [4], 'float32'))).rejects.toThrow(
    /left 1 tensors and 1 allocations/,
  );
});
