/** The same command line in Deno and Bun: the same bytes on disk, the same exit codes. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostStatus } from '../hosts/hosts.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-runtimes-'));
  writeImageFolder(join(directory, 'a'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const sha256 = (name: string): string => createHash('sha256').update(readFileSync(join(directory, name))).digest('hex');

/** Trains, bundles and transfers; answers the hashes of both files. */
async function theWay(name: string, runtime?: readonly string[]): Promise<{ bundle: string; weights: string }> {
  const options = {
    cwd: directory,
    env: { DENO_NO_UPDATE_CHECK: '1', DENO_DIR: join(directory, 'deno') },
    ...(runtime === undefined ? {} : { runtime }),
  };
  const bundle = `${name}.zip`;
  const weights = `${name}.safetensors`;
  const trained = await trajport(
    ['train', '--data', 'a', '--widths', '16', '--epochs', '2', '--batch-size', '16', '--out', bundle, '--json'],
    options,
  );
  expect({ code: trained.code, stderr: trained.stderr }).toEqual({ code: 0, stderr: '' });
  const ported = await trajport(
    ['transfer', bundle, '--target-seed', '2', '--data', 'a', '--batch-size', '32', '--stop-rule', 'last', '--out', weights, '--json'],
    options,
  );
  expect({ code: ported.code, stderr: ported.stderr }).toEqual({ code: 0, stderr: '' });
  expect(jsonLines(ported.stdout).at(-1)?.['sha256']).toBe(sha256(weights));
  const refused = await trajport(['train', '--epoch', '2'], options);
  expect(refused.code).toBe(2);
  return { bundle: sha256(bundle), weights: sha256(weights) };
}

const deno = hostStatus('deno');
describe.skipIf(!deno.available)('Deno with the permissions that the docs name, and no others', () => {
  const run = (permissions: string, ...args: string[]) => {
    const env = { DENO_NO_UPDATE_CHECK: '1', DENO_DIR: join(directory, 'deno') };
    return trajport(args, {
      cwd: directory,
      env,
      runtime: [deno.available ? deno.binary : '', 'run', '--no-prompt', '--no-lock', ...permissions.split(' ')],
    });
  };
  const writing = '--allow-read --allow-write --allow-sys=hostname';

  it('reads with one, writes with three, and says what it lacks in one line', async () => {
    const trained = await run(
      writing, 'train', '--data', 'a', '--widths', '8', '--epochs', '3', '--batch-size', '16', '--learning-rate', '0.1', '--out',
      'least.zip', '--final', 'least.safetensors',
    );
    expect(trained).toMatchObject({ code: 0, stderr: '' });
    const ported = await run(
      writing, 'transfer', 'least.zip', '--target-seed', '2', '--data', 'a', '--batch-size', '32', '--workers', '2',
      '--micro-batch', '8', '--out', 'least-ported.safetensors',
    );
    expect(ported).toMatchObject({ code: 0, stderr: '' });
    for (const command of ['inspect', 'verify'])
      expect(await run('--allow-read', command, 'least.zip')).toMatchObject({ code: 0, stderr: '' });
    expect(await run('--allow-read', 'inspect', 'none.zip')).toMatchObject({ code: 3, stderr: 'error: none.zip: no such file\n' });
    const refused = await run(
      '--allow-read --allow-write', 'train', '--data', 'a', '--widths', '8', '--epochs', '1', '--out', 'refused.zip',
    );
    expect(refused.code).toBe(3);
    expect(refused.stderr).toMatch(/^error: .*hostname.*\n$/);
  });

  it('takes no lock from a process that it may not ask about', async () => {
    // This test's process is alive, and Deno is not told so without --allow-run.
    writeFileSync(join(directory, 'held.zip.lock'), JSON.stringify({ pid: process.pid, host: hostname(), started: '' }));
    expect((await run(writing, 'train', '--data', 'a', '--widths', '8', '--epochs', '1', '--out', 'held.zip')).code).toBe(75);
  });
});

describe.each(['deno', 'bun'] as const)('%s', (host) => {
  const status = hostStatus(host);
  it.skipIf(!status.available)('writes the same bytes as Node', async () => {
    if (!status.available) return;
    const runtime = host === 'deno' ? [status.binary, 'run', '-A', '--no-lock'] : [status.binary];
    expect(await theWay(host, runtime)).toEqual(await theWay(`node-${host}`));
  });
});
