/** Widths of text against the advances of a real font. */
import { describe, expect, it } from 'vitest';
import { textWidth, wrapText } from '../../src/report/text-width.ts';
import { characters, dejaVuWidth } from './dejavu.ts';

describe('text width', () => {
  it.each(['normal', 'bold'] as const)('is at least that of every character in DejaVu Sans, %s', (weight) => {
    const tooNarrow = characters.filter((character) => textWidth(character, 10, weight) < dejaVuWidth(character, 10, weight));
    expect(tooNarrow).toEqual([]);
  });

  it('is not far above it', () => {
    const text = 'Test accuracy, never chosen on. From scratch: v2 trained on the new task.';
    expect(textWidth(text, 12) / dejaVuWidth(text, 12)).toBeLessThan(1.1);
  });

  it('counts what it does not know as a whole em, once a code point', () => {
    expect(textWidth('界😀', 10)).toBe(20);
  });
});

describe('wrapping', () => {
  it('breaks at spaces, fills lines as far as they go, and loses nothing', () => {
    const text = 'one two three four five six seven';
    const lines = wrapText(text, textWidth('one two three', 12), 12);
    expect(lines).toEqual(['one two three', 'four five six', 'seven']);
    expect(wrapText(text, 1e4, 12)).toEqual([text]);
  });

  it('gives a word that is too wide a line of its own', () => {
    expect(wrapText('a incomprehensible b', 30, 12)).toEqual(['a', 'incomprehensible', 'b']);
    expect(wrapText('', 30, 12)).toEqual(['']);
  });
});
