/**
 * Patterns of tensor names: `*` stands for one or more characters within a part of the name (no '.' or '/'), `**` for
 * one or more characters of any kind; `$1`, `$2`, … in a template are what they stood for. `$$` is a dollar sign.
 * Not regular expressions: those of a stranger's rule file could take exponential time.
 */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, LimitError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';

type Part = string | { readonly across: boolean };

/** More than any name has parts; bounds the time of a match at wildcards × length. */
const WILDCARDS = 16;

/** Places of all parts, literals between wildcards included, and of what is behind them. A match is synchronous, so one does. */
const scratch = new Uint16Array((2 * WILDCARDS + 2) * (limits.nameLength + 1));

export class NamePattern {
  readonly text: string;
  readonly #parts: readonly Part[];
  /** Number of `*` and `**`. */
  readonly wildcards: number;

  /** @throws LimitError */
  constructor(field: string, text: string) {
    if (text === '' || text.length > limits.nameLength) {
      throw new LimitError({ field, expected: `a pattern of 1 to ${limits.nameLength} characters`, got: `${text.length}` });
    }
    this.text = text;
    this.#parts = text
      .split(/(\*+)/)
      .filter((part) => part !== '')
      .map((part) => (part.startsWith('*') ? { across: part.length > 1 } : part));
    this.wildcards = this.#parts.filter((part) => typeof part !== 'string').length;
    if (this.wildcards > WILDCARDS) throw new LimitError({ field, expected: `at most ${WILDCARDS} wildcards`, got: `${this.wildcards}` });
  }

  /** Elementary steps that `match` takes at most: what a caller of many patterns and names may add up. */
  steps(name: string): number {
    return this.#mayMatch(name) ? this.#parts.length * (name.length + 1) : 1;
  }

  #mayMatch(name: string): boolean {
    const [first] = this.#parts;
    const last = this.#parts.at(-1);
    return (
      name.length <= limits.nameLength &&
      (typeof first !== 'string' || name.startsWith(first)) &&
      (typeof last !== 'string' || name.endsWith(last))
    );
  }

  /**
   * What the wildcards stand for in `name`, the first ones as long as possible; undefined where it does not match. From the last part
   * to the first, each place of the name once: trying one length after another took 1.3 s for 15 wildcards on 1,024 characters.
   */
  match(name: string): readonly string[] | undefined {
    if (!this.#mayMatch(name)) return undefined;
    const parts = this.#parts;
    const places = name.length + 1;
    // Row by row, where a part that begins at a place ends, as late as possible, so that all behind it fits; 0 where nothing does.
    const ends = scratch;
    ends.fill(0, 0, (parts.length + 1) * places);
    // Behind the last part nothing may be left.
    ends[parts.length * places + name.length] = 1;
    for (let part = parts.length - 1; part >= 0; part--) {
      const wanted = parts[part] as Part;
      const row = part * places;
      const behind = row + places;
      if (typeof wanted === 'string') {
        for (let at = name.length - wanted.length; at >= 0; at--) {
          if (ends[behind + at + wanted.length] !== 0 && name.startsWith(wanted, at)) ends[row + at] = at + wanted.length;
        }
      } else {
        for (let at = name.length - 1; at >= 0; at--) {
          if (!wanted.across && (name[at] === '.' || name[at] === '/')) continue;
          const later = ends[row + at + 1] as number;
          if (later !== 0) ends[row + at] = later;
          else if (ends[behind + at + 1] !== 0) ends[row + at] = at + 1;
        }
      }
    }
    if (ends[0] === 0) return undefined;
    const captures: string[] = [];
    let at = 0;
    for (const [part, wanted] of parts.entries()) {
      const end = ends[part * places + at] as number;
      if (typeof wanted !== 'string') captures.push(name.slice(at, end));
      at = end;
    }
    return captures;
  }
}

/** @throws InvalidArgumentError where the template refers to a wildcard that the pattern does not have. */
export function checkTemplate(field: string, template: string, pattern: NamePattern): void {
  for (const [, digits] of template.matchAll(/\$(\d+|\$)?/g)) {
    if (digits === '$') continue;
    const index = Number(digits ?? NaN);
    if (!(index >= 1 && index <= pattern.wildcards)) {
      throw new InvalidArgumentError({
        field,
        expected: pattern.wildcards === 0 ? `no $ (${describe(pattern.text)} has no wildcard)` : `$1 to $${pattern.wildcards}`,
        got: describe(template),
      });
    }
  }
}

export function fillTemplate(template: string, captures: readonly string[]): string {
  return template.replace(/\$(\d+|\$)/g, (_, digits: string) => (digits === '$' ? '$' : (captures[Number(digits) - 1] ?? '')));
}
