/**
 * The typed errors of trajport. Every one names the field at fault, what was expected and what was got, so that a
 * person can mend the call and a program can branch on `code` without reading English.
 * Built only on the throw path; nothing here imports anything.
 */

/** Machine-readable classes of failure. `code` never changes meaning between versions. */
export type ErrorCode =
  | 'invalid-argument' // an option or an array passed to the API is wrong
  | 'malformed-file' // bytes that are not what their format promises
  | 'unsupported' // well-formed, but something we do not read, run or build
  | 'integrity' // a hash, a checksum or a length disagrees with what was recorded
  | 'limit' // a named cap of `limits.ts`, or one the caller set, would be exceeded
  | 'budget' // a byte budget that the caller set is too small for the task
  | 'out-of-memory' // the WebAssembly heap could not grow
  | 'kernel' // a WebAssembly kernel reported a failure
  | 'locked' // another run is writing the same output
  | 'network' // a server did not answer as HTTP promises
  | 'not-finite'; // NaN or infinity where numbers were required

export interface ErrorFacts {
  /** The option, file entry, tensor or header field at fault, e.g. `schedule.steps` or `linear1.weight`. */
  readonly field: string;
  readonly expected: string;
  readonly got: string;
  readonly cause?: unknown;
}

/** Base class: `catch (e) { if (e instanceof TrajportError) … e.code, e.field, e.expected, e.got }`. */
export class TrajportError extends Error {
  readonly code: ErrorCode;
  readonly field: string;
  readonly expected: string;
  readonly got: string;

  constructor(code: ErrorCode, facts: ErrorFacts) {
    super(
      `${facts.field}: expected ${facts.expected}, got ${facts.got}`,
      facts.cause === undefined ? undefined : { cause: facts.cause },
    );
    this.name = new.target.name;
    this.code = code;
    this.field = facts.field;
    this.expected = facts.expected;
    this.got = facts.got;
  }

  /** Plain record for `--json` output and HTTP error bodies. */
  toJSON(): { error: string; code: ErrorCode; field: string; expected: string; got: string } {
    return { error: this.name, code: this.code, field: this.field, expected: this.expected, got: this.got };
  }
}

export class InvalidArgumentError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('invalid-argument', facts);
  }
}

export class MalformedFileError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('malformed-file', facts);
  }
}

export class UnsupportedError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('unsupported', facts);
  }
}

export class IntegrityError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('integrity', facts);
  }
}

export class LimitError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('limit', facts);
  }
}

/** A byte budget does not suffice; `requiredBytes` is the smallest budget that would. */
export class BudgetError extends TrajportError {
  readonly requiredBytes: number;
  constructor(facts: ErrorFacts & { readonly requiredBytes: number }) {
    super('budget', facts);
    this.requiredBytes = facts.requiredBytes;
  }
}

export class OutOfMemoryError extends TrajportError {
  readonly requestedBytes: number;
  constructor(facts: ErrorFacts & { readonly requestedBytes: number }) {
    super('out-of-memory', facts);
    this.requestedBytes = facts.requestedBytes;
  }
}

export class KernelError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('kernel', facts);
  }
}

export class LockedError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('locked', facts);
  }
}

export class NetworkError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('network', facts);
  }
}

export class NotFiniteError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('not-finite', facts);
  }
}

/** Longest text or name of a class that an error repeats. */
const DESCRIBED_CHARACTERS = 80;

/** Short printable form of an untrusted value for the `got` of an error: never throws, never floods. */
export function describe(value: unknown): string {
  try {
    if (!Array.isArray(value)) return describeOne(value);
    // Lists within lists by their length alone: each level would multiply the text by eight.
    const head = value.slice(0, 8).map((item: unknown) => (Array.isArray(item) ? `a list of ${item.length}` : describeOne(item)));
    return `[${head.join(', ')}${value.length > 8 ? `, … ${value.length} in all` : ''}]`;
  } catch {
    return 'an object that cannot be looked at';
  }
}

function describeOne(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shorten(value));
  if (typeof value === 'bigint') return `${shorten(value.toString())}n`;
  if (ArrayBuffer.isView(value)) return `${className(value)} of ${value.byteLength} bytes`;
  if (typeof value === 'object' && value !== null) return className(value);
  if (typeof value === 'function') return 'a function';
  return shorten(String(value));
}

/** By the prototype: a `constructor` of the object's own is data, of JSON for one. */
function className(value: object): string {
  const name: unknown = (Object.getPrototypeOf(value) as { readonly constructor?: { readonly name?: unknown } } | null)?.constructor?.name;
  return typeof name === 'string' && name !== '' ? shorten(name) : 'object';
}

function shorten(text: string): string {
  return text.length > DESCRIBED_CHARACTERS ? `${text.slice(0, DESCRIBED_CHARACTERS - 3)}…` : text;
}

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

function rangeText(minimum: number, maximum: number): string {
  if (minimum > -Infinity && maximum < Infinity) return ` in [${minimum}, ${maximum}]`;
  if (minimum > -Infinity) return ` ≥ ${minimum}`;
  return maximum < Infinity ? ` ≤ ${maximum}` : '';
}

/** @returns `value`. @throws InvalidArgumentError unless it is one of `choices`. */
export function requireChoice<T extends string>(field: string, value: unknown, choices: readonly T[]): T {
  if (typeof value !== 'string' || !(choices as readonly string[]).includes(value)) {
    throw new InvalidArgumentError({ field, expected: `one of ${choices.join(', ')}`, got: describe(value) });
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
  const object = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  const missing = members.filter((member) => object?.[member] === undefined);
  if (missing.length === 0) return;
  throw new InvalidArgumentError({
    field,
    expected,
    got: object === undefined ? describe(value) : `${describe(value)} without ${missing.join(', ')}`,
  });
}

/** @throws InvalidArgumentError unless it is a Uint8Array. */
export function requireBytes(field: string, value: unknown): void {
  if (value instanceof Uint8Array) return;
  throw new InvalidArgumentError({ field, expected: 'a Uint8Array: new Uint8Array(buffer)', got: describe(value) });
}
