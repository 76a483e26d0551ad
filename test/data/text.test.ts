/** Text as tokens: against code points spelled out by hand, chunk borders, what is refused. */
import { describe, expect, test } from 'vitest';
import { characterVocabulary, splitTokens, tokensFromCharacters } from '../../src/data/text.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('characters', () => {
  test('are numbered by code point, also beyond the basic plane', () => {
    const vocabulary = characterVocabulary('v', utf8('b\u{1f600}aé\na'));
    expect(vocabulary).toEqual([0x0a, 0x61, 0x62, 0xe9, 0x1f600]);
    expect([...tokensFromCharacters('t', utf8('a\u{1f600}b\né'), vocabulary)]).toEqual([1, 4, 2, 0, 3]);
  });

  test('across the borders of chunks are whole, and a byte order mark is none', () => {
    const text = `${'a'.repeat(65_535)}é${'b'.repeat(65_534)}\u{1f600}a`;
    const vocabulary = characterVocabulary('v', utf8('éab\u{1f600}'));
    const tokens = tokensFromCharacters('t', utf8(`\u{feff}${text}`), vocabulary);
    const expected = [...text].map((character) => vocabulary.indexOf(character.codePointAt(0) as number));
    expect(Buffer.compare(Buffer.from(tokens), Buffer.from(expected))).toBe(0);
  });

  test('take two bytes where there are more than 256', () => {
    const all = String.fromCodePoint(...Array.from({ length: 300 }, (_, i) => 0x4e00 + i));
    const tokens = tokensFromCharacters('t', utf8(all), characterVocabulary('v', utf8(all)));
    expect(tokens).toEqual(Uint16Array.from({ length: 300 }, (_, i) => i));
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

test('the last tenth is the test part', () => {
  const { train, test: held } = splitTokens(Uint8Array.from({ length: 25 }, (_, i) => i));
  expect([train.length, [...held]]).toEqual([23, [23, 24]]);
});
