// Packs build/package, installs the archive into an empty project as a user would, and uses it there: the same small job
// in Node, Deno and Bun must give one hash, library and fetch handler must get on in one process, the declarations must compile without
// `skipLibCheck`, the command must answer.
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { spawnSync } from 'node:child_process';
import { ensureHosts, root } from './setup.mjs';
import { writePackage } from './package.mjs';

const SMOKE = `
import { generateTaskPair, openCompute, preset, stateSha256, train } from 'trajport';
const compute = await openCompute();
const { before } = generateTaskPair(compute.core, { seed: 1, trainCount: 64, testCount: 16 });
const { channels, height, width, classes, name } = before.train;
const graph = preset('mlp', { input: [channels, height, width], classes, widths: [16] });
const result = await train({ graph, data: before.train, seed: 1, iterations: 3, batchSize: 16, heldOutFraction: 0, compute });
console.log(await stateSha256(graph, result.state));
`;
/** Both doors in one realm: one backend of tfjs, one class of each error, and neither ends what the other can do. */
const BOTH = `
import {
  InvalidArgumentError, closeSharedCompute, generateTaskPair, imageSet, initialise, openBundle, openCompute, parameterLayout, preset,
  stateToSafetensors, train, transfer, writeBundle,
} from 'trajport';
import { createTransferHandler } from 'trajport/edge';
const print = console.log;
for (const level of ['debug', 'info', 'log', 'warn', 'error']) {
  console[level] = (...words) => { throw new Error('console.' + level + ': ' + words); };
}
const expect = (what, got, expected) => { if (got !== expected) throw new Error(what + ': expected ' + expected + ', got ' + got); };
const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [16] });
const choices = { method: 'fgmt', seed: 7, steps: 2, batchSize: 16 };
let target, data, bundle;
{
  const compute = await openCompute();
  const { before } = generateTaskPair(compute.core, { seed: 1, trainCount: 64, testCount: 16 });
  const { name, images, labels, channels, height, width, classes } = before.train;
  // As the handler reads them from IDX files: bytes ÷ 255.
  data = imageSet({ name, images, labels, channels, height, width, classes });
  bundle = await writeBundle(await train({ graph, data, seed: 1, iterations: 3, batchSize: 16, heldOutFraction: 0.25, compute }));
  target = initialise(compute.core, graph, { seed: 2 });
  compute[Symbol.dispose]();
}
const idx = (kind, sizes, bytes) => {
  const file = new Uint8Array(4 + 4 * sizes.length + bytes.length);
  const view = new DataView(file.buffer);
  view.setUint32(0, kind);
  sizes.forEach((size, i) => view.setUint32(4 + 4 * i, size));
  file.set(bytes, 4 + 4 * sizes.length);
  return file;
};
const parts = {
  bundle, target: stateToSafetensors(parameterLayout(graph), target),
  images: idx(0x803, [64, 28, 28], data.images), labels: idx(0x801, [64], data.labels),
};
const handle = createTransferHandler();
const post = () => {
  const body = new FormData();
  for (const [name, bytes] of Object.entries(parts)) body.set(name, new Blob([bytes]));
  body.set('options', JSON.stringify(choices));
  return handle(new Request('http://localhost/', { method: 'POST', body }));
};
const hashOf = (answer) => JSON.parse(answer.headers.get('trajport-record')).sha256;
const ported = hashOf(await post());
const { record } = await transfer({ ...choices, source: await openBundle(bundle), target, data });
expect('weights of the library', record.sha256, ported);
expect('a request beside the shared core', (await post()).status, 503);
await closeSharedCompute();
expect('weights of the next request', hashOf(await post()), ported);
try {
  createTransferHandler({ nope: 1 });
} catch (error) {
  expect('class of the error', error instanceof InvalidArgumentError, true);
  print(ported);
}
`;
const USE = `
import { openBundle, transfer, type TransferResult } from 'trajport';
import { createTransferHandler } from 'trajport/edge';
export const handler: (request: Request) => Promise<Response> = createTransferHandler({ heapLimitBytes: 2 ** 26 });
export async function port(bytes: Uint8Array<ArrayBuffer>, rest: Omit<Parameters<typeof transfer>[0], 'source'>): Promise<TransferResult> {
  return transfer({ source: await openBundle(bytes), ...rest });
}
`;

