/** scipy's linear_sum_assignment, open beside the measured process, so that runs can be interleaved. */
import { PythonPeer } from './python-peer.ts';

export interface ScipyAnswer {
  readonly milliseconds: number;
  readonly objective: number;
}

export class Scipy {
  readonly #peer: PythonPeer;

  private constructor(peer: PythonPeer) {
    this.#peer = peer;
  }

  get versions(): Readonly<Record<string, string>> {
    return this.#peer.versions;
  }

  /** Undefined where there is no scipy. */
  static async open(): Promise<Scipy | undefined> {
    const peer = await PythonPeer.open('scipy_assignment.py');
    return peer && new Scipy(peer);
  }

  /** Solves the little-endian f32 matrix of a file, maximising. */
  solve(path: string, rows: number, columns: number, repetitions: number): Promise<ScipyAnswer> {
    return this.#peer.ask(path, rows, columns, repetitions);
  }

  /** Optimal sums of matrices that lie one after the other in a file of little-endian f64. */
  optima(path: string, shapes: readonly (readonly [number, number])[]): Promise<number[]> {
    return this.#peer.ask('many', path, JSON.stringify(shapes));
  }

  close(): void {
    this.#peer.close();
  }
}

export const scipyIsMissing = 'skipped: no scipy (apt-get install python3-scipy, or PYTHON=/path/to/python3)';
