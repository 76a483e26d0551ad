/** Token numbers of a text, cut into windows of equal length: the data of a language model, which learns each next token. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireBytes, requireInteger, requireMembers } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { room, type Batch } from './batch.ts';

/** Row r is the window of `length` tokens from r · `length` on; its labels are the tokens one further. */
export interface TokenSet {
  readonly name: string;
  readonly tokens: Uint8Array | Uint16Array;
  /** Windows. */
  readonly count: number;
  /** Tokens of a window. */
  readonly length: number;
  /** Tokens there are: the classes that a label is one of. */
  readonly classes: number;
}

export interface TokenSetFields {
  readonly name: string;
  /** The token numbers of a text, in their order. */
  readonly tokens: Uint8Array | Uint16Array;
  /** Tokens of a window. */
  readonly length: number;
  /** Tokens there are; default 256 of bytes, 65,536 of two bytes each. */
  readonly vocabulary?: number;
}

const fieldNames: OptionNames<TokenSetFields> = { name: true, tokens: true, length: true, vocabulary: true };

/**
 * A checked token set: as many whole windows as there are, with a label behind the last.
 * @throws InvalidArgumentError where there is not one window, or a token is not below the vocabulary.
 */
export function tokenSet(fields: TokenSetFields): TokenSet {
  requireMembers('fields', fields, ['name', 'tokens', 'length']);
  requireOptions('tokenSet', fields, fieldNames);
  return tokenSetOf(fields, `${fields.name}.tokens`);
}

/** The same of tokens that messages call `field`. */
export function tokenSetOf(fields: TokenSetFields, field: string): TokenSet {
  const { name, tokens } = fields;
  const length = requireInteger(`${name}.length`, fields.length, 1, 65_536);
  const classes = requireInteger(`${name}.vocabulary`, fields.vocabulary ?? (tokens instanceof Uint8Array ? 256 : 65_536), 1, 65_536);
  const count = Math.floor((tokens.length - 1) / length);
  if (count < 1) {
    throw new InvalidArgumentError({
      field,
      expected: `at least ${length + 1} tokens, a window and a label`,
      got: `${tokens.length}`,
    });
  }
  const wrong = tokens.findIndex((token) => token >= classes);
  if (wrong >= 0) {
    throw new InvalidArgumentError({ field: `${field}[${wrong}]`, expected: `a token below ${classes}`, got: `${tokens[wrong]}` });
  }
  return { name, tokens, count, length, classes };
}

/**
 * Tokens of a raw file: bytes as they are, or u16 little-endian (as GPT-2's are commonly stored). @throws
 * InvalidArgumentError for an odd length.
 */
export function tokensFromBytes(bytes: Uint8Array, width: 8 | 16): Uint8Array | Uint16Array {
  requireBytes('tokens', bytes);
  if (width === 8) return bytes;
  if (bytes.length % 2 !== 0)
    throw new InvalidArgumentError({ field: 'tokens', expected: 'two bytes a token', got: describe(bytes.length) });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
}

/**
 * The windows of these rows with their labels.
 * @param into as of `makeImageBatch`.
 * @throws InvalidArgumentError for no rows or one out of range.
 */
export function makeTokenBatch(set: TokenSet, rows: Int32Array | readonly number[], into?: Batch): Batch {
  if (rows.length === 0) throw new InvalidArgumentError({ field: 'rows', expected: 'at least one row', got: 'none' });
  const { length, tokens } = set;
  const inputs = new Int32Array(...room(rows.length * length, into?.inputs));
  const labels = new Int32Array(...room(rows.length * length, into?.labels));
  for (const [i, row] of rows.entries()) {
    requireInteger(`rows[${i}]`, row, 0, set.count - 1);
    inputs.set(tokens.subarray(row * length, (row + 1) * length), i * length);
    labels.set(tokens.subarray(row * length + 1, (row + 1) * length + 1), i * length);
  }
  return { inputs, labels, count: rows.length };
}
