/**
 * Reads the fields of one untrusted JSON object: every value checked, every default written down, and a field that
 * nobody asked for is an error (a misspelt `strid` must not silently mean stride 1).
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireInteger, requireNumber } from '../core/require.ts';
import { limits } from '../core/limits.ts';

/** [height, width]. */
export type Pair = readonly [number, number];
/** [top, bottom, left, right]. */
export type Padding = readonly [number, number, number, number];

/** Largest kernel, stride, channel or feature count that a layer may state; keeps all products exact in f64. */
const LARGEST_EXTENT = 2 ** 24;

export class FieldReader {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #seen = new Set<string>();
  readonly path: string;

  /** @throws InvalidArgumentError unless `value` is a plain JSON object. */
  constructor(path: string, value: unknown) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new InvalidArgumentError({ field: path, expected: 'an object', got: describe(value) });
    }
    this.#object = value as Record<string, unknown>;
    this.path = path;
  }

  /** The raw value; `undefined` where the object has no own field of that name. */
  take(key: string): unknown {
    this.#seen.add(key);
    return Object.hasOwn(this.#object, key) ? this.#object[key] : undefined;
  }

  text(key: string): string {
    const value = this.take(key);
    if (typeof value !== 'string' || value.length === 0 || value.length > limits.nameLength) {
      throw new InvalidArgumentError({
        field: `${this.path}.${key}`,
        expected: `a string of 1 to ${limits.nameLength} characters`,
        got: describe(value),
      });
    }
    return value;
  }

  list(key: string): readonly unknown[] {
    const value = this.take(key);
    if (!Array.isArray(value)) {
      throw new InvalidArgumentError({ field: `${this.path}.${key}`, expected: 'an array', got: describe(value) });
    }
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.take(key) ?? fallback;
    if (typeof value !== 'boolean') {
      throw new InvalidArgumentError({ field: `${this.path}.${key}`, expected: 'true or false', got: describe(value) });
    }
    return value;
  }

  count(key: string, fallback?: number): number {
    return requireInteger(`${this.path}.${key}`, this.take(key) ?? fallback, 1, LARGEST_EXTENT);
  }

  /** An integer from 0. */
  index(key: string, fallback: number): number {
    return requireInteger(`${this.path}.${key}`, this.take(key) ?? fallback, 0, LARGEST_EXTENT);
  }

  number(key: string, fallback: number, minimum: number, maximum: number): number {
    return requireNumber(`${this.path}.${key}`, this.take(key) ?? fallback, minimum, maximum);
  }

  choice<T extends string>(key: string, choices: readonly T[], fallback: T): T {
    const value = this.take(key) ?? fallback;
    if (typeof value !== 'string' || !(choices as readonly string[]).includes(value)) {
      throw new InvalidArgumentError({
        field: `${this.path}.${key}`,
        expected: `one of ${choices.join(', ')}`,
        got: describe(value),
      });
    }
    return value as T;
  }

  /** One to `most` extents. */
  shape(key: string, most: number): readonly number[] {
    return this.#integers(key, [], Array.from({ length: most }, (_, i) => i + 1), 1);
  }

  /** [height, width], or one number for both. */
  pair(key: string, fallback?: Pair): Pair {
    return this.#pair(key, fallback, 1);
  }

  /** As `pair`, from 0. */
  extents(key: string, fallback: Pair): Pair {
    return this.#pair(key, fallback, 0);
  }

  /** [top, bottom, left, right], or [vertical, horizontal], or one number for all four. */
  padding(key: string): Padding {
    const values = this.#integers(key, [0], [1, 2, 4], 0) as [number, number | undefined, number | undefined, number | undefined];
    const [first, second = first, third, fourth] = values;
    if (third !== undefined && fourth !== undefined) return [first, second, third, fourth];
    return [first, first, second, second];
  }

  #pair(key: string, fallback: Pair | undefined, minimum: number): Pair {
    const [height, width] = this.#integers(key, fallback, [1, 2], minimum) as [number, number | undefined];
    return [height, width ?? height];
  }

  #integers(key: string, fallback: readonly number[] | undefined, lengths: readonly number[], minimum: number): number[] {
    const field = `${this.path}.${key}`;
    const value = this.take(key) ?? fallback;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (!lengths.includes(list.length)) {
      throw new InvalidArgumentError({ field, expected: `${lengths.join(' or ')} integers`, got: describe(value) });
    }
    return list.map((item) => requireInteger(field, item, minimum, LARGEST_EXTENT));
  }

  /** @throws InvalidArgumentError naming the first field that nobody took. */
  finish(): void {
    for (const key of Object.keys(this.#object)) {
      if (this.#seen.has(key)) continue;
      throw new InvalidArgumentError({
        field: `${this.path}.${key.slice(0, 80)}`,
        expected: `only the fields ${[...this.#seen].join(', ')}`,
        got: 'another field',
      });
    }
  }
}
