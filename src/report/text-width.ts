/**
 * How wide a text may come out in a picture whose font is the reader's: never narrower than in DejaVu Sans, the usual one of Linux and
 * the widest of those that `system-ui` stands for (a line that fits 904 px in Helvetica takes 938 in it).
 */

/** Advances in em, rounded up by group; every other character counts as a whole em. */
const advances: readonly (readonly [number, string])[] = [
  [0.34, " ',./\\:;|·IJijl"],
  [0.42, '!()[]-frt'],
  [0.56, '"*?_`Lcsz'],
  [0.64, '$0123456789EFPSTY{}abdeghknopquvxy'],
  [0.79, '&ABCDGHKNOQRUVXZ'],
];
const emOf = new Map(advances.flatMap(([em, characters]) => [...characters].map((character) => [character, em] as const)));
const BOLD = 1.2;

/** An upper bound of the width of one line, in the unit of `fontSize`. */
export function textWidth(text: string, fontSize: number, weight: 'normal' | 'bold' = 'normal'): number {
  let em = 0;
  for (const character of text) em += emOf.get(character) ?? 1;
  return em * fontSize * (weight === 'bold' ? BOLD : 1);
}

/** The text in lines of at most `width`, broken at spaces; a word that is wider by itself has a line of its own. */
export function wrapText(text: string, width: number, fontSize: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1) ?? ''} ${word}`;
    if (lines.length > 0 && textWidth(longer, fontSize) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}
