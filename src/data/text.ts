/** Text as token numbers: bytes as they are, or characters by their place in a vocabulary. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError, MalformedFileError } from '../core/errors.ts';

/** Code points in ascending order: the token of one is its place. */
type CharacterVocabulary = readonly number[];

/** Tokens are kept in two bytes. */
const LARGEST_VOCABULARY = 65_536;

/** Decoded at once; a text of any length takes no more memory than its tokens. */
const CHUNK_BYTES = 65_536;

/**
 * The characters that occur in a UTF-8 text, a byte order mark aside.
 * @throws MalformedFileError for what is not UTF-8; InvalidArgumentError for an empty text; LimitError beyond 65,536.
 */
export function characterVocabulary(name: string, text: Uint8Array): CharacterVocabulary {
  const seen = new Set<number>();
  for (const codePoint of codePoints(name, text)) seen.add(codePoint);
  if (seen.size === 0) throw new InvalidArgumentError({ field: name, expected: 'at least one character', got: 'an empty text' });
  if (seen.size > LARGEST_VOCABULARY)
    throw new LimitError({ field: name, expected: `at most ${LARGEST_VOCABULARY} different characters`, got: `${seen.size}` });
  return [...seen].toSorted((a, b) => a - b);
}

/**
 * A UTF-8 text as one token a character (code point); one byte each where the vocabulary has at most 256.
 * @throws MalformedFileError for what is not UTF-8; InvalidArgumentError naming the first character that is not in the vocabulary.
 */
export function tokensFromCharacters(name: string, text: Uint8Array, vocabulary: CharacterVocabulary): Uint8Array | Uint16Array {
  const numbers = new Map(vocabulary.map((codePoint, number) => [codePoint, number]));
  const tokens = vocabulary.length <= 256 ? new Uint8Array(text.length) : new Uint16Array(text.length);
  let count = 0;
  for (const codePoint of codePoints(name, text)) {
    const number = numbers.get(codePoint);
    if (number === undefined) {
      throw new InvalidArgumentError({
        field: `${name}, character ${count}`,
        expected: `one of the ${vocabulary.length} characters of the vocabulary`,
        got: `${describe(String.fromCodePoint(codePoint))} (U+${codePoint.toString(16).toUpperCase().padStart(4, '0')})`,
      });
    }
    tokens[count++] = number;
  }
  return tokens.slice(0, count);
}

function* codePoints(name: string, text: Uint8Array): Generator<number> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for (let from = 0; from < text.length; from += CHUNK_BYTES) {
    const chunk = text.subarray(from, from + CHUNK_BYTES);
    let decoded: string;
    try {
      decoded = decoder.decode(chunk, { stream: from + CHUNK_BYTES < text.length });
    } catch {
      throw new MalformedFileError({ field: name, expected: 'UTF-8', got: `other bytes between ${from} and ${from + chunk.length}` });
    }
    for (const character of decoded) yield character.codePointAt(0) as number;
  }
}

/** Share of a text in one piece that is its test part: the end of it. */
const TEST_SHARE = 0.1;

/** The first nine tenths and the last, in one piece each, so that no window of one part lies beside another of the other. */
export function splitTokens<T extends Uint8Array | Uint16Array>(tokens: T): { readonly train: T; readonly test: T } {
  const at = tokens.length - Math.floor(tokens.length * TEST_SHARE);
  return { train: tokens.subarray(0, at) as T, test: tokens.subarray(at) as T };
}