const failures = [];
const folder = mkdtempSync(join(tmpdir(), 'trajport-package-'));
try {
  const packed = await writePackage();
  // Not before: writePackage installs it where it is missing.
  const { build } = await import('esbuild');
  run('npm', ['pack', '--pack-destination', folder, '--silent'], packed);
  const archive = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', `./${archive}`], folder);
  const installed = readdirSync(join(folder, 'node_modules')).filter((name) => !name.startsWith('.'));
  if (installed.join() !== 'trajport') failures.push(`installed ${installed.join(', ')}, not trajport alone`);

  failures.push(...deadLinks(join(folder, 'node_modules', 'trajport')));

  const scripts = { smoke: SMOKE, both: BOTH };
  // As docs/browser.md says: a bundler needs to be told nothing.
  for (const [name, text] of Object.entries(scripts)) {
    writeFileSync(join(folder, `${name}.mjs`), text);
    await build({
      entryPoints: [join(folder, `${name}.mjs`)],
      bundle: true,
      format: 'esm',
      outfile: join(folder, `${name}-bundled.mjs`),
      logLevel: 'error',
    });
  }
  ensureHosts();
  const modules = join(root, 'test', 'hosts', 'node_modules');
  const arch = process.arch === 'arm64' ? 'aarch64' : process.arch;
  const commands = {
    node: [process.execPath],
    deno: [
      join(modules, '@deno', `${process.platform}-${process.arch}${process.platform === 'linux' ? '-glibc' : ''}`, 'deno'),
      'run',
      '--no-prompt',
    ],
    bun: [join(modules, '@oven', `bun-${process.platform}-${arch}`, 'bin', 'bun')],
  };
  for (const script of Object.keys(scripts)) {
    const hashes = new Set();
    for (const [name, [binary, ...args]] of Object.entries(commands)) {
      for (const file of [`${script}.mjs`, `${script}-bundled.mjs`]) {
        const hash = run(binary, [...args, file], folder)?.trim();
        console.log(`${name} ${file} ${hash}`);
        hashes.add(hash);
      }
    }
    if (hashes.size !== 1 || !/^[0-9a-f]{64}$/.test([...hashes][0] ?? '')) failures.push(`${script}: the runtimes do not agree`);
  }

  writeFileSync(join(folder, 'use.ts'), USE);
  const networks = [...readFileSync(join(root, 'docs', 'networks.md'), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code], i) => {
    writeFileSync(join(folder, `network-${i}.ts`), code);
    return `network-${i}.ts`;
  });
  // As strict as can be; as a normal project is, with no `lib` of its own; and as a server's is, whose types are those of Node alone.
  const common = { noEmit: true, strict: true, skipLibCheck: false, types: [] };
  const projects = [
    {
      target: 'es2023',
      lib: ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable'],
      module: 'esnext',
      moduleResolution: 'bundler',
      exactOptionalPropertyTypes: true,
    },
    { target: 'es2023', lib: ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable'], module: 'nodenext', exactOptionalPropertyTypes: true },
    { target: 'es2022', module: 'nodenext' },
    { target: 'es2022', lib: ['es2022'], module: 'nodenext', types: ['node'], typeRoots: [join(root, 'node_modules', '@types')] },
  ];
  for (const project of projects) {
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: { ...common, ...project }, files: ['use.ts', ...networks] }),
    );
    // The oldest is what docs/dependencies.md promises.
    for (const compiler of ['typescript-oldest', 'typescript']) {
      run(process.execPath, [join(root, 'node_modules', compiler, 'bin', 'tsc'), '-p', '.'], folder);
    }
  }
  run(join(folder, 'node_modules', '.bin', 'trajport'), ['--help'], folder);
  // Of a folder that is installed already only the link is npm's.
  run(join(root, 'build', 'package', 'dist', 'cli.js'), ['--version'], folder);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (failures.length > 0) {
  console.error(failures.join('\n'));
  process.exit(1);
}
console.log('the package installs alone and works');

/** Relative links and files of the package that its documents name and it lacks. */
function deadLinks(installed) {
  const documents = readdirSync(installed, { recursive: true }).filter((name) => name.endsWith('.md'));
  return documents.flatMap((name) => {
    const text = readFileSync(join(installed, name), 'utf8');
    // In code, `solvers['name'](history, …)` is no link.
    const prose = text.replaceAll(/^```[\s\S]*?^```/gm, '');
    const links = [...prose.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, link]) => link).filter((link) => !/^[a-z]+:/.test(link));
    const named = [...text.matchAll(/node_modules\/trajport\/([\w./]+)/g)].map(([, path]) => join(installed, path));
    return [...links.map((link) => join(installed, dirname(name), link)), ...named]
      .filter((path) => !existsSync(path))
      .map((path) => `${name} names ${relative(installed, path)}, which is not in the package`);
  });
}

/** stdout, or undefined after noting the failure. */
function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status === 0) return stdout;
  failures.push(`${[command, ...args].join(' ')} failed:\n${error ?? ''}${stdout ?? ''}${stderr ?? ''}`);
  return undefined;
}
