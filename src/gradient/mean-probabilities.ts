/** What several networks answer to the same inputs, as one: the mean of their softmax probabilities, added up in f64 and in their order. */
import { elementary, type Elementary } from '../core/elementary.ts';
import type { Core } from '../core/core.ts';
import { predictedClass } from './predictions.ts';

export class MeanProbabilities {
  readonly #functions: Pick<Elementary, 'exp' | 'log'>;
  readonly #classes: number;
  /** [labels, classes]: sums of the members' probabilities. */
  readonly #sums: Float64Array;
  readonly #powers: Float64Array;
  #members = 0;

  /** @param labels of the inputs together, each a row of `classes` scores. */
  constructor(core: Core, labels: number, classes: number) {
    this.#functions = elementary(core);
    this.#classes = classes;
    this.#sums = new Float64Array(labels * classes);
    this.#powers = new Float64Array(classes);
  }

  /** One more network: takes its scores [labels, classes], which come in pieces and in order. */
  member(): (scores: Float32Array) => void {
    this.#members++;
    let at = 0;
    return (scores) => {
      for (let from = 0; from < scores.length; from += this.#classes, at += this.#classes) {
        this.#addSoftmax(scores.subarray(from, from + this.#classes), at);
      }
    };
  }

  #addSoftmax(scores: Float32Array, at: number): void {
    const { exp } = this.#functions;
    const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    let sum = 0;
    for (const [c, score] of scores.entries()) {
      const power = exp(score - largest);
      this.#powers[c] = power;
      sum += power;
    }
    for (const [c, power] of this.#powers.entries()) this.#sums[at + c] = (this.#sums[at + c] as number) + power / sum;
  }

  /** Σ over the labels of −log of the label's mean probability, infinite where no member gives it any, and how many have the largest. */
  score(labels: Int32Array): { readonly lossSum: number; readonly correct: number } {
    let lossSum = 0, correct = 0;
    for (const [row, label] of labels.entries()) {
      const sums = this.#sums.subarray(row * this.#classes, (row + 1) * this.#classes);
      lossSum -= this.#functions.log((sums[label] as number) / this.#members);
      if (predictedClass(sums) === label) correct++;
    }
    return { lossSum, correct };
  }
}
