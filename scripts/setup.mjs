// What `npm start`, `npm test` and the campaigns need before they can run: packages and an up-to-date dist/.
// Uses nothing but Node, so it works in a fresh clone.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Runs a command with our stdio; stdout goes to stderr when `quiet`, so that `--json` output stays clean. */
export function run(command, args, options = {}) {
  const { quiet = false, ...rest } = options;
  const { status, signal, error } = spawnSync(command, args, {
    cwd: root,
    stdio: quiet ? ['ignore', 2, 2] : 'inherit',
    ...rest,
  });
  if (error) throw error;
  return signal ? 1 : status;
}

function npm(args, options) {
  const cli = process.env.npm_execpath;
  const known = cli !== undefined && /npm-cli\.c?js$/.test(cli);
  return run(known ? process.execPath : 'npm', known ? [cli, ...args] : args, { quiet: true, ...options });
}

/** Names of the packages (pinned exactly) that are not installed in the version asked for. */
function missing(folder, wanted) {
  return Object.entries(wanted)
    .filter(([name, version]) => {
      const manifest = join(folder, 'node_modules', name, 'package.json');
      return !existsSync(manifest) || readJson(manifest).version !== version.replace(/^npm:.*@/, '');
    })
    .map(([name]) => name);
}

/** Installs what is missing: `run` is what using trajport takes (about 80 MB), `check` adds compilers and test tools. */
export function ensureInstalled(what) {
  const { dependencies, devDependencies } = readJson(join(root, 'package.json'));
  const absent = missing(root, what === 'run' ? dependencies : { ...dependencies, ...devDependencies });
  if (absent.length === 0) return;
  const modules = join(root, 'node_modules');
  if (existsSync(modules) && lstatSync(modules).isSymbolicLink()) {
    console.error(`node_modules is a link and is left alone; it lacks ${absent.join(', ')}`);
    return;
  }
  console.error(`Installing (${absent.length} packages missing) …`);
  // No package of ours needs its install script: esbuild's only speeds up its command line.
  const status = npm(['ci', '--ignore-scripts', ...(what === 'run' ? ['--omit=dev'] : [])]);
  if (status !== 0) process.exit(status);
}

/** Installs the other runtimes. Answers false, loudly, when that fails: their tests are then skipped. */
export function ensureHosts() {
  const folder = join(root, 'test', 'hosts');
  const { optionalDependencies } = readJson(join(folder, 'package.json'));
  // Every name ends in its platform; those of other platforms are never installed.
  const arch = process.arch === 'x64' ? '(x64|64)' : '(arm64|aarch64)';
  const here = new RegExp(`-${process.platform}-${arch}(-glibc)?$`);
  const wanted = Object.fromEntries(Object.entries(optionalDependencies).filter(([name]) => here.test(name)));
  if (missing(folder, wanted).length === 0) return true;
  console.error('Installing the other runtimes (Node 20, 22 and 24, Deno, Bun, workerd; tests only) …');
  if (npm(['ci', '--ignore-scripts'], { cwd: folder }) === 0 && missing(folder, wanted).length === 0) return true;
  console.error('WARNING: not every runtime could be installed; tests that need the absent ones are skipped');
  return false;
}

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)]))
    .toSorted();
}

/** Builds dist/ when it is not what the sources give: judged by content, since a checkout sets all times to now. */
export async function ensureBuilt() {
  const sources = [
    ...filesBelow(join(root, 'src')),
    join(root, 'assembly', 'core.wasm'),
    join(root, 'assembly', 'relaxed.wasm'),
    join(root, 'scripts', 'build.mjs'),
    join(root, 'package-lock.json'),
  ];
  // With binaryen tfjs's binary comes out smaller: a build from before it was installed is stale.
  const hash = createHash('sha256').update(`${existsSync(join(root, 'node_modules', 'binaryen'))}\0`);
  for (const file of sources) hash.update(`${relative(root, file)}\0`).update(readFileSync(file)).update('\0');
  const wanted = hash.digest('hex');
  const stampFile = join(root, 'dist', '.stamp');
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted) return;
  console.error('Building …');
  const { buildAll } = await import('./build.mjs');
  await buildAll();
  writeFileSync(stampFile, wanted);
}

/** What the words of scripts/ready.mjs name. */
export async function ensureReady(words) {
  ensureInstalled(words.includes('check') ? 'check' : 'run');
  if (words.includes('hosts')) ensureHosts();
  if (!words.includes('unbuilt')) await ensureBuilt();
  if (!words.includes('package')) return;
  const status = run(process.execPath, [join(root, 'scripts', 'package.mjs')], { quiet: true });
  if (status !== 0) process.exit(status);
}
