/**
 * Patterns of tensor names: `*` stands for one or more characters within a part of the name (no '.' or '/'), `**` for
 * one or more characters of any kind; `$1`, `$2`, … in a template are what they stood for. `$$` is a dollar sign.
 * Not regular expressions: those of a stranger's rule file could take exponential time.
 */
import { InvalidArgumentError, LimitError, describe } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';

type Part = string | { readonly across: boolean };

/** More than any name has parts; bounds the time of a match at wildcards × length². */
const WILDCARDS = 16;

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

  /** What the wildcards stand for in `name`, the first ones as long as possible; undefined where it does not match. */
  match(name: string): readonly string[] | undefined {
    const parts = this.#parts;
    const captures: string[] = [];
    // (part, place) pairs that are known to fail: without them `**a**a**` would take exponential time.
    const failed = new Set<number>();
    const from = (part: number, at: number): boolean => {
      const wanted = parts[part];
      if (wanted === undefined) return at === name.length;
      const key = part * (limits.nameLength + 1) + at;
      if (failed.has(key)) return false;
      if (typeof wanted === 'string') {
        if (name.startsWith(wanted, at) && from(part + 1, at + wanted.length)) return true;
      } else {
        let end = at;
        while (end < name.length && (wanted.across || (name[end] !== '.' && name[end] !== '/'))) end++;
        for (; end > at; end--) {
          captures.push(name.slice(at, end));
          if (from(part + 1, end)) return true;
          captures.pop();
        }
      }
      failed.add(key);
      return false;
    };
    return name.length <= limits.nameLength && from(0, 0) ? captures : undefined;
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
