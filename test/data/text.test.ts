/** Text as tokens, and windows of these: against code points and tokens spelled out by hand, chunk borders, what is refused. */
import { describe, expect, test } from 'vitest';
import { makeBatch } from '../../src/data/data-set.ts';
import { tokenSet, tokensFromBytes } from '../../src/data/token-set.ts';
import { characterVocabulary, splitTokens, tokensFromCharacters } from '../../src/data/text.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('characters', () => {
  test('are numbered by code point, also beyond the basic plane', () => {
    const vocabulary = characterVocabulary('v', utf8('b\u{1f600}aé\na'));
    expect(vocabulary).toEqual([0x0a, 0x61, 0x62, 0xe9, 0x1f600]);
    expect([...tokensFromCharacters('t', utf8('a\u{1f600}b\né'), vocabulary)]).toEqual([1, 4, 2, 0, 3]);
  });

  // The mark's three bytes move what follows behind the borders: without it both characters lie across one.
  test.each(['', '\u{feff}'])('across the borders of chunks are whole, and a byte order mark is none: %j', (mark) => {
    const text = `${'a'.repeat(65_535)}é${'b'.repeat(65_534)}\u{1f600}a`;
    const vocabulary = characterVocabulary('v', utf8('éab\u{1f600}'));
    const tokens = tokensFromCharacters('t', utf8(`${mark}${text}`), vocabulary);
    const expected = [...text].map((character) => vocabulary.indexOf(character.codePointAt(0) as number));
    expect(Buffer.compare(Buffer.from(tokens), Buffer.from(expected))).toBe(0);
  });

  test.each([256, 257])('take two bytes where there are more than 256: %i', (length) => {
    const all = String.fromCodePoint(...Array.from({ length }, (_, i) => 0x4e00 + i));
    const tokens = tokensFromCharacters('t', utf8(all), characterVocabulary('v', utf8(all)));
    const numbers = Array.from({ length }, (_, i) => i);
    expect(tokens).toEqual(length > 256 ? Uint16Array.from(numbers) : Uint8Array.from(numbers));
  });

  test('that are strange, bytes that are no text and an empty vocabulary are refused', () => {
    expect(() => tokensFromCharacters('t', utf8('abc'), characterVocabulary('v', utf8('ab')))).toThrow(
      /t, character 2: expected one of the 2 characters of the vocabulary, got "c" \(U\+0063\)/,
    );
    expect(() => characterVocabulary('v', Uint8Array.of(97, 0xff))).toThrow(/v: expected UTF-8, got other bytes between 0 and 2/);
    expect(() => characterVocabulary('v', Uint8Array.of(97, 0xc3))).toThrow(/expected UTF-8/);
    expect(() => characterVocabulary('v', new Uint8Array(0))).toThrow(/at least one character/);
  });
});

describe('a token set', () => {
  test('has the windows whose last token has one behind it, labels one further', () => {
    const set = tokenSet({ name: 't', tokens: Uint8Array.from({ length: 12 }, (_, i) => 10 + i), length: 4 });
    // The twelfth token is the label of none: the third window would need a thirteenth.
    expect(set.count).toBe(2);
    const { inputs, labels } = makeBatch(set, [1, 0]);
    expect([[...inputs], [...labels]]).toEqual([[14, 15, 16, 17, 10, 11, 12, 13], [15, 16, 17, 18, 11, 12, 13, 14]]);
    expect(tokenSet({ name: 't', tokens: new Uint8Array(13), length: 4 }).count).toBe(3);
    expect(() => makeBatch(set, [2])).toThrow(/rows\[0\]/);
    expect(() => tokenSet({ name: 't', tokens: Uint8Array.of(1, 2), length: 2 })).toThrow(/at least 3 tokens/);
    expect(() => tokenSet({ name: 't', tokens: Uint8Array.of(1, 2, 3), length: 2, vocabulary: 3 })).toThrow(/t\.tokens\[2\]/);
  });

  test('of u16 is read little-endian wherever its bytes begin', () => {
    const bytes = Uint8Array.of(9, 1, 2, 0xff, 0x80).subarray(1);
    expect(tokensFromBytes(bytes, 16)).toEqual(Uint16Array.of(0x0201, 0x80ff));
    expect(tokensFromBytes(bytes, 8)).toBe(bytes);
    expect(() => tokensFromBytes(bytes.subarray(1), 16)).toThrow(/two bytes a token/);
  });
});

test('the last tenth is the test part', () => {
  const { train, test: held } = splitTokens(Uint8Array.from({ length: 25 }, (_, i) => i));
  expect([train.length, [...held]]).toEqual([23, [23, 24]]);
});
