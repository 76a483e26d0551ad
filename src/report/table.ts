/** Text tables with aligned columns, from plain strings. */
import { displayWidth } from './text.ts';

export interface Column {
  readonly title: string;
  /** Default: `left`. Numbers want `right`. */
  readonly align?: 'left' | 'right';
}

interface TableOptions {
  /** Styles a finished cell (padding included), e.g. with colour. `row` −1 is the header. Must not change its width. */
  readonly style?: (cell: string, row: number, column: number) => string;
  /** What stands before every line. Default: two blanks. */
  readonly indent?: string;
}

/**
 * Header, rule and one line a row, each ending in a newline.
 * A row shorter than `columns` is filled with blanks; columns are as wide as their widest cell in terminal cells.
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  options: TableOptions = {},
): string {
  const { style = (cell: string) => cell, indent = '  ' } = options;
  const widths = columns.map(({ title }, c) =>
    rows.reduce((widest, row) => Math.max(widest, displayWidth(row[c] ?? '')), displayWidth(title)),
  );
  const line = (cells: readonly string[], row: number): string => {
    const padded = columns.map(({ align = 'left' }, c) => {
      const cell = cells[c] ?? '';
      const blanks = ' '.repeat((widths[c] as number) - displayWidth(cell));
      // No blanks after the last left-aligned cell: they would wrap in narrow terminals and clutter diffs.
      if (align === 'right') return style(blanks + cell, row, c);
      return style(c === columns.length - 1 ? cell : cell + blanks, row, c);
    });
    return `${indent}${padded.join('  ')}`.trimEnd();
  };
  const total = widths.reduce((sum, width) => sum + width, 0) + 2 * Math.max(0, columns.length - 1);
  const lines = [
    line(
      columns.map(({ title }) => title),
      -1,
    ),
    `${indent}${'─'.repeat(total)}`,
    ...rows.map((row, r) => line(row, r)),
  ];
  return `${lines.join('\n')}\n`;
}
