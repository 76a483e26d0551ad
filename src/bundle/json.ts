/**
 * A strict JSON parser for headers written by strangers. `JSON.parse` keeps the last of two equal keys, rounds
 * integers above 2^53, and gives `{}` an Object.prototype; each of those lets two readers see two files in one.
 * Here: duplicate keys (after unescaping) are errors, integers are exact, objects have no prototype, depth and number of values are capped.
 */
import { describe } from '../core/describe.ts';
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** Without a prototype, so that `__proto__` or `constructor` are keys like any other. */
export interface JsonObject {
  readonly [key: string]: JsonValue | undefined;
}

interface JsonOptions {
  /** What the text is called in errors, e.g. `trajectory.json`. */
  readonly field: string;
  /** Nesting of arrays and objects; default `MAXIMUM_DEPTH`. */
  readonly maximumDepth?: number;
  /** Values of any kind, within one another or not; default `limits.jsonValues`. */
  readonly maximumValues?: number;
  /** Refuse numbers with a fraction, an exponent or a minus zero: `16.0` is not an offset. */
  readonly integersOnly?: boolean;
  /** Take integers that a double does not hold exactly, rounded: where strangers' numbers stand beside those that are read. */
  readonly roundedIntegers?: boolean;
}

export const MAXIMUM_DEPTH = 64;

/** RFC 8259's number grammar, anchored where the parser stands. */
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
/** Everything of a string up to the next quote, escape or control character. */
// eslint-disable-next-line no-control-regex
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t',
};

/**
 * UTF-8 bytes to text; overlong forms, surrogates and a byte order mark are errors.
 * @throws MalformedFileError
 */
export function decodeUtf8(field: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new MalformedFileError({ field, expected: 'UTF-8', got: 'bytes that are not', cause });
  }
}

/** @throws MalformedFileError, LimitError naming the character at fault. */
export function parseJson(text: string, options: JsonOptions): JsonValue {
  const parser = new Parser(text, options);
  return parser.document();
}

