/** PyTorch in a child process that stays open (`graph-reference.py`): what a network computes, in f64. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import type { GraphJob } from './graph-checks.ts';

export interface Truth {
  readonly loss: number;
  /** In evaluation mode. */
  readonly scores: readonly number[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
  /** The largest error of a tensor's gradient, as `largestError` has it, that f32 causes: measured, not bounded. */
  readonly rounding: number;
  /** The same of the scores, or of the loss. */
  readonly valueRounding: number;
}

export class Torch {
  readonly version: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, version: string) {
    this.#child = child;
    this.#lines = lines;
    this.version = version;
  }

  /** Starts Debian's Python (`PYTHON` overrides it); undefined when it has no PyTorch. */
  static async open(): Promise<Torch | undefined> {
    const script = join(process.cwd(), 'test', 'fuzz', 'graph-reference.py');
    const child = spawn(process.env['PYTHON'] ?? '/usr/bin/python3', [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    child.on('error', () => undefined);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    return first.done === true ? undefined : new Torch(child, lines, (JSON.parse(first.value) as { torch: string }).torch);
  }

  /** @param draws of rounding, twice as many. */
  async of({ graph, state, batch, loss }: GraphJob, draws: number): Promise<Truth> {
    const tensors = Object.fromEntries(
      [...state.parameters, ...state.buffers].map(([name, { shape, data }]) => [name, [shape, [...data]]]),
    );
    const { count, labels, inputs } = batch;
    const request = { graph, tensors, trained: [...state.parameters.keys()], inputs: [...inputs], labels: [...labels], count, loss, draws };
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('PyTorch has ended');
    return JSON.parse(line.value) as Truth;
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

export const torchIsMissing = 'no PyTorch (apt-get install python3-torch, or PYTHON=/path/to/python3)';
