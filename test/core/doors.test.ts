/** Every exported function, called with what it cannot take: JavaScript has no types to refuse it. */
import { expect, test } from 'vitest';
import * as api from '../../src/index.ts';

const wrong: readonly unknown[] = [undefined, null, 5, 'x', {}, [], () => 1, new Uint8Array(3)];

/** Made or called by the library alone, or with what another function has just given. */
const inner = new Set(['TrajectoryBundle', 'describeMisfits', 'requireFit', 'decodeResumePoint']);

const doors = Object.entries(api).filter((entry): entry is [string, (...args: readonly unknown[]) => unknown] => {
  const [name, value] = entry as [string, unknown];
  return typeof value === 'function' && !(value.prototype instanceof Error) && value !== api.TrajportError && !inner.has(name);
});

test.each(doors)('%s refuses what it cannot take by an error of its own', async (_, door) => {
  using compute = await api.openCompute();
  const calls: (readonly unknown[])[] = [[], ...wrong.map((a) => [a])];
  for (const a of wrong) calls.push([compute.core, a], ...wrong.map((b) => [a, b]), ...wrong.map((b) => [compute.core, a, b]));
  const isClass = String(door).startsWith('class');
  const strangers = new Set<string>();
  for (const args of calls) {
    try {
      await (isClass ? Reflect.construct(door, args) : door(...args));
    } catch (error) {
      if (!(error instanceof api.TrajportError)) strangers.add(String(error));
    }
  }
  expect([...strangers]).toEqual([]);
});