/** As `parseJson`, and the document must be an object. */
export function parseJsonObject(text: string, options: JsonOptions): JsonObject {
  const value = parseJson(text, options);
  if (!isJsonObject(value)) throw new MalformedFileError({ field: options.field, expected: 'an object', got: describe(value) });
  return value;
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

class Parser {
  readonly #text: string;
  readonly #field: string;
  readonly #maximumDepth: number;
  readonly #maximumValues: number;
  readonly #integersOnly: boolean;
  readonly #roundedIntegers: boolean;
  #at = 0;
  #values = 0;

  constructor(text: string, options: JsonOptions) {
    this.#text = text;
    this.#field = options.field;
    this.#maximumDepth = options.maximumDepth ?? MAXIMUM_DEPTH;
    this.#maximumValues = options.maximumValues ?? limits.jsonValues;
    this.#integersOnly = options.integersOnly ?? false;
    this.#roundedIntegers = options.roundedIntegers ?? false;
  }

  document(): JsonValue {
    const value = this.#value(0);
    this.#skipSpace();
    if (this.#at < this.#text.length) this.#fail('the end of the text');
    return value;
  }

  #fail(expected: string): never {
    const got = this.#at < this.#text.length ? describe(this.#text.slice(this.#at, this.#at + 12)) : 'the end of the text';
    throw new MalformedFileError({ field: this.#field, expected: `${expected} at character ${this.#at}`, got });
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #value(depth: number): JsonValue {
    if (++this.#values > this.#maximumValues)
      throw new LimitError({ field: this.#field, expected: `at most ${this.#maximumValues} values`, got: 'more' });
    this.#skipSpace();
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(this.#deeper(depth));
      case '[':
        return this.#array(this.#deeper(depth));
      case '"':
        return this.#string();
      case 't':
        return this.#word('true', true);
      case 'f':
        return this.#word('false', false);
      case 'n':
        return this.#word('null', null);
      default:
        return this.#number();
    }
  }

  #deeper(depth: number): number {
    if (depth >= this.#maximumDepth) {
      throw new LimitError({ field: this.#field, expected: `nesting of at most ${this.#maximumDepth}`, got: 'deeper' });
    }
    this.#at++;
    return depth + 1;
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) this.#fail('a JSON value');
    this.#at += word.length;
    return value;
  }

  #number(): number {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) this.#fail('a JSON value');
    const [token, fraction, exponent] = match;
    const value = Number(token);
    if (fraction === undefined && exponent === undefined) {
      // An integer that a double cannot hold exactly would be read as another one.
      const taken = this.#roundedIntegers ? Number.isFinite(value) : Number.isSafeInteger(value);
      if (!taken) this.#fail('an integer of magnitude below 2^53');
      if (this.#integersOnly && Object.is(value, -0)) this.#fail('an integer');
    } else if (this.#integersOnly) {
      this.#fail('an integer');
    } else if (!Number.isFinite(value)) {
      this.#fail('a number that a double can hold');
    }
    this.#at += token.length;
    return value;
  }

  #string(): string {
    this.#at++;
    let result = '';
    for (;;) {
      PLAIN.lastIndex = this.#at;
      const plain = (PLAIN.exec(this.#text) as RegExpExecArray)[0];
      result += plain;
      this.#at += plain.length;
      const next = this.#text[this.#at];
      if (next === '"') {
        this.#at++;
        break;
      }
      if (next !== '\\') this.#fail('a closing quote');
      result += this.#escape();
    }
    if (!isWellFormed(result)) {
      throw new MalformedFileError({
        field: this.#field,
        expected: `a string without lone surrogates before character ${this.#at}`,
        got: describe(result),
      });
    }
    return result;
  }

  #escape(): string {
    const letter = this.#text[this.#at + 1] ?? '';
    if (letter !== 'u') {
      const simple = Object.hasOwn(SIMPLE_ESCAPES, letter) ? SIMPLE_ESCAPES[letter] : undefined;
      if (simple === undefined) this.#fail('a known escape');
      this.#at += 2;
      return simple;
    }
    const digits = this.#text.slice(this.#at + 2, this.#at + 6);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.#fail('four hexadecimal digits after \\u');
    this.#at += 6;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  #array(depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    this.#skipSpace();
    if (this.#text[this.#at] === ']') {
      this.#at++;
      return items;
    }
    for (;;) {
      items.push(this.#value(depth));
      this.#skipSpace();
      const next = this.#text[this.#at];
      if (next !== ',' && next !== ']') this.#fail("',' or ']'");
      this.#at++;
      if (next === ']') return items;
    }
  }

  #object(depth: number): JsonObject {
    const object: Record<string, JsonValue> = Object.create(null) as Record<string, JsonValue>;
    this.#skipSpace();
    if (this.#text[this.#at] === '}') {
      this.#at++;
      return object;
    }
    for (;;) {
      this.#skipSpace();
      if (this.#text[this.#at] !== '"') this.#fail('a key in quotes');
      const key = this.#string();
      if (key in object) {
        throw new MalformedFileError({ field: this.#field, expected: 'keys that occur once', got: `${describe(key)} twice` });
      }
      this.#skipSpace();
      if (this.#text[this.#at] !== ':') this.#fail("':'");
      this.#at++;
      object[key] = this.#value(depth);
      this.#skipSpace();
      const next = this.#text[this.#at];
      if (next !== ',' && next !== '}') this.#fail("',' or '}'");
      this.#at++;
      if (next === '}') return object;
    }
  }
}

/**
 * JSON text, one blank an indent, as `JSON.stringify(value, null, 1)` prints it but for integers from 2^53: these get an
 * exponent, because the parser refuses digits that a double may not hold exactly.
 */
export function printJson(value: unknown, indent = ''): string {
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) return value.toExponential();
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const inner = `${indent} `;
  const [open, close, members] = Array.isArray(value)
    ? ['[', ']', value.map((item) => printJson(item, inner))]
    : [
        '{',
        '}',
        Object.entries(value)
          .filter(([, item]) => item !== undefined)
          .map(([key, item]) => `${JSON.stringify(key)}: ${printJson(item, inner)}`),
      ];
  return members.length === 0 ? `${open}${close}` : `${open}\n${inner}${members.join(`,\n${inner}`)}\n${indent}${close}`;
}

/** Whether a text has no lone surrogates. By hand: String.prototype.isWellFormed is younger than the oldest ECMAScript we compile for. */
export function isWellFormed(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0xd800 || code > 0xdfff) continue;
    const next = text.charCodeAt(i + 1);
    if (code > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return false;
    i++;
  }
  return true;
}
