/**
 * The strict-SIMD matrix product, NN and NT, 64² to 4096²: against stock tfjs-wasm's NN in the same process and against OpenBLAS
 * held to 128-bit vectors (numpy with OPENBLAS_CORETYPE=Nehalem, one thread); in Deno and Bun as well; split over two threads; and
 * with relaxed SIMD against strict, which has no bar. `npm run -s bench:product -- [--json] [SIZE…] [NN] [NT] [threads] [relaxed]` for
 * some of the rows. Samples are interleaved; a figure is the median of the ratios of a round (two threads: the ratio of the fastest). The
 * exit status is 1 when a bar falls short.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { type Core, openCore } from '../src/core/core.ts';
import { formatTable } from '../src/report/table.ts';
import { hostStatus, openHost, type HostSession } from '../test/hosts/launch.ts';
import { root } from '../test/hosts/root.ts';
import { machine, median, timed } from './measure.ts';
import { operand, type ProductAnswer, type ProductForm, run, timeProduct } from './product-host.ts';
import { PythonPeer } from './python-peer.ts';
import { openStockTfjs } from './stock-tfjs.ts';

const BARS = { stock: 1.2, openblas: 1, deno: 0.8, threads: 1.9 };
const ROUNDS = 5;
/** Rounds at 4096², where one product takes four seconds. */
const LARGE_ROUNDS = 3;
const THREADED_ROUNDS = 9;
/** Large products a round take about this long. */
const SAMPLE_FLOPS = 4e9;
const THREADED_SIZE = 2048;
const RELAXED_SIZE = 1024;
const SIZES = [64, 128, 256, 512, 1024, 2048, 4096];
const FORMS = ['NN', 'NT'] as const;

if (isMainThread) await main();
else await serveHalf();

type Line = { readonly [column: string]: string | number | boolean };

/** Who multiplies: this process, tfjs as it is published, numpy, and the other runtimes. */
interface Peers {
  readonly core: Core;
  readonly stock: Awaited<ReturnType<typeof openStockTfjs>>;
  readonly openblas: PythonPeer;
  readonly runtimes: readonly HostSession[];
}

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const json = words.includes('--json');
  const { sizes, forms, threads, relaxed } = rowsOf(words.filter((word) => !word.startsWith('--')));
  // Before any core is open: Node 20 has relaxed SIMD behind a flag.
  if (relaxed && process.versions.node.startsWith('20.')) setFlagsFromString('--experimental-wasm-relaxed-simd');
  const openblas = await PythonPeer.open('numpy_product.py', { OPENBLAS_CORETYPE: 'Nehalem' });
  if (openblas === undefined) throw new Error('there is no numpy (apt-get install python3-numpy, or PYTHON=/path/to/python3)');
  const { versions } = openblas;
  using core = await openCore();
  const stock = await openStockTfjs();
  const runtimes: HostSession[] = [];
  for (const host of ['deno', 'bun'] as const) {
    if (hostStatus(host).available) runtimes.push(await openHost(host, join(root, 'bench', 'product-host.ts')));
  }
  if (json) {
    const hosts = Object.fromEntries(runtimes.map(({ host, version }) => [host, version]));
    console.log(JSON.stringify({ bench: 'machine', ...machine(), ...versions, ...hosts }));
  }
  const lines: Line[] = [];
  const take = (line: Line): void => {
    lines.push(line);
    if (json) console.log(JSON.stringify(line));
  };
  for (const size of sizes) for (const form of forms) take(await againstPeers({ core, stock, openblas, runtimes }, form, size));
  if (threads) for (const form of forms) take(await twoThreads(form));
  if (relaxed) for (const form of forms) take(await againstStrict(form, runtimes));
  openblas.close();
  for (const runtime of runtimes) await runtime.close();
  process.exitCode = lines.every(({ pass }) => pass !== false) ? 0 : 1;
  if (!json) printTable(lines, versions);
}

/** One form and size: everybody in turn, round after round. */
async function againstPeers({ core, stock, openblas, runtimes }: Peers, form: ProductForm, size: number): Promise<Line> {
  const repetitions = Math.max(1, Math.round(SAMPLE_FLOPS / (2 * size ** 3)));
  const [x, y] = [stock.tensor2d(operand(size, 1), [size, size]), stock.tensor2d(operand(size, 2), [size, size])];
  // Stock multiplies NN whatever the form, as the bars are set.
  const stockMs = (): number => timed(repetitions, () => stock.matMul(x, y).dispose());
  stockMs();
  const names = ['node', 'stock', 'openblas', ...runtimes.map(({ host }) => host)];
  const gflops: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  const book = (name: string, milliseconds: number): void => void gflops[name]?.push((2 * size ** 3) / milliseconds / 1e6);
  const checksums = new Set<number>();
  for (let round = 0; round < (size < 4096 ? ROUNDS : LARGE_ROUNDS); round++) {
    book('stock', stockMs());
    const own = timeProduct(core, form, size, repetitions);
    book('node', own.milliseconds);
    checksums.add(own.checksum);
    book('openblas', (await openblas.ask<{ readonly milliseconds: number }>(form, size, repetitions)).milliseconds);
    for (const runtime of runtimes) {
      const answer = (await runtime.call({ form, size, repetitions })) as ProductAnswer;
      book(runtime.host, answer.milliseconds);
      checksums.add(answer.checksum);
    }
  }
  stock.dispose([x, y]);
  return lineOf(form, size, gflops, checksums.size === 1);
}

