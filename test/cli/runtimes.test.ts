/** The same command line in Deno and Bun: the same bytes on disk, the same exit codes. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  const options = { cwd: directory, env: { DENO_NO_UPDATE_CHECK: '1', DENO_DIR: join(directory, 'deno') }, ...(runtime === undefined ? {} : { runtime }) };
  const bundle = `${name}.zip`;
  const weights = `${name}.safetensors`;
  const trained = await trajport(['train', '--data', 'a', '--widths', '16', '--epochs', '2', '--batch-size', '16', '--out', bundle, '--json'], options);
  expect({ code: trained.code, stderr: trained.stderr }).toEqual({ code: 0, stderr: '' });
  const ported = await trajport(['transfer', bundle, '--target-seed', '2', '--data', 'a', '--batch-size', '32', '--stop-rule', 'last', '--out', weights, '--json'], options);
  expect({ code: ported.code, stderr: ported.stderr }).toEqual({ code: 0, stderr: '' });
  expect(jsonLines(ported.stdout).at(-1)?.['sha256']).toBe(sha256(weights));
  const refused = await trajport(['train', '--epoch', '2'], options);
  expect(refused.code).toBe(2);
  return { bundle: sha256(bundle), weights: sha256(weights) };
}

describe.each(['deno', 'bun'] as const)('%s', (host) => {
  const status = hostStatus(host);
  it.skipIf(!status.available)('writes the same bytes as Node', async () => {
    if (!status.available) return;
    const runtime = host === 'deno' ? [status.binary, 'run', '-A', '--no-lock'] : [status.binary];
    expect(await theWay(host, runtime)).toEqual(await theWay(`node-${host}`));
  });
});
