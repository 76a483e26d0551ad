/** What callers give, held to what a call takes: TypeScript's types hold no call from JavaScript to it. */
import { describe } from './describe.ts';
import { InvalidArgumentError } from './errors.ts';
import { nearestName } from './nearest-name.ts';

/** @returns `value`. @throws InvalidArgumentError unless it is a safe integer within [minimum, maximum]. */
export function requireInteger(
  field: string,
  value: unknown,
  minimum: number,
  maximum: number = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum || value > maximum) {
    const range = maximum === Number.MAX_SAFE_INTEGER ? `an integer ≥ ${minimum}` : `an integer in [${minimum}, ${maximum}]`;
    throw new InvalidArgumentError({ field, expected: range, got: describe(value) });
  }
  return value;
}

/** @returns `value`. @throws InvalidArgumentError unless it is a finite number within [minimum, maximum]. */
export function requireNumber(field: string, value: unknown, minimum = -Infinity, maximum = Infinity): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < minimum || value > maximum) {
    throw new InvalidArgumentError({
      field,
      expected: `a finite number${rangeText(minimum, maximum)}`,
      got: describe(value),
    });
  }
  return value;
}

/** @returns `value`. @throws InvalidArgumentError unless it is a number ≥ 0, or `Infinity` for no cap: NaN would be none unasked. */
export function requireCap(field: string, value: unknown): number {
  return value === Infinity ? value : requireNumber(field, value, 0);
}

function rangeText(minimum: number, maximum: number): string {
  if (minimum > -Infinity && maximum < Infinity) return ` in [${minimum}, ${maximum}]`;
  if (minimum > -Infinity) return ` ≥ ${minimum}`;
  return maximum < Infinity ? ` ≤ ${maximum}` : '';
}

/** @returns `value`. @throws InvalidArgumentError unless it is one of `choices`. */
export function requireChoice<T extends string>(field: string, value: unknown, choices: readonly T[]): T {
  if (typeof value !== 'string' || !(choices as readonly string[]).includes(value)) {
    const nearest = typeof value === 'string' ? nearestName(value, choices) : undefined;
    const hint = nearest === undefined ? '' : ` (did you mean ${nearest}?)`;
    throw new InvalidArgumentError({ field, expected: `one of ${choices.join(', ')}`, got: `${describe(value)}${hint}` });
  }
  return value as T;
}

/**
 * @returns a copy of `value`, which the caller's list can no longer change. @throws InvalidArgumentError unless it is a
 *   list of what `requireItem` takes.
 */
export function requireList<T>(field: string, value: unknown, requireItem: (field: string, item: unknown) => T): readonly T[] {
  if (!Array.isArray(value)) throw new InvalidArgumentError({ field, expected: 'a list', got: describe(value) });
  return Array.from(value, (item, i) => requireItem(`${field}[${i}]`, item));
}

/**
 * @returns `value`. @throws InvalidArgumentError unless it is true or false: what else JavaScript takes for either, the
 *   word `no` among them, may be meant otherwise.
 */
export function requireFlag(field: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw new InvalidArgumentError({ field, expected: 'true or false', got: describe(value) });
  return value;
}

/** @returns `value`. @throws InvalidArgumentError unless it is a string. */
export function requireText(field: string, value: unknown): string {
  if (typeof value !== 'string') throw new InvalidArgumentError({ field, expected: 'a string', got: describe(value) });
  return value;
}

/**
 * @throws InvalidArgumentError unless `value` is an object in which none of `members` is missing: a call from
 *   JavaScript may leave out what types demand.
 */
export function requireMembers(
  field: string,
  value: unknown,
  members: readonly string[],
  expected: string = `an object with ${members.join(', ')}`,
): void {
  const missing = missingFrom(value, members);
  if (missing.length === 0) return;
  const inside = missing.length === members.length ? memberWith(value, members) : undefined;
  const hint = inside === undefined ? '' : `: its \`${inside}\` has them`;
  const plain = typeof value !== 'object' || value === null || value instanceof Promise;
  throw new InvalidArgumentError({
    field,
    expected,
    got: plain ? describe(value) : `${describe(value)} without ${missing.join(', ')}${hint}`,
  });
}

function missingFrom(value: unknown, members: readonly string[]): readonly string[] {
  const object = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  return members.filter((member) => object?.[member] === undefined);
}

/** A member of `value` that has what it lacks itself: the `state` of a result, the `train` of a task. */
function memberWith(value: unknown, members: readonly string[]): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) return undefined;
  const object = value as Readonly<Record<string, unknown>>;
  // Of a stranger's object as few as those of a result of ours.
  return Object.keys(object).slice(0, 32).find((key) => missingFrom(object[key], members).length === 0);
}

/** @throws InvalidArgumentError unless it is a Uint8Array. */
export function requireBytes(field: string, value: unknown): void {
  if (value instanceof Uint8Array) return;
  throw new InvalidArgumentError({ field, expected: 'a Uint8Array: new Uint8Array(buffer)', got: describe(value) });
}