/** The ratios of a row, each the median of the rounds', held to the bars. @param gflops of each round, by who multiplied. */
function lineOf(form: ProductForm, size: number, gflops: Readonly<Record<string, readonly number[]>>, sameBytes: boolean): Line {
  const ratio = (over: string, under: string): number =>
    median((gflops[over] ?? []).map((value, round) => value / (gflops[under]?.[round] as number)));
  const { node = [], stock: _stock, openblas: _openblas, ...runtimes } = gflops;
  const against = { stock: ratio('node', 'stock'), openblas: ratio('node', 'openblas') };
  const others = Object.fromEntries(
    Object.keys(runtimes).map((host) => [host, { node: ratio(host, 'node'), openblas: ratio(host, 'openblas') }]),
  );
  const pass =
    against.stock >= BARS.stock &&
    against.openblas >= BARS.openblas &&
    (others['bun']?.openblas ?? BARS.openblas) >= BARS.openblas &&
    (others['deno']?.node ?? BARS.deno) >= BARS.deno &&
    sameBytes;
  return {
    bench: 'product',
    form,
    size,
    gflops: median([...node]),
    againstStock: against.stock,
    againstOpenblas: against.openblas,
    ...Object.fromEntries(
      Object.entries(others).flatMap(([name, other]) => [[`${name}AgainstNode`, other.node], [`${name}AgainstOpenblas`, other.openblas]]),
    ),
    sameBytes,
    pass,
  };
}

function printTable(lines: readonly Line[], versions: Readonly<Record<string, string>>): void {
  console.log(Object.entries({ ...machine(), ...versions }).map(([key, value]) => `${key} ${value}`).join(' · '));
  console.log(
    `Bars: stock tfjs-wasm NN ≥ ${BARS.stock}; OpenBLAS (SSE) ≥ ${BARS.openblas} in Node and Bun; Deno ≥ ${BARS.deno} of Node; two ` +
    `threads ≥ ${BARS.threads}; the same bytes. Relaxed: over strict in Node, Deno, Bun.`,
  );
  const columns = [
    'form', 'size', 'gflops', 'againstStock', 'againstOpenblas', 'denoAgainstNode', 'bunAgainstOpenblas', 'twoThreads', 'relaxed',
    'denoRelaxed', 'bunRelaxed', 'sameBytes', 'pass',
  ];
  const cell = (value: Line[string] | undefined, column: string): string =>
    typeof value === 'number' && column !== 'size' ? value.toFixed(2) : String(value ?? '');
  console.log(
    formatTable(
      columns.map((title) => ({ title, align: 'right' as const })),
      lines.map((line) => columns.map((column) => cell(line[column], column))),
    ),
  );
}

/** Which rows the words ask for: all where there are none; sizes alone, or forms alone, leave the rest as it is. */
function rowsOf(words: readonly string[]) {
  const unknown = words.find((word) => ![...FORMS, 'threads', 'relaxed'].includes(word) && !/^[1-9]\d*$/.test(word));
  if (unknown !== undefined) throw new Error(`no row ${unknown}; there are sizes, NN, NT, threads and relaxed`);
  const given = words.filter((word) => /^\d+$/.test(word)).map(Number);
  const forms = FORMS.filter((form) => words.includes(form));
  const special = words.includes('threads') || words.includes('relaxed');
  const all = given.length === 0 && !special;
  return {
    sizes: all ? SIZES : given,
    forms: forms.length > 0 ? forms : FORMS,
    threads: all || words.includes('threads'),
    relaxed: all || words.includes('relaxed'),
  };
}

