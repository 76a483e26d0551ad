/**
 * The typed errors of trajport. Every one names the field at fault, what was expected and what was got, so that a
 * person can mend the call and a program can branch on `code` without reading English.
 * Built only on the throw path; nothing here imports anything. What is thrown for a caller's mistake is in `require.ts`.
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

/** What every error says: which field is at fault, what was expected there, and what was got. */
export interface ErrorFacts {
  /** The option, file entry, tensor or header field at fault, e.g. `schedule.steps` or `linear1.weight`. */
  readonly field: string;
  readonly expected: string;
  readonly got: string;
  readonly cause?: unknown;
}

/** Longest text of each fact. What lists names keeps to less by itself (`listed`); this is for a file that no list foresaw. */
const FACT_CHARACTERS = 8192;

/** A text for an error, whose end is left out where it is longer than any that a person reads. What callers call a text may be none. */
export function bounded(text: string): string {
  const words = String(text);
  return words.length > FACT_CHARACTERS ? `${words.slice(0, FACT_CHARACTERS - 1)}…` : words;
}

/** Base class: `catch (e) { if (e instanceof TrajportError) … e.code, e.field, e.expected, e.got }`. */
export class TrajportError extends Error {
  readonly code: ErrorCode;
  readonly field: string;
  readonly expected: string;
  readonly got: string;

  constructor(code: ErrorCode, facts: ErrorFacts) {
    const [field, expected, got] = [bounded(facts.field), bounded(facts.expected), bounded(facts.got)];
    super(`${field}: expected ${expected}, got ${got}`, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.code = code;
    this.field = field;
    this.expected = expected;
    this.got = got;
  }

  /** Plain record for `--json` output and HTTP error bodies. */
  toJSON(): { error: string; code: ErrorCode; field: string; expected: string; got: string } {
    return { error: this.name, code: this.code, field: this.field, expected: this.expected, got: this.got };
  }
}

/** An option or an array passed to the API is wrong. */
export class InvalidArgumentError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('invalid-argument', facts);
  }
}

/** Bytes are not what their format promises. */
export class MalformedFileError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('malformed-file', facts);
  }
}

/** Well-formed, but something that is not read, run or built here. */
export class UnsupportedError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('unsupported', facts);
  }
}

/** A hash, a checksum or a length disagrees with what was recorded. */
export class IntegrityError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('integrity', facts);
  }
}

/** A named cap of `limits`, or one that the caller set, would be exceeded. */
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

/** The WebAssembly heap has no room for `requestedBytes` more. */
export class OutOfMemoryError extends TrajportError {
  readonly requestedBytes: number;
  constructor(facts: ErrorFacts & { readonly requestedBytes: number }) {
    super('out-of-memory', facts);
    this.requestedBytes = facts.requestedBytes;
  }
}

/** A WebAssembly kernel trapped or failed: no later result of its core is to be trusted. */
export class KernelError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('kernel', facts);
  }
}

/** Another run is writing the same output. */
export class LockedError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('locked', facts);
  }
}

/** A server did not answer as HTTP promises. */
export class NetworkError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('network', facts);
  }
}

/** NaN or an infinity where numbers were required. */
export class NotFiniteError extends TrajportError {
  constructor(facts: ErrorFacts) {
    super('not-finite', facts);
  }
}
