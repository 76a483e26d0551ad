// Runs a TypeScript file of this repository on any Node ≥ 20.19 (which cannot strip types itself before 22.18):
// node scripts/run.mjs FILE.ts [ARGUMENTS…]
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: node scripts/run.mjs FILE.ts [ARGUMENTS…]');
  process.exit(2);
}
mkdirSync(join(root, 'build', 'run'), { recursive: true });
const outfile = join(root, 'build', 'run', `${file.replace(/[^A-Za-z0-9]+/g, '-')}-${process.pid}.mjs`);
await build({
  absWorkingDir: root,
  entryPoints: [resolve(file)],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  external: ['#wasm', '#tfjs'],
  sourcemap: 'inline',
  logLevel: 'warning',
});
process.on('exit', () => rmSync(outfile, { force: true }));
process.argv.splice(1, 2, resolve(file));
await import(pathToFileURL(outfile).href);