/** Relaxed SIMD over strict, in each runtime that has it; `sameBytes` says whether they happen to agree here. */
async function againstStrict(
  form: ProductForm,
  runtimes: readonly HostSession[],
): Promise<Line> {
  const size = RELAXED_SIZE;
  const ask = { form, size, repetitions: Math.max(1, Math.round(SAMPLE_FLOPS / (2 * size ** 3))) };
  const here = { host: 'node', call: (input: unknown) => run(input as Parameters<typeof run>[0]) };
  const figures: Record<string, number> = {};
  const checksums = new Set<number>();
  for (const { host, call } of [here, ...runtimes.map((runtime) => ({ host: runtime.host as string, call: runtime.call.bind(runtime) }))]) {
    const ratios: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const [strict, relaxed] = [await call({ ...ask, arithmetic: 'strict' }), await call({ ...ask, arithmetic: 'relaxed' })] as [
        ProductAnswer,
        ProductAnswer,
      ];
      ratios.push(strict.milliseconds / relaxed.milliseconds);
      for (const { checksum } of [strict, relaxed]) checksums.add(checksum);
    }
    figures[host === 'node' ? 'relaxed' : `${host}Relaxed`] = median(ratios);
  }
  return { bench: 'product', form, size, ...figures, sameBytes: checksums.size === 1 };
}

/**
 * Columns split over two workers with a core each, wall time against one worker with all of them. Columns, because a block of B is
 * packed once for its columns, and by both where rows are split.
 */
async function twoThreads(form: ProductForm): Promise<Line> {
  const size = THREADED_SIZE;
  const workers = [0, 1].map(() => new Worker(new URL(import.meta.url)));
  const ask = async (worker: Worker, first: number, columns: number): Promise<Float32Array> => {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port, not a window
    worker.postMessage({ form, size, first, columns });
    // Rejects where the worker fails.
    const [part] = (await once(worker, 'message')) as [Float32Array];
    return part;
  };
  const wall = async (jobs: () => Promise<Float32Array[]>): Promise<{ ms: number; parts: Float32Array[] }> => {
    const start = performance.now();
    const parts = await jobs();
    return { ms: performance.now() - start, parts };
  };
  const [one, two] = workers as [Worker, Worker];
  const alone = () => wall(async () => [await ask(one, 0, size)]);
  const together = () => wall(() => Promise.all([ask(one, 0, size / 2), ask(two, size / 2, size / 2)]));
  // Whole once in both, so that both have compiled and hold their operands.
  await Promise.all([ask(one, 0, size), ask(two, 0, size)]);
  await together();
  const rounds = [];
  for (let round = 0; round < THREADED_ROUNDS; round++) rounds.push({ whole: await alone(), halves: await together() });
  const sameBytes = rounds.every(({ whole, halves }) => sameColumns(whole.parts[0] as Float32Array, halves.parts, size));
  await Promise.all(workers.map((worker) => worker.terminate()));
  // Wall time, so the fastest of each: what another process takes only slows, and two threads twice as often.
  const ratio = Math.min(...rounds.map(({ whole }) => whole.ms)) / Math.min(...rounds.map(({ halves }) => halves.ms));
  const twoThreadsMedian = median(rounds.map(({ whole, halves }) => whole.ms / halves.ms));
  return { bench: 'product', form, size, twoThreads: ratio, twoThreadsMedian, sameBytes, pass: ratio >= BARS.threads && sameBytes };
}

/** Whether the halves [size, size / 2] stand side by side in the whole [size, size], to the last bit. */
function sameColumns(whole: Float32Array, halves: readonly Float32Array[], size: number): boolean {
  return halves.every((half, h) => half.every((value, at) => {
    const [row, column] = [Math.floor(at / (size / 2)), at % (size / 2)];
    return Object.is(value, whole[row * size + h * (size / 2) + column]);
  }));
}

/** A worker: keeps A and B on its heap and answers with columns of C. */
async function serveHalf(): Promise<void> {
  const { matmul } = await import('../src/core/matmul.ts');
  const core = await openCore();
  const held = new Map<number, { a: number; b: number; c: number }>();
  parentPort?.on('message', ({ form, size, first, columns }: { form: ProductForm; size: number; first: number; columns: number }) => {
    let pointers = held.get(size);
    if (pointers === undefined) {
      const [a, b, c] = [0, 1, 2].map((index) => core.allocate(4 * size * size, `operand ${index}`)) as [number, number, number];
      core.f32(a, size * size).set(operand(size, 1));
      core.f32(b, size * size).set(operand(size, 2));
      pointers = { a, b, c };
      held.set(size, pointers);
    }
    const { a, b, c } = pointers;
    const transposeB = form === 'NT';
    matmul(core, { a, b: b + 4 * first * (transposeB ? size : 1), c, m: size, n: columns, k: size, transposeB, ldb: size });
    const part = core.f32(c, size * columns).slice();
    // Handed over, not copied: a copy in the main thread would be the same for one worker and for two.
    parentPort?.postMessage(part, [part.buffer]);
  });
}
