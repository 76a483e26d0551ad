/** Tables aligned by terminal cells. */
import { describe, expect, it } from 'vitest';
import { formatTable } from '../../src/report/table.ts';
import { displayWidth } from '../../src/report/text.ts';

describe('table', () => {
  it('aligns columns by terminal cells', () => {
    const text = formatTable([{ title: 'method' }, { title: 'before, %', align: 'right' }], [['Naive', '42.3'], ['転移', '8']]);
    expect(text).toBe(
      '  method  before, %\n' + //
        '  ─────────────────\n' +
        '  Naive        42.3\n' +
        '  転移            8\n',
    );
  });

  it('styles after aligning, so that escape sequences cost no width', () => {
    const text = formatTable([{ title: 'a', align: 'right' }, { title: 'b', align: 'right' }], [['1', '22']], {
      style: (cell, row) => (row === 0 ? `<${cell}>` : cell),
    });
    expect(text.split('\n')[2]).toBe('  <1>  <22>');
  });

  it('takes rows that are short, empty tables and no trailing blanks', () => {
    const text = formatTable([{ title: 'name' }, { title: 'note' }], [['x'], ['longer', 'y']]);
    for (const line of text.split('\n')) expect(line).toBe(line.trimEnd());
    expect(formatTable([{ title: 'name' }], [])).toBe('  name\n  ────\n');
    expect(displayWidth(text.split('\n')[1] as string)).toBe(2 + 6 + 2 + 4);
  });
});
