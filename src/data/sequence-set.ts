/** Labelled sequences of token numbers: the data of a network that tells which class a text is of. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { requireInteger, requireList, requireMembers } from '../core/require.ts';
import { room, type Batch } from './batch.ts';

/** Labelled texts as token numbers. */
export interface SequenceSet {
  readonly name: string;
  /** Token numbers, one sequence behind the other. */
  readonly sequences: Int32Array;
  /** [count + 1]: sequence r lies from starts[r] to starts[r + 1]. */
  readonly starts: Int32Array;
  /** [count], each below `classes`. */
  readonly labels: Uint8Array;
  readonly count: number;
  /** Tokens of an input, up to which `padding` fills shorter sequences. */
  readonly length: number;
  /** The token that does; without it every sequence has `length` tokens. */
  readonly padding?: number;
  /** Tokens there are. */
  readonly vocabulary: number;
  readonly classes: number;
}

/** What sequences are held against. */
export interface SequenceForm {
  readonly name: string;
  /** Tokens of an input of the network: no sequence may have more. */
  readonly length: number;
  /** The network's padding; without it every sequence must have `length` tokens. */
  readonly padding?: number;
  /** Tokens there are; default: the largest and one. */
  readonly vocabulary?: number;
  /** Default: the largest label and one. */
  readonly classes?: number;
}

export interface SequenceSetFields extends SequenceForm {
  /** Token numbers of each. */
  readonly sequences: readonly ArrayLike<number>[];
  /** [count] */
  readonly labels: ArrayLike<number>;
}

export const formNames: OptionNames<SequenceForm> = { name: true, length: true, padding: true, vocabulary: true, classes: true };
const fieldNames: OptionNames<SequenceSetFields> = { ...formNames, sequences: true, labels: true };

const LARGEST_VOCABULARY = 2 ** 24;

/**
 * A checked set.
 * @throws InvalidArgumentError for no sequences, one that is too long or too short, holds nothing but padding, or has a token or a
 *   label out of range; LimitError for more tokens in all than `limits.tensorElements`.
 */
export function sequenceSet(fields: SequenceSetFields): SequenceSet {
  requireMembers('fields', fields, ['name', 'sequences', 'labels', 'length']);
  requireOptions('sequenceSet', fields, fieldNames);
  const { name, labels } = fields;
  const sequences = requireList(`${name}.sequences`, fields.sequences, requireNumbers);
  requireNumbers(`${name}.labels`, labels);
  if (labels.length !== sequences.length) {
    throw new InvalidArgumentError({ field: `${name}.labels`, expected: `${sequences.length}, one a sequence`, got: `${labels.length}` });
  }
  const tokens = sequences.reduce((sum, sequence) => sum + sequence.length, 0);
  const collector = new SequenceCollector(fields, tokens, sequences.length);
  for (const [i, sequence] of sequences.entries())
    collector.add(`${name}.sequences[${i}]`, sequence, `${name}.labels[${i}]`, labels[i]);
  return collector.set();
}

/** Numbers by place, which are checked one by one. */
function requireNumbers(field: string, value: unknown): ArrayLike<number> {
  if (Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)) return value as unknown as ArrayLike<number>;
  throw new InvalidArgumentError({ field, expected: 'a list of numbers', got: describe(value) });
}

/** Checks sequences one by one, each under a name of its own for messages. */
export class SequenceCollector {
  readonly #form: SequenceForm;
  readonly #tokens: Int32Array;
  readonly #starts: Int32Array;
  readonly #labels: Uint8Array;
  #count = 0;
  #largestToken = 0;
  #largestLabel = 0;

  /**
   * @param tokens as many as all sequences have, or more; `count` likewise of the sequences.
   * @param most tokens that they may have in all.
   * @throws InvalidArgumentError for a form that none is; LimitError for more tokens than 32 bits of `starts` tell apart.
   */
  constructor(form: SequenceForm, tokens: number, count: number, most = Infinity) {
    const { name, length, padding, vocabulary, classes } = form;
    requireInteger(`${name}.length`, length, 1, 65_536);
    if (vocabulary !== undefined) requireInteger(`${name}.vocabulary`, vocabulary, 1, LARGEST_VOCABULARY);
    if (padding !== undefined) requireInteger(`${name}.padding`, padding, 0, (vocabulary ?? LARGEST_VOCABULARY) - 1);
    if (classes !== undefined) requireInteger(`${name}.classes`, classes, 1, limits.classes);
    // None has more than `length`, whatever a file of commas lets expect.
    const capacity = Math.min(tokens, count * length, most);
    if (capacity > limits.tensorElements)
      throw new LimitError({ field: name, expected: `at most ${limits.tensorElements} tokens in all`, got: `${capacity}` });
    this.#form = form;
    this.#tokens = new Int32Array(capacity);
    this.#starts = new Int32Array(count + 1);
    this.#labels = new Uint8Array(count);
  }

