/**
 * A Python script of bench/peers/ in a child process that stays open: a request a line, a JSON answer a line, its first
 * line what versions it runs. Started before the measured process holds much: a fork leaves all of its memory to be
 * written by page faults, which took 110 of an MLP 512's 600 ms when the peer was started anew for every run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export class PythonPeer {
  /** What the script says of itself. */
  readonly versions: Readonly<Record<string, string>>;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, versions: Readonly<Record<string, string>>) {
    this.#child = child;
    this.#lines = lines;
    this.versions = versions;
  }

  /**
   * Starts Debian's Python (`PYTHON` overrides it), one thread; undefined where it lacks what the script imports.
   * @param quiet says nothing of why.
   */
  static async open(script: string, env: Readonly<Record<string, string>> = {}, quiet = true): Promise<PythonPeer | undefined> {
    const child = spawn(process.env['PYTHON'] ?? '/usr/bin/python3', [join('bench', 'peers', script)], {
      stdio: ['pipe', 'pipe', quiet ? 'ignore' : 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1', ...env },
    });
    child.on('error', () => undefined);
    const lines = createInterface({ input: child.stdout as NonNullable<ChildProcess['stdout']> })[Symbol.asyncIterator]();
    const first = await lines.next();
    return first.done === true ? undefined : new PythonPeer(child, lines, JSON.parse(first.value) as Record<string, string>);
  }

  /** The answer to one request, whose words the script splits at tabs. */
  async ask<T>(...words: readonly (string | number)[]): Promise<T> {
    this.#child.stdin?.write(`${words.join('\t')}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error(`the Python peer ended at ${words.join(' ')}`);
    return JSON.parse(line.value) as T;
  }

  close(): void {
    this.#child.stdin?.end();
  }
}
