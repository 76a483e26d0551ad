/** `trajport download` from a mirror that lies: nothing unverified stays on disk. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fetchFile } from '../../src/cli/fetch-file.ts';
import { officialFiles } from '../../src/data/official-files.ts';
import { jsonLines, trajport } from './fixtures.ts';

let directory: string;
let server: Server;
let mirror: string;
const asked: string[] = [];
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-download-'));
  // A mirror that answers every file with the same few bytes, and one file with too many.
  server = createServer((request, response) => {
    // Headers and the beginning of a body, then nothing more, and no end.
    if (request.url?.startsWith('/open') === true)
      return void response.writeHead(request.url.startsWith('/open/404') ? 404 : 200).write('begun');
    if (request.url?.startsWith('/silent') === true) return undefined;
    asked.push(request.url ?? '');
    if (request.url?.includes('train-labels') === true) response.writeHead(404).end();
    else response.end(request.url?.includes('t10k-labels') === true ? Buffer.alloc(100_000) : 'not the official file');
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(directory, { recursive: true, force: true });
});

it('refuses bytes that are not the official ones and leaves no file behind', async () => {
  const { code, stdout } = await trajport(['download', 'mnist', '--to', 'images', '--mirror', mirror, '--json'], { cwd: directory });
  expect(code).toBe(3);
  const wrong = createHash('sha256').update('not the official file').digest('hex');
  expect(jsonLines(stdout).at(-1)).toMatchObject({ event: 'error', code: 'integrity', got: wrong });
  expect(asked).toEqual(['/train-images-idx3-ubyte.gz']);
  expect(readdirSync(directory)).toEqual([]);
});

it('names --mirror where no server answers', async () => {
  const { code, stderr } = await trajport(['download', 'mnist', '--to', 'none', '--mirror', 'http://127.0.0.1:9/'], { cwd: directory });
  expect({ code, stderr }).toEqual({
    code: 3,
    stderr: expect.stringMatching(/expected an answer.*\n +--mirror URL fetches the same files from elsewhere/),
  });
});

it('says which sets there are, and what was probably meant', async () => {
  const { code, stderr } = await trajport(['download', 'fashion_mnist'], { cwd: directory });
  expect(code).toBe(2);
  expect(stderr).toContain('did you mean trajport download fashion-mnist ?');
});

it('does not take a file of the right name for the right file', async () => {
  const file = officialFiles[0];
  mkdirSync(join(directory, 'images', 'mnist'), { recursive: true });
  writeFileSync(join(directory, 'images', 'mnist', file?.file ?? ''), 'stale');
  const { code } = await trajport(['download', 'mnist', '--to', 'images', '--mirror', mirror], { cwd: directory });
  expect(code).toBe(3);
  expect(asked).toHaveLength(2);
});

it('gives up a server that falls silent, before its answer or within it', async () => {
  const options = { signal: new AbortController().signal, maximumBytes: 1000, idleMs: 200 };
  await expect(fetchFile(`${mirror}silent`, options)).rejects.toThrow('expected an answer, got none (silence for 200 ms)');
  const told: number[] = [];
  await expect(fetchFile(`${mirror}open`, { ...options, onProgress: (done) => told.push(done) })).rejects.toThrow(
    'expected the whole file, got 5 bytes, then silence for 200 ms',
  );
  expect(told).toEqual([5]);
  await expect(fetchFile(`${mirror}t10k-labels`, options)).rejects.toThrow('expected at most 1000 bytes, got more');
  await expect(fetchFile(`${mirror}open`, { ...options, signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
});

it('lets go of an error page that has no end: it would keep the process alive', async () => {
  const closed = new Promise<void>((resolve) => void server.once('request', (_, response) => response.once('close', resolve)));
  const options = { signal: new AbortController().signal, maximumBytes: 1000 };
  await expect(fetchFile(`${mirror}open/404`, options)).rejects.toThrow('expected status 200, got 404');
  await closed;
}, 5000);
