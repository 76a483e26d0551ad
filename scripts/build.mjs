// Builds dist/ from src/, the committed binaries of assembly/ and tfjs's SIMD binary. Needs only `dependencies`; with
// binaryen beside them tfjs's binary is smaller.
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const at = (...parts) => join(root, ...parts);

/** What every bundle of ours shares. */
const esbuildDefaults = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  conditions: [],
  legalComments: 'none',
  logLevel: 'warning',
};

const write = (path, contents) => {
  writeFileSync(`${path}.${process.pid}.tmp`, contents);
  renameSync(`${path}.${process.pid}.tmp`, path);
};

/** Everything of tfjs's binary that `src/core/` calls. */
const TFJS_EXPORTS = new Set('memory __wasm_call_ctors malloc free'.split(' '));

/**
 * tfjs's binary without the kernels that ours replace: 137 → 14 KB gzip. What stays is not changed, and
 * without binaryen (a fresh clone's `npm start`) the whole binary does the same.
 */
async function trimTfjsBinary(bytes) {
  const binaryen = await import('binaryen').then((imported) => imported.default, () => undefined);
  if (binaryen === undefined) return bytes;
  const trimmed = binaryen.readBinary(bytes);
  try {
    for (const { name } of WebAssembly.Module.exports(await WebAssembly.compile(bytes))) {
      if (!TFJS_EXPORTS.has(name)) trimmed.removeExport(name);
    }
    trimmed.runPasses(['remove-unused-module-elements']);
    return Buffer.from(trimmed.emitBinary());
  } finally {
    trimmed.dispose();
  }
}

async function buildWasmModules() {
  const whole = {
    core: readFileSync(at('assembly', 'core.wasm')),
    relaxed: readFileSync(at('assembly', 'relaxed.wasm')),
    tfjs: readFileSync(at('node_modules', '@tensorflow', 'tfjs-backend-wasm', 'dist', 'tfjs-backend-wasm-simd.wasm')),
  };
  const binaries = { ...whole, tfjs: await trimTfjsBinary(whole.tfjs) };
  const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
  // Of tfjs's binary as its package has it: a build without binaryen must record the same and go on from the same resume points.
  const hashes = Object.entries(whole)
    .map(([name, bytes]) => `export const ${name}WasmSha256 = '${sha256(bytes)}';\n`)
    .join('');
  for (const [name, bytes] of Object.entries(binaries)) write(at('dist', `${name}.wasm`), bytes);
  write(
    at('dist', 'wasm.inline.js'),
    `const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));\n` +
      Object.entries(binaries)
        .map(([name, bytes]) => `export const ${name}Wasm = () => decode('${bytes.toString('base64')}');\n`)
        .join('') +
      hashes,
  );
  write(
    at('dist', 'wasm.static.js'),
    `import core from './core.wasm';\nimport tfjs from './tfjs.wasm';\n` +
      // Not the relaxed binary: a Worker that wants it imports trajport/relaxed.wasm and hands it over.
      `export const coreWasm = () => core;\nexport const tfjsWasm = () => tfjs;\nexport const relaxedWasm = () => undefined;\n${hashes}`,
  );
}

/**
 * tfjs's Emscripten glue and its node, browser and worker branches are replaced by nothing (`core/` loads the binary), its
 * 64-bit hashes too (nobody asks for one; they weigh 12 KB), and the index of tfjs-core by the part that is used.
 */
const trimTfjs = {
  name: 'trim-tfjs',
  setup(pipeline) {
    const unused = /wasm-out\/|\/hash_util$|^(node-fetch|util|fs|path|crypto|worker_threads|perf_hooks|os|string_decoder)$/;
    pipeline.onResolve({ filter: unused }, ({ path }) => ({ path, namespace: 'empty' }));
    pipeline.onLoad({ filter: /.*/, namespace: 'empty' }, () => ({
      contents: 'export default undefined; export const wasmWorkerContents = "";',
    }));
    pipeline.onResolve({ filter: /^@tensorflow\/tfjs-core$/ }, () => ({ path: at('src', 'gradient', 'tfjs-core-subset.ts') }));
  },
};

async function buildTfjs() {
  return build({
    ...esbuildDefaults,
    entryPoints: [at('src', 'gradient', 'tfjs-entry.ts')],
    outfile: at('dist', 'tfjs.js'),
    minify: true,
    // tfjs keeps its engine and registries on the global object, where another copy of tfjs would find ours (and we its
    // kernels): give it an object of its own instead.
    banner: { js: 'const tfjsRealm={};' },
    define: { process: 'undefined', 'process.env': 'undefined', window: 'undefined', global: 'tfjsRealm', navigator: 'undefined' },
    plugins: [trimTfjs],
    metafile: true,
  });
}

/**
 * Programs of their own, a file each. The library's doors are not: whoever imports both has one tfjs, one codec and one class of each
 * error behind them, in `shared.js`.
 */
async function buildEntries() {
  const common = { ...esbuildDefaults, outdir: at('dist'), external: ['#wasm', '#tfjs', 'node:*'], metafile: true };
  return Promise.all([
    build({
      ...common,
      entryPoints: { index: at('src/index.ts'), edge: at('src/edge/index.ts') },
      splitting: true,
      chunkNames: 'shared',
    }),
    build({ ...common, entryPoints: { cli: at('src/cli/main.ts') }, banner: { js: '#!/usr/bin/env node' } }),
    build({ ...common, entryPoints: { 'gradient-worker': at('src/cli/gradient-worker.node.ts') } }),
  ]);
}

/** Names of the npm packages that went into a bundle: the package needs their licence notices. */
function bundledPackages(results) {
  const names = new Set();
  for (const { metafile } of results) {
    for (const file of Object.keys(metafile.inputs)) {
      const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(file)?.[1];
      if (name !== undefined) names.add(name);
    }
  }
  return [...names].toSorted();
}

/** Builds everything; answers the names of the npm packages whose code is now in dist/. */
export async function buildAll() {
  mkdirSync(at('dist'), { recursive: true });
  for (const binary of ['core.wasm', 'relaxed.wasm']) {
    if (!existsSync(at('assembly', binary))) throw new Error(`assembly/${binary} is missing: run npm run build:assembly`);
  }
  await buildWasmModules();
  const results = [await buildTfjs(), ...(await buildEntries())];
  return bundledPackages(results);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildAll();