  /** @throws InvalidArgumentError as `sequenceSet`; LimitError for more tokens than there may be. */
  add(field: string, tokens: ArrayLike<unknown>, labelField: string, label: unknown): void {
    const { length, padding, vocabulary = LARGEST_VOCABULARY, classes = limits.classes } = this.#form;
    const fits = padding === undefined ? tokens.length === length : tokens.length > 0 && tokens.length <= length;
    if (!fits) {
      throw new InvalidArgumentError({
        field, expected: padding === undefined ? `${length} tokens: there is no padding` : `1 to ${length} tokens`, got: `${tokens.length}`,
      });
    }
    const start = this.#starts[this.#count] as number;
    if (start + tokens.length > this.#tokens.length)
      throw new LimitError({ field, expected: `at most ${this.#tokens.length} tokens in all`, got: 'more' });
    let padded = 0;
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i];
      if (typeof token !== 'number' || !Number.isInteger(token) || token < 0 || token >= vocabulary) {
        throw new InvalidArgumentError({
          field: `${field}[${i}]`, expected: `a token, an integer from 0 to ${vocabulary - 1}`, got: describe(token),
        });
      }
      if (token === padding) padded += 1;
      if (token > this.#largestToken) this.#largestToken = token;
      this.#tokens[start + i] = token;
    }
    if (padded === tokens.length)
      throw new InvalidArgumentError({ field, expected: `a token that is not the padding, ${padding}`, got: 'padding only' });
    if (typeof label !== 'number' || !Number.isInteger(label) || label < 0 || label >= classes)
      throw new InvalidArgumentError({ field: labelField, expected: `a class, an integer from 0 to ${classes - 1}`, got: describe(label) });
    if (label > this.#largestLabel) this.#largestLabel = label;
    this.#labels[this.#count] = label;
    this.#starts[++this.#count] = start + tokens.length;
  }

  /** @throws InvalidArgumentError where there is none. */
  set(): SequenceSet {
    const { name, length, padding, vocabulary, classes } = this.#form;
    const count = this.#count;
    if (count === 0) throw new InvalidArgumentError({ field: name, expected: 'at least one sequence', got: 'none' });
    return {
      name,
      sequences: this.#tokens.slice(0, this.#starts[count]),
      starts: this.#starts.slice(0, count + 1),
      labels: this.#labels.slice(0, count),
      count,
      length,
      ...onlyDefined({ padding }),
      vocabulary: vocabulary ?? Math.max(this.#largestToken, padding ?? 0) + 1,
      classes: classes ?? this.#largestLabel + 1,
    };
  }
}

/** Some rows of a set as one, copied, in the order given. @throws InvalidArgumentError for no rows or one out of range. */
export function selectSequences(set: SequenceSet, rows: Int32Array): SequenceSet {
  if (rows.length === 0) throw new InvalidArgumentError({ field: 'rows', expected: 'at least one row', got: 'none' });
  const starts = new Int32Array(rows.length + 1);
  for (const [i, row] of rows.entries()) {
    requireInteger(`rows[${i}]`, row, 0, set.count - 1);
    starts[i + 1] = (starts[i] as number) + (set.starts[row + 1] as number) - (set.starts[row] as number);
  }
  const sequences = new Int32Array(starts[rows.length] as number);
  for (const [i, row] of rows.entries()) sequences.set(set.sequences.subarray(set.starts[row], set.starts[row + 1]), starts[i]);
  return { ...set, sequences, starts, labels: Uint8Array.from(rows, (row) => set.labels[row] as number), count: rows.length };
}

/**
 * The sequences of these rows with their labels, filled up to one length.
 * @param into as of `makeImageBatch`.
 * @throws InvalidArgumentError for no rows or one out of range.
 */
export function makeSequenceBatch(set: SequenceSet, rows: Int32Array | readonly number[], into?: Batch): Batch {
  if (rows.length === 0) throw new InvalidArgumentError({ field: 'rows', expected: 'at least one row', got: 'none' });
  const { length, padding = 0, sequences, starts } = set;
  const inputs = new Int32Array(...room(rows.length * length, into?.inputs)).fill(padding);
  const labels = new Int32Array(...room(rows.length, into?.labels));
  for (const [i, row] of rows.entries()) {
    requireInteger(`rows[${i}]`, row, 0, set.count - 1);
    inputs.set(sequences.subarray(starts[row], starts[row + 1]), i * length);
    labels[i] = set.labels[row] as number;
  }
  return { inputs, labels, count: rows.length };
}
