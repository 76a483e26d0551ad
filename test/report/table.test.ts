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

  it('in a narrow terminal wraps titles, and then makes lines of rows', () => {
    const columns = [
      { title: 'method' },
      { title: 'gradient FLOP', align: 'right' },
      { title: 'held-out accuracy, %', align: 'right' },
    ] as const;
    const rows = [['FGMT', '5.2 G', '94.8'], ['GMT', '30 G', '']];
    expect(formatTable(columns, rows, { width: 80 })).toBe(formatTable(columns, rows));
    expect(formatTable(columns, rows, { width: 40 })).toBe(
      '                     held-out\n' + //
        '          gradient  accuracy,\n' +
        '  method      FLOP          %\n' +
        '  ───────────────────────────\n' +
        '  FGMT       5.2 G       94.8\n' +
        '  GMT         30 G\n',
    );
    expect(formatTable(columns, rows, { width: 28, style: (cell, row, column) => (row === 0 && column === 1 ? `<${cell}>` : cell) })).toBe(
      '  method  FGMT\n    gradient FLOP  <5.2 G>\n    held-out accuracy, %  94.8\n  method  GMT\n    gradient FLOP  30 G\n',
    );
  });

  it('takes rows that are short, empty tables and no trailing blanks', () => {
    const text = formatTable([{ title: 'name' }, { title: 'note' }], [['x'], ['longer', 'y']]);
    for (const line of text.split('\n')) expect(line).toBe(line.trimEnd());
    expect(formatTable([{ title: 'name' }], [])).toBe('  name\n  ────\n');
    expect(displayWidth(text.split('\n')[1] as string)).toBe(2 + 6 + 2 + 4);
  });
});

it('a wrapped column takes what the others leave, and a block has its cell whole', () => {
  const columns = [{ title: 'group' }, { title: 'units', align: 'right' }, { title: 'carried by', wrapAt: 40 }] as const;
  const carried = 'encoder.weight[0] encoder.bias[0] norm.weight[0] norm.bias[0]';
  const rows = [['encoder', '256', carried], ['middle', '8', 'middle.weight[0]']];
  expect(formatTable(columns, rows)).toBe(
    [
      '  group    units  carried by',
      `  ${'─'.repeat(49)}`,
      '  encoder    256  encoder.weight[0] encoder.bias[0]',
      '                  norm.weight[0] norm.bias[0]',
      '  middle       8  middle.weight[0]', '',
    ].join('\n'),
  );
  expect(formatTable(columns, rows, { width: 44 }).split('\n').slice(2, 7)).toEqual([
    '  encoder    256  encoder.weight[0]',
    '                  encoder.bias[0]',
    '                  norm.weight[0]',
    '                  norm.bias[0]',
    '  middle       8  middle.weight[0]',
  ]);
  expect(formatTable(columns, rows, { width: 30 }).split('\n').slice(0, 5)).toEqual([
    '  group  encoder', '    units  256', '    carried by', '      encoder.weight[0]', '      encoder.bias[0]',
  ]);
});
