/**
 * `npm run -s bench:package`: what trajport costs to install and to deploy. Installed size and files of the package, size
 * of the example Worker as it would be uploaded, and its cold start in workerd beside that of an empty Worker.
 * `--json` prints one object a line; exit status 1 when the Worker is larger than its target.
 */
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { bundleModule } from '../test/hosts/bundle.ts';
import type { HostBundle } from '../test/hosts/bundle.ts';
import { hostStatus } from '../test/hosts/launch.ts';
import { root } from '../test/hosts/root.ts';
import { serveWorker } from '../test/hosts/workerd-host.ts';
import { median } from './measure.ts';

/** Issue 2 of the project: 250 KB after gzip. Cloudflare's own limit is 3 MB on the free plan. */
const TARGET_GZIP_BYTES = 250_000;
const COLD_STARTS = 7;

const json = process.argv.includes('--json');
const print = (line: Record<string, unknown>): void => {
  console.log(json ? JSON.stringify(line) : Object.entries(line).map(([key, value]) => `${key} ${String(value)}`).join(' · '));
};

measurePackage();
const worker = await bundleModule('workerd', join(root, 'examples', 'worker', 'src', 'index.ts'), { minify: true });
measureWorker(worker);
await measureColdStart(worker);

function measurePackage(): void {
  const folder = join(root, 'build', 'package');
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies?: object };
  print({
    name: 'package',
    files: files.length,
    dependencies: Object.keys(dependencies).length,
    installedBytes: files.reduce((sum, { length }) => sum + length, 0),
    gzipBytes: gzipSync(Buffer.concat(files), { level: 9 }).length,
  });
}

function measureWorker({ code, wasm }: HostBundle): void {
  const parts = [['entry', Buffer.from(code)] as const, ...wasm];
  const gzip = parts.map(([name, bytes]) => [name, gzipSync(bytes, { level: 9 }).length] as const);
  const gzipBytes = gzip.reduce((sum, [, bytes]) => sum + bytes, 0);
  print({
    name: 'worker',
    bytes: parts.reduce((sum, [, { length }]) => sum + length, 0),
    gzipBytes,
    targetGzipBytes: TARGET_GZIP_BYTES,
    ...Object.fromEntries(gzip.map(([name, bytes]) => [`gzipBytes of ${name.replace('./', '')}`, bytes])),
    pass: gzipBytes <= TARGET_GZIP_BYTES,
  });
  if (gzipBytes > TARGET_GZIP_BYTES) process.exitCode = 1;
}

/** Medians of interleaved starts: from starting the process to the answer of a first GET, and to that of a second. */
async function measureColdStart(ours: HostBundle): Promise<void> {
  const status = hostStatus('workerd');
  if (!status.available) return print({ name: 'worker cold start', skipped: status.reason });
  const empty: HostBundle = { code: 'export default { fetch: () => new Response("hello") };', wasm: new Map() };
  const times = { emptyMs: [] as number[], firstAnswerMs: [] as number[], secondAnswerMs: [] as number[] };
  for (let run = 0; run < COLD_STARTS; run++) {
    for (const bundle of [empty, ours]) {
      const started = performance.now();
      const server = await serveWorker('workerd', status.binary, bundle);
      try {
        await (await fetch(server.url)).text();
        const answered = performance.now();
        if (bundle === empty) times.emptyMs.push(answered - started);
        else {
          await (await fetch(server.url)).text();
          times.firstAnswerMs.push(answered - started);
          times.secondAnswerMs.push(performance.now() - answered);
        }
      } finally {
        await server.kill();
        rmSync(server.folder, { recursive: true, force: true });
      }
    }
  }
  const [emptyMs, firstAnswerMs, secondAnswerMs] = Object.values(times).map(median) as [number, number, number];
  print({
    name: 'worker cold start',
    workerd: status.version,
    emptyWorkerMs: round(emptyMs),
    firstAnswerMs: round(firstAnswerMs),
    addedByTrajportMs: round(firstAnswerMs - emptyMs),
    secondAnswerMs: round(secondAnswerMs),
  });
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
