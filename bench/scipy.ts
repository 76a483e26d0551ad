/** scipy's linear_sum_assignment in a child process that stays open, so that runs can be interleaved. */
import { type ChildProcess, spawn } from 'node:child_process';
import { type Interface, createInterface } from 'node:readline';
import { join } from 'node:path';

export interface ScipyAnswer {
  readonly milliseconds: number;
  readonly objective: number;
}

export class Scipy {
  readonly versions: Record<string, string>;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, versions: Record<string, string>) {
    this.#child = child;
    this.#lines = lines;
    this.versions = versions;
  }

  /** Starts Debian's Python (`PYTHON` overrides it); undefined when it has no scipy. */
  static async open(): Promise<Scipy | undefined> {
    const script = join(process.cwd(), 'bench', 'peers', 'scipy_assignment.py');
    const threads = { OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' };
    const child = spawn(process.env['PYTHON'] ?? '/usr/bin/python3', [script], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, ...threads },
    });
    child.on('error', () => undefined);
    const reader: Interface = createInterface({ input: child.stdout });
    const lines = reader[Symbol.asyncIterator]();
    const first = await lines.next();
    return first.done === true ? undefined : new Scipy(child, lines, JSON.parse(first.value) as Record<string, string>);
  }

  /** Solves the little-endian f32 matrix of a file, maximising. */
  async solve(path: string, rows: number, columns: number, repetitions: number): Promise<ScipyAnswer> {
    this.#child.stdin?.write(`${path}\t${rows}\t${columns}\t${repetitions}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('scipy has ended');
    return JSON.parse(line.value) as ScipyAnswer;
  }

  /** Optimal sums of matrices that lie one after the other in a file of little-endian f64. */
  async optima(path: string, shapes: readonly (readonly [number, number])[]): Promise<number[]> {
    this.#child.stdin?.write(`many\t${path}\t${JSON.stringify(shapes)}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('scipy has ended');
    return JSON.parse(line.value) as number[];
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

export const scipyIsMissing = 'skipped: no scipy (apt-get install python3-scipy, or PYTHON=/path/to/python3)';
