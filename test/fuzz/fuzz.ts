/**
 * npm run -s fuzz -- [--n 100000] [--seed 1] [--target NAME]… [--json]
 * Feeds every parser n damaged files. A crash, an untyped error or an input that is not settled within ten seconds
 * fails; the line names target, seed and input, which reproduce it.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { formatTable } from '../../src/report/table.ts';
import { type FuzzResult, runTarget } from './run-target.ts';
import { targets } from './targets.ts';

const HANG_MS = 10_000;

interface Job {
  readonly name: string;
  readonly n: number;
  readonly seed: number;
  /** Number of the input being parsed. */
  readonly progress: SharedArrayBuffer;
}

type Line = FuzzResult & { readonly pass: boolean; readonly hang?: number };

async function work({ name, n, seed, progress }: Job): Promise<void> {
  const counter = new Int32Array(progress);
  const target = targets.find((candidate) => candidate.name === name);
  if (target === undefined) throw new Error(`no target ${name}`);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port, not a window
  parentPort?.postMessage(await runTarget(target, n, seed, (input) => Atomics.store(counter, 0, input + 1)));
}

/** In a thread of its own, so that one that loops can be ended. */
function supervise(name: string, n: number, seed: number): Promise<Line> {
  const progress = new SharedArrayBuffer(4);
  const counter = new Int32Array(progress);
  const job: Job = { name, n, seed, progress };
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: job });
  const fault = (input: number, error: string, hang?: number): Line => ({
    target: name,
    n,
    seed,
    accepted: 0,
    rejected: 0,
    untyped: 1,
    firstFault: { input, error },
    slowestMs: 0,
    pass: false,
    ...(hang === undefined ? {} : { hang }),
  });
  return new Promise((resolve) => {
    let last = -1;
    const watchdog = setInterval(() => {
      const now = Atomics.load(counter, 0);
      if (now === last && now > 0) settle(fault(now - 1, `not settled within ${HANG_MS} ms`, now - 1));
      last = now;
    }, HANG_MS);
    const settle = (line: Line): void => {
      clearInterval(watchdog);
      void worker.terminate();
      resolve(line);
    };
    worker.once('message', (result: FuzzResult) => settle({ ...result, pass: result.untyped === 0 }));
    worker.once('error', (error) => settle(fault(Atomics.load(counter, 0) - 1, String(error))));
    worker.once('exit', (code) => settle(fault(Atomics.load(counter, 0) - 1, `the thread ended with status ${code}`)));
  });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      n: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      target: { type: 'string', multiple: true },
      json: { type: 'boolean', default: false },
    },
  });
  const names = values.target ?? targets.map(({ name }) => name);
  const lines: Line[] = [];
  for (const name of names) {
    const line = await supervise(name, Number(values.n), Number(values.seed));
    lines.push(line);
    if (values.json) console.log(JSON.stringify(line));
  }
  if (!values.json) {
    const titles = ['target', 'inputs', 'accepted', 'typed errors', 'faults', 'slowest ms'];
    const rows = lines.map(({ target, n, accepted, rejected, untyped, slowestMs }) => [
      target,
      ...[n, accepted, rejected, untyped, slowestMs].map(String),
    ]);
    process.stdout.write(formatTable(titles.map((title, i) => ({ title, align: i === 0 ? ('left' as const) : ('right' as const) })), rows));
    for (const { target, seed, firstFault } of lines)
      if (firstFault !== undefined) console.log(`${target}, seed ${seed}, input ${firstFault.input}: ${firstFault.error}`);
  }
  return lines.every(({ pass }) => pass) ? 0 : 1;
}

if (isMainThread) process.exitCode = await main();
else await work(workerData as Job);
