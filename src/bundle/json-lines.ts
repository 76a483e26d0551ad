/**
 * Labelled token sequences as JSON Lines: UTF-8, `{"tokens":[101,2054,102],"label":1}` a line, or with the names that Hugging Face's
 * tokenisers and data sets have, `input_ids` and `labels`. Other members are passed over.
 */
import { describe } from '../core/describe.ts';
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { requireBytes, requireMembers } from '../core/require.ts';
import { formNames, SequenceCollector, type SequenceForm, type SequenceSet } from '../data/sequence-set.ts';
import { decodeUtf8, type JsonObject, type JsonValue, parseJsonObject } from './json.ts';

export interface JsonLinesFields extends SequenceForm {
  readonly bytes: Uint8Array;
}

const fieldNames: OptionNames<JsonLinesFields> = { ...formNames, bytes: true };

/** What a stranger's file may take of memory that its bytes alone do not bound. */
export interface JsonLinesCaps {
  /** Sequences. */
  readonly lines: number;
  /** Tokens in all, each of four bytes. */
  readonly tokens: number;
  /** JSON values of any kind in one line, those that are passed over too: an empty object takes two bytes of it and 144 of memory. */
  readonly lineValues: number;
}

const [LINE_FEED, CARRIAGE_RETURN, COMMA] = [0x0a, 0x0d, 0x2c];

/**
 * The sequences of such a file, in its order; every message names the line. A line feed may end the last line, and a byte order mark
 * may begin the first.
 * @throws MalformedFileError for a line that is empty, not UTF-8, no object or without tokens; InvalidArgumentError as `sequenceSet`;
 *   LimitError beyond `limits.textFileBytes`, or for a line of too many values.
 */
export function sequenceSetFromJsonLines(fields: JsonLinesFields): SequenceSet {
  requireMembers('fields', fields, ['name', 'bytes', 'length']);
  requireOptions('sequenceSetFromJsonLines', fields, fieldNames);
  requireBytes('bytes', fields.bytes);
  return cappedSequences(fields, { lines: Infinity, tokens: Infinity, lineValues: limits.jsonValues });
}

/** The same under caps, which are held before the memory that they are about is taken. @throws LimitError */
export function cappedSequences(fields: JsonLinesFields, caps: JsonLinesCaps): SequenceSet {
  const { name, bytes } = fields;
  if (bytes.length > limits.textFileBytes)
    throw new LimitError({ field: name, expected: `at most ${limits.textFileBytes} bytes`, got: `${bytes.length}` });
  const [lines, commas] = counts(bytes);
  if (lines > caps.lines) throw new LimitError({ field: name, expected: `at most ${caps.lines} lines`, got: `${lines}` });
  // A comma stands between every two tokens.
  const collector = new SequenceCollector(fields, commas + lines, lines, caps.tokens);
  for (let from = beginsWithMark(bytes) ? MARK.length : 0, number = 1; from < bytes.length; number++) {
    const feed = bytes.indexOf(LINE_FEED, from);
    const end = feed < 0 ? bytes.length : feed;
    const field = `${name}, line ${number}`;
    if (end === from || (end === from + 1 && bytes[from] === CARRIAGE_RETURN))
      throw new MalformedFileError({ field, expected: 'an object', got: 'an empty line' });
    // Numbers of texts that stand beside the tokens may have 64 bits.
    const line = parseJsonObject(
      decodeUtf8(field, bytes.subarray(from, end)), { field, roundedIntegers: true, maximumValues: caps.lineValues },
    );
    const [tokens, label] = [member(field, line, 'tokens', 'input_ids'), member(field, line, 'label', 'labels')];
    if (!Array.isArray(tokens.value))
      throw new MalformedFileError({ field: tokens.field, expected: 'a list of numbers', got: describe(tokens.value) });
    collector.add(tokens.field, tokens.value, label.field, label.value);
    from = end + 1;
  }
  return collector.set();
}

/** A member by either of its names. @throws MalformedFileError for both. */
function member(
  field: string, line: JsonObject, name: string, otherName: string,
): { readonly field: string; readonly value: JsonValue | undefined } {
  const [value, other] = [line[name], line[otherName]];
  if (value !== undefined && other !== undefined)
    throw new MalformedFileError({ field, expected: `${name} or ${otherName}`, got: 'both' });
  return other === undefined ? { field: `${field}: ${name}`, value } : { field: `${field}: ${otherName}`, value: other };
}

/** What Windows' editors put before UTF-8. */
const MARK = [0xef, 0xbb, 0xbf];

function beginsWithMark(bytes: Uint8Array): boolean {
  return MARK.every((byte, i) => bytes[i] === byte);
}

/** Lines, and commas in them. */
function counts(bytes: Uint8Array): readonly [lines: number, commas: number] {
  let [feeds, commas] = [0, 0];
  for (const byte of bytes) {
    if (byte === LINE_FEED) feeds += 1;
    else if (byte === COMMA) commas += 1;
  }
  return [bytes.at(-1) === LINE_FEED ? feeds : feeds + 1, commas];
}
