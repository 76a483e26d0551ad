/** Predicted classes of rows that are evaluated in pieces. */

export class Predictions {
  /** Of each label a row has, in the order of rows. */
  readonly classes: Int32Array;
  readonly #count: number;
  #filled = 0;

  /** @param rows of them all. */
  constructor(network: { readonly labelsPerInput: number; readonly classes: number }, rows: number) {
    this.classes = new Int32Array(rows * network.labelsPerInput);
    this.#count = network.classes;
  }

  /** Of the next scores [labels, classes] the index of the largest of each row; the first among equals. */
  readonly take = (scores: Float32Array): void => {
    for (let from = 0; from < scores.length; from += this.#count) {
      let best = 0;
      for (let c = 1; c < this.#count; c++) if ((scores[from + c] as number) > (scores[from + best] as number)) best = c;
      this.classes[this.#filled++] = best;
    }
  };

  /** The next ones, found elsewhere. */
  add(classes: Int32Array): void {
    this.classes.set(classes, this.#filled);
    this.#filled += classes.length;
  }
}
