/** The launcher: values survive the way there and back, and each way of failing is told apart, in each kind of host. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostFailure, hostStatus, openHost } from './launch.ts';
import type { HostSession } from './launch.ts';
import { root } from './root.ts';

const entry = join(root, 'test', 'hosts', 'fixtures', 'misbehaving.ts');
// One host of each transport; absent ones are reported, or failed, by portable.test.ts.
const here = (['node22', 'workerd', 'chromium'] as const).filter((host) => hostStatus(host).available);

describe.each(here)('%s', (host) => {
  let session: HostSession;
  beforeAll(async () => {
    session = await openHost(host, entry);
  });
  afterAll(() => session.close());

  const failure = async (act: string, timeoutMs = 20_000): Promise<HostFailure> => {
    const error: unknown = await session.call({ act }, { timeoutMs }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(HostFailure);
    return error as HostFailure;
  };

  it('returns bytes, NaN and infinities as they were', async () => {
    const value = { bytes: Uint8Array.from({ length: 70_000 }, (_, i) => i % 251), numbers: [NaN, -Infinity, 0.1], text: 'π\n' };
    expect(await session.call({ act: 'echo', value })).toEqual(value);
  });

  it('keeps the class and the facts of a typed error', async () => {
    const { kind, remote } = await failure('throw');
    expect(kind).toBe('threw');
    expect(remote).toMatchObject({ name: 'InvalidArgumentError', code: 'invalid-argument', field: 'act', expected: 'kindness' });
  });

  it('takes no answer from what the entry prints', async () => {
    expect(await session.call({ act: 'print' })).toBe('printed');
  });

  it('kills a host that hangs, and the next call works', async () => {
    expect((await failure('hang', 500)).kind).toBe('timeout');
    expect(await session.call({ act: 'echo', value: 1 })).toBe(1);
  });

  if (host === 'node22') it('tells a crash from an error', async () => {
    const { kind, message } = await failure('exit');
    expect(kind).toBe('crash');
    expect(message).toContain('exit status 3');
    expect(await session.call({ act: 'echo', value: 2 })).toBe(2);
  });
});

it('leaves no scratch folder behind', async () => {
  const [host] = here;
  if (host === undefined) return;
  const session = await openHost(host, entry);
  expect(existsSync(session.folder ?? '')).toBe(true);
  const { folder } = session;
  await session.close();
  expect(existsSync(folder ?? '')).toBe(false);
});
