/** Widths, cutting and units of text; control characters defused. */
import { describe, expect, it } from 'vitest';
import {
  displayWidth, formatBytes, formatCount, formatDuration, formatInteger, formatPercent, formatQuantity, printable, truncate, wrapWords,
} from '../../src/report/text.ts';

describe('text', () => {
  it('counts terminal cells, not code units', () => {
    expect(displayWidth('GMT')).toBe(3);
    expect(displayWidth('e\u0301')).toBe(1);
    expect(displayWidth('転移')).toBe(4);
    expect(displayWidth('🎯')).toBe(2);
    expect(displayWidth('')).toBe(0);
  });

  it('cuts at whole characters and says so', () => {
    expect(truncate('abcdef', 6)).toBe('abcdef');
    expect(truncate('abcdefg', 6)).toBe('abcde…');
    expect(truncate('転移学習', 5)).toBe('転移…');
    expect(truncate('転移学習', 4)).toBe('転…');
    expect(truncate('abc', 0)).toBe('');
  });

  it('wraps at blanks, counting cells, and leaves a word that is too long whole', () => {
    expect(wrapWords('one two three', 7)).toEqual(['one two', 'three']);
    expect(wrapWords('転移 学習 a', 7)).toEqual(['転移', '学習 a']);
    expect(wrapWords('a unbreakable b', 5)).toEqual(['a', 'unbreakable', 'b']);
    expect(wrapWords('', 5)).toEqual([]);
  });

  it('defuses control characters of untrusted names', () => {
    expect(printable('a\u001b[31mb\r\nc\u202e')).toBe('a\ufffd[31mb\ufffd\ufffdc\ufffd');
    expect(printable('convs.0.weight → ü')).toBe('convs.0.weight → ü');
  });

  it('writes numbers with units', () => {
    expect([0, 1, 2345].map((n) => formatCount(n, 'assignment'))).toEqual(['0 assignments', '1 assignment', '2,345 assignments']);
    expect(formatPercent(0.8342)).toBe('83.4');
    expect([0, 1, 1023, 1024, 1536, 150 * 1024, 3 * 2 ** 30].map(formatBytes)).toEqual([
      '0 bytes', '1 byte', '1023 bytes', '1.0 KiB', '1.5 KiB', '150 KiB', '3.0 GiB',
    ]);
    expect([0, 999, 1000, -1234567].map(formatInteger)).toEqual(['0', '999', '1,000', '-1,234,567']);
    expect([7, 1260, 15.5e9, 155e9].map(formatQuantity)).toEqual(['7', '1.26 k', '15.5 G', '155 G']);
    expect([0.83, 850, 12_340, 99_960, 125_000, 12_000_000].map(formatDuration)).toEqual([
      '0.8 ms', '850 ms', '12.3 s', '1 min 40 s', '2 min 05 s', '3 h 20 min',
    ]);
  });
});
