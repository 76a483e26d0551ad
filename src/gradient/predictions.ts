/** Predicted classes of rows that are evaluated in pieces. */

/** The index of the largest score; the first among equals. */
export function predictedClass(scores: Float32Array | Float64Array): number {
  let best = 0;
  for (let c = 1; c < scores.length; c++) if ((scores[c] as number) > (scores[best] as number)) best = c;
  return best;
}

export class Predictions {
  /** The predicted class of each label, in the order of rows. */
  readonly classes: Int32Array;
  readonly #count: number;
  #filled = 0;

  /** @param rows of them all. */
  constructor(network: { readonly labelsPerInput: number; readonly classes: number }, rows: number) {
    this.classes = new Int32Array(rows * network.labelsPerInput);
    this.#count = network.classes;
  }

  /** Of the next scores [labels, classes] the predicted class of each row. */
  readonly take = (scores: Float32Array): void => {
    for (let from = 0; from < scores.length; from += this.#count) {
      this.classes[this.#filled++] = predictedClass(scores.subarray(from, from + this.#count));
    }
  };

  /** The next ones, found elsewhere. */
  add(classes: Int32Array): void {
    this.classes.set(classes, this.#filled);
    this.#filled += classes.length;
  }
}

/** Share of labels for which two of the members predict other classes, 0..1, mean over all pairs; 0 of a single one. */
export function disagreement(members: readonly Predictions[]): number {
  let differ = 0, compared = 0;
  for (const [i, { classes: first }] of members.entries()) {
    for (const { classes: second } of members.slice(i + 1)) {
      for (const [label, predicted] of first.entries()) if (second[label] !== predicted) differ++;
      compared += first.length;
    }
  }
  return compared === 0 ? 0 : differ / compared;
}
