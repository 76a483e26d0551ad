/** What several networks answer to the same inputs, as one: the mean of their softmax probabilities, added up in f64 and in their order. */
import { elementary, type Elementary } from '../core/elementary.ts';
import type { Core } from '../core/core.ts';
import { predictedClass } from './predictions.ts';

/** Below it a sum of probabilities loses digits, and behind a score 745 beneath the largest it is 0; their logarithms are added instead. */
const SMALLEST_SUM = 1e-300;

export class MeanProbabilities {
  readonly #functions: Pick<Elementary, 'exp' | 'log'>;
  readonly #labels: Int32Array;
  readonly #classes: number;
  /** [labels, classes]: sums of the members' probabilities. */
  readonly #sums: Float64Array;
  readonly #powers: Float64Array;
  /** [labels]: logarithm of the sum of those probabilities of the label that are below `SMALLEST_SUM`. */
  readonly #logs: Float64Array;
  #members = 0;

  /** @param labels of the inputs together, each below `classes` and of a row of as many scores. */
  constructor(core: Core, labels: Int32Array, classes: number) {
    this.#functions = elementary(core);
    this.#labels = labels;
    this.#classes = classes;
    this.#sums = new Float64Array(labels.length * classes);
    this.#powers = new Float64Array(classes);
    this.#logs = new Float64Array(labels.length).fill(-Infinity);
  }

  /** One more network: takes its scores [labels, classes], which come in pieces and in order. */
  member(): (scores: Float32Array) => void {
    this.#members++;
    let row = 0;
    return (scores) => {
      for (let from = 0; from < scores.length; from += this.#classes) this.#addSoftmax(scores.subarray(from, from + this.#classes), row++);
    };
  }

  #addSoftmax(scores: Float32Array, row: number): void {
    const { exp, log } = this.#functions;
    const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    let sum = 0;
    for (const [c, score] of scores.entries()) {
      const power = exp(score - largest);
      this.#powers[c] = power;
      sum += power;
    }
    const at = row * this.#classes;
    for (const [c, power] of this.#powers.entries()) this.#sums[at + c] = (this.#sums[at + c] as number) + power / sum;
    const label = this.#labels[row] as number;
    if ((this.#powers[label] as number) / sum < SMALLEST_SUM)
      this.#logs[row] = this.#logOfSum(this.#logs[row] as number, (scores[label] as number) - largest - log(sum));
  }

  /** log(e^a + e^b), of numbers that have no room as powers. */
  #logOfSum(a: number, b: number): number {
    const [more, less] = a < b ? [b, a] : [a, b];
    if (less === -Infinity) return more;
    return more + this.#functions.log(1 + this.#functions.exp(less - more));
  }

  /**
   * Σ over the labels of −log of the label's mean probability, and for how many labels that is the largest of the row. The sum is
   * infinite where each member's score of a label is −∞, NaN where a score is NaN or +∞.
   */
  score(): { readonly lossSum: number; readonly correct: number } {
    const { log } = this.#functions;
    let lossSum = 0, correct = 0;
    for (const [row, label] of this.#labels.entries()) {
      const sums = this.#sums.subarray(row * this.#classes, (row + 1) * this.#classes);
      const sum = sums[label] as number;
      lossSum -= sum < SMALLEST_SUM ? (this.#logs[row] as number) - log(this.#members) : log(sum / this.#members);
      if (predictedClass(sums) === label) correct++;
    }
    return { lossSum, correct };
  }
}
