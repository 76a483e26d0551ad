// Runs a script of this repository: node scripts/run.mjs [ready [WORD…]] FILE.ts|FILE.mjs [ARGUMENTS…]
// `--help` and `-h` print the comment at its head, which is its usage, before anything is installed or built. `ready` makes sure of what
// scripts/ready.mjs names by those words. TypeScript is bundled first: Node before 22.18 cannot strip types itself.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const words = process.argv.slice(2);
const at = words.findIndex((word) => /\.(ts|mjs)$/.test(word));
const file = words[at];
const rest = words.slice(at + 1);
if (file === undefined || (at > 0 && words[0] !== 'ready') || !existsSync(file)) {
  console.error(file === undefined || existsSync(file) ? headOf(fileURLToPath(import.meta.url)) : `${file}: no such script`);
  process.exit(2);
}
if (rest.includes('--help') || rest.includes('-h')) {
  console.log(headOf(file));
  process.exit(0);
}
if (at > 0) {
  const { ensureReady } = await import('./setup.mjs');
  await ensureReady(words.slice(1, at));
}
process.argv.splice(1, 2 + at, resolve(file));
try {
  await import(pathToFileURL(file.endsWith('.ts') ? await bundle(file) : resolve(file)).href);
} catch (error) {
  if (!String(error?.code).startsWith('ERR_PARSE_ARGS')) throw error;
  console.error(`${error.message}\n\n${headOf(file)}`);
  process.exit(2);
}

/** The comment that the file begins with, without its marks. */
function headOf(path) {
  const text = readFileSync(path, 'utf8');
  const comment = /^\/\*\*?([^]*?)\*\/|^(?:\/\/.*\n)+/.exec(text);
  return (comment?.[1] ?? comment?.[0] ?? '').replace(/^[ \t]*(\*|\/\/)[ \t]?/gm, '').trim();
}

async function bundle(entry) {
  const { build } = await import('esbuild');
  mkdirSync(join(root, 'build', 'run'), { recursive: true });
  const outfile = join(root, 'build', 'run', `${entry.replace(/[^A-Za-z0-9]+/g, '-')}-${process.pid}.mjs`);
  await build({
    absWorkingDir: root,
    entryPoints: [resolve(entry)],
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
  return outfile;
}
