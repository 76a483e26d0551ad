/** The built command line in every runtime that has files: the same options give the same files. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { hostStatus } from './launch.ts';
import { root } from './root.ts';

const cli = join(root, 'dist', 'cli.js');
const folder = mkdtempSync(join(tmpdir(), 'trajport-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// Absent hosts are reported, or failed, by portable.test.ts; without any Node of ours the current one stands in.
const here = (['node20', 'node22', 'node24', 'deno', 'bun'] as const).filter((host) => hostStatus(host).available);
const made = new Map<string, string>();

describe.each(here)('%s', (host) => {
  function trajport(...args: string[]): { status: number | null; stdout: string; stderr: string } {
    const status = hostStatus(host);
    if (!status.available) throw new Error(status.reason);
    const prefix = host === 'deno' ? ['run', '--no-prompt', '--allow-read', '--allow-write', '--allow-env', '--allow-sys'] : [];
    const {
      status: exit,
      stdout,
      stderr,
    } = spawnSync(status.binary, [...prefix, cli, ...args], { cwd: folder, encoding: 'utf8', timeout: 60_000 });
    return { status: exit, stdout, stderr };
  }

  it('trains, and writes the bytes that every other runtime writes', () => {
    const out = `${host}.zip`;
    const { status, stdout, stderr } = trajport(
      'train', '--widths', '24', '--train-count', '200', '--epochs', '2', '--batch-size', '32', '--seed', '3', '--out', out, '--json',
    );
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout.trimEnd().split('\n').map((line) => (JSON.parse(line) as { event: string }).event)).toContain('result');
    made.set(host, createHash('sha256').update(readFileSync(join(folder, out))).digest('hex'));
    expect(new Set(made.values()).size).toBe(1);
  });

  it('inspects what it wrote', () => {
    const { status, stdout } = trajport('inspect', `${host}.zip`, '--json');
    expect(status).toBe(0);
    expect(stdout.trimEnd().split('\n').length).toBeGreaterThan(0);
  });

  it('refuses nonsense with a usage error and writes nothing', () => {
    const { status, stderr } = trajport('train', '--widht', '3', '--out', 'no.zip');
    expect(status).toBe(2);
    expect(stderr).toContain('--width');
    expect(existsSync(join(folder, 'no.zip'))).toBe(false);
  });
});
