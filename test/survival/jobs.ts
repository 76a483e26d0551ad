// Two short jobs of the command line to be killed and broken: a training, and a transfer that builds on its gradient history.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { build } from 'esbuild';
import { decodeResumePoint } from '../../src/index.ts';
import { jsonLines, root, writeImageFolder } from '../cli/fixtures.ts';
import type { Plan } from './child.ts';

export interface Job {
  readonly name: 'train' | 'transfer';
  readonly argv: readonly string[];
  /** What it writes; the first has the resume points beside it. */
  readonly outputs: readonly string[];
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly events: readonly Record<string, unknown>[];
  readonly stderr: string;
  readonly elapsedMs: number;
}

const small = ['train', '--widths', '24', '--batch-size', '16', '--epochs', '3'];
export const jobs: readonly Job[] = [
  {
    name: 'train',
    argv: [
      'train', '--data', 'before', '--widths', '48', '--batch-size', '16', '--epochs', '24', '--optimiser', 'adamw',
      '--checkpoint-iterations', '5,20', '--out', 'out.zip', '--final', 'out.safetensors', '--json',
    ],
    outputs: ['out.zip', 'out.safetensors'],
  },
  {
    name: 'transfer',
    argv: [
      'transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'after', '--method', 'fgmt', '--steps', '24', '--batch-size',
      '16', '--out', 'ported.safetensors', '--record', 'record.json', '--json',
    ],
    outputs: ['ported.safetensors', 'record.json'],
  },
];

/** A folder with everything that the jobs read. */
export class Workshop implements Disposable {
  readonly directory: string;
  readonly #child: string;
  readonly #inputs: Set<string>;
  readonly #expected: ReadonlyMap<string, string>;

  private constructor(child: string, inputs: Set<string>, expected: ReadonlyMap<string, string>, directory: string) {
    this.#child = child;
    this.#inputs = inputs;
    this.#expected = expected;
    this.directory = directory;
  }

  static async open(): Promise<Workshop> {
    const directory = mkdtempSync(join(tmpdir(), 'trajport-survival-'));
    const child = await buildChild();
    const expected = new Map<string, string>();
    const shop = new Workshop(child, new Set(), expected, directory);
    writeImageFolder(join(directory, 'before'));
    writeImageFolder(join(directory, 'after'), { shift: 2 });
    const made = [
      [...small, '--data', 'before', '--final', 'v1.safetensors'],
      [...small, '--data', 'before', '--seed', '2', '--final', 'v2.safetensors'],
      [...small, '--data', 'after', '--seed', '3', '--initial', 'v1.safetensors', '--out', 'tune.zip'],
    ];
    for (const argv of made) await shop.mustRun(argv);
    for (const name of readdirSync(directory)) shop.#inputs.add(name);
    // What an uninterrupted run makes, without resume points at all.
    for (const job of jobs) {
      await shop.mustRun([...job.argv, '--resume', 'off']);
      for (const output of job.outputs) expected.set(output, shop.#sha256(output));
      shop.clear();
    }
    return shop;
  }

  /** Runs the CLI in a process of its own; `killAfterMs` sends SIGKILL from outside. */
  run(argv: readonly string[], plan: Plan = {}, killAfterMs?: number): Promise<Ended> {
    const started = performance.now();
    const child = spawn(process.execPath, [this.#child, JSON.stringify(plan), ...argv], {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        clearTimeout(timer);
        // A killed process may have been cut off in the middle of a line.
        const whole = stdout.slice(0, stdout.lastIndexOf('\n') + 1);
        resolve({
          code,
          signal,
          stderr,
          elapsedMs: performance.now() - started,
          events: whole === '' ? [] : jsonLines(whole.replaceAll(/^[^{].*\n/gm, '')),
        });
      });
    });
  }

  async mustRun(argv: readonly string[]): Promise<Ended> {
    const ended = await this.run(argv);
    if (ended.code !== 0) throw new Error(`${argv.join(' ')} ended with ${ended.code}: ${ended.stderr}`);
    return ended;
  }

  /** How far the newest whole point of a job is (0 without one). @throws Error for anything torn, wrong or unexpected. */
  async examine(job: Job): Promise<number> {
    for (const output of job.outputs) {
      if (existsSync(join(this.directory, output)) && this.#sha256(output) !== this.#expected.get(output))
        throw new Error(`${output} is torn or differs`);
    }
    const points = [`${job.outputs[0]}.resume`, `${job.outputs[0]}.resume.previous`];
    let done = 0;
    for (const name of points) {
      if (existsSync(join(this.directory, name)))
        done = Math.max(done, (await decodeResumePoint(readFileSync(join(this.directory, name)), undefined)).done);
    }
    const allowed = [...job.outputs, ...points, ...job.outputs.map((output) => `${output}.lock`)];
    for (const name of readdirSync(this.directory)) {
      if (!this.#inputs.has(name) && !allowed.includes(name) && !/^\..*\.tmp$/.test(name)) throw new Error(`${name} was left behind`);
    }
    return done;
  }

  /** @throws Error unless everything is written, right, and nothing else is left. */
  requireFinished(job: Job): void {
    const left = readdirSync(this.directory).filter((name) => !this.#inputs.has(name)).toSorted();
    if (left.join() !== [...job.outputs].toSorted().join()) throw new Error(`left ${left.join(', ')}`);
    this.requireOutputs(job);
  }

  /** @throws Error unless every output has the bytes of an uninterrupted run. */
  requireOutputs(job: Job): void {
    for (const output of job.outputs)
      if (this.#sha256(output) !== this.#expected.get(output)) throw new Error(`${output} differs from that of an uninterrupted run`);
  }

  expectedSha256(job: Job): string {
    return this.#expected.get(job.outputs[0] as string) as string;
  }

  /** Back to the inputs alone. */
  clear(): void {
    for (const name of readdirSync(this.directory)) if (!this.#inputs.has(name)) rmSync(join(this.directory, name), { recursive: true });
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
    rmSync(this.#child, { force: true });
  }

  #sha256(name: string): string {
    return createHash('sha256').update(readFileSync(join(this.directory, name))).digest('hex');
  }
}

/** One file of JavaScript, so that a process starts as fast as the built command line. */
async function buildChild(): Promise<string> {
  const folder = join(root, 'build', 'run');
  mkdirSync(folder, { recursive: true });
  const outfile = join(folder, `survival-child-${process.pid}.mjs`);
  await build({
    absWorkingDir: root, entryPoints: [join(root, 'test', 'survival', 'child.ts')], outfile, bundle: true, format: 'esm', platform: 'node',
    target: 'node20', packages: 'external', external: ['#wasm', '#tfjs'], logLevel: 'warning',
  });
  return outfile;
}
