/** Text tables with aligned columns, from plain strings. */
import { displayWidth, wrapWords } from './text.ts';

export interface Column {
  readonly title: string;
  /** Default: `left`. Numbers want `right`. */
  readonly align?: 'left' | 'right';
  /** Cells are wrapped at so many cells of a line, or what the other columns leave of it. */
  readonly wrapAt?: number;
}

/** A wrapped column narrower than this is no column any more. */
const NARROWEST = 24;

export interface TableOptions {
  /** Styles a finished cell (padding included), e.g. with colour. `row` −1 is the header. Must not change its width. */
  readonly style?: (cell: string, row: number, column: number) => string;
  /** What stands before every line. Default: two blanks. */
  readonly indent?: string;
  /**
   * Cells of a line. Default: as many as it takes. Where there are too few, titles are wrapped; where that does not do,
   * each row becomes lines of its own.
   */
  readonly width?: number;
}

/**
 * Header, rule and one line a row, each ending in a newline; where `width` is too little for that, a line a cell.
 * A row shorter than `columns` is filled with blanks; columns are as wide as their widest cell in terminal cells.
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  options: TableOptions = {},
): string {
  const { style = (cell: string) => cell, indent = '  ', width = Infinity } = options;
  const taken = (widths: readonly number[]): number => widths.reduce((sum, one) => sum + one, 0) + 2 * Math.max(0, columns.length - 1);
  const widest = (texts: readonly string[]): number => Math.max(0, ...texts.map(displayWidth));
  const room = width - displayWidth(indent);
  const widestCell = (c: number): number => rows.reduce((most, row) => Math.max(most, displayWidth(row[c] ?? '')), 0);
  const others = columns.map(({ title, wrapAt }, c) => (wrapAt === undefined ? Math.max(widest(title.split(' ')), widestCell(c)) : 0));
  const left = room - taken(others);
  const lines = rows.flatMap((row, r) => wrappedRow(columns, row, left).map((cells) => ({ cells, row: r })));
  const cellWidths = columns.map((_, c) => lines.reduce((most, { cells }) => Math.max(most, displayWidth(cells[c] ?? '')), 0));
  const widthsWith = (titles: readonly (readonly string[])[]): number[] =>
    titles.map((parts, c) => Math.max(widest(parts), cellWidths[c] as number));
  let titles = columns.map(({ title }) => [title]);
  if (taken(widthsWith(titles)) > room) {
    titles = columns.map(({ title }, c) => wrapWords(title, Math.max(cellWidths[c] as number, widest(title.split(' ')))));
    if (taken(widthsWith(titles)) > room) return stacked(columns, rows, room, { style, indent });
  }
  const widths = widthsWith(titles);
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
  const height = Math.max(...titles.map(({ length }) => length));
  const texts = [
    // Titles end where cells begin.
    ...Array.from({ length: height }, (_, i) => line(titles.map((title) => title[i - height + title.length] ?? ''), -1)),
    `${indent}${'─'.repeat(taken(widths))}`,
    ...lines.map(({ cells, row }) => line(cells, row)),
  ];
  return `${texts.join('\n')}\n`;
}

/** A row in as many lines as its wrapped cells take. @param left what the other columns leave of a line. */
function wrappedRow(columns: readonly Column[], row: readonly string[], left: number): readonly (readonly string[])[] {
  const cells = columns.map(({ wrapAt }, c) =>
    wrapAt === undefined ? [row[c] ?? ''] : wrapWords(row[c] ?? '', Math.max(NARROWEST, Math.min(wrapAt, left))),
  );
  return Array.from({ length: Math.max(1, ...cells.map(({ length }) => length)) }, (_, i) => cells.map((lines) => lines[i] ?? ''));
}

/** A block a row: its first cell, below it the others that hold something, each behind its title. */
function stacked(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  room: number,
  { style, indent }: Required<Pick<TableOptions, 'style' | 'indent'>>,
): string {
  const blocks = rows.map((row, r) =>
    columns.flatMap(({ title, wrapAt }, c) => {
      const cell = row[c] ?? '';
      if (cell === '' && c > 0) return [];
      if (wrapAt !== undefined)
        return [
          `${indent}${indent}${title}`,
          ...wrapWords(cell, room - 2 * indent.length).map((part) => `${indent.repeat(3)}${style(part, r, c)}`),
        ];
      return [`${indent}${c === 0 ? '' : indent}${title}${title === '' ? '' : '  '}${style(cell, r, c)}`.trimEnd()];
    }),
  );
  return `${blocks.flat().join('\n')}\n`;
}
