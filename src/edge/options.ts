/** The options part of a request: an untrusted JSON object, made the choices of a transfer or refused by name. */
import { InvalidArgumentError, MalformedFileError, describe } from '../core/errors.ts';
import { transferMethods } from '../index.ts';
import type { TransferChoices, TransferMethod } from '../index.ts';

/** What a request may choose. Everything else is refused by name. */
export const optionNames = [
  'method', 'seed', 'steps', 'trajectory', 'schedule', 'batchesPerStep', 'batchSize', 'heldOutFraction', 'stopRule', 'statisticsBatches',
  'historyBudgetBytes', 'normalise', 'frozenGroups', 'skipParameters', 'maxSweeps', 'start', 'from', 'to',
] as const;

/** Oracle needs a truly trained target, which whoever asks for a port does not have. */
export const edgeMethods: readonly TransferMethod[] = transferMethods.filter((method) => method !== 'oracle');

export interface RequestOptions extends TransferChoices {
  readonly method: TransferMethod;
  readonly seed: number;
  readonly from?: string;
  readonly to?: string;
}

/**
 * `method` (default `fgmt`), `seed` (default 1) and the choices given.
 * @throws MalformedFileError for what is not a JSON object, InvalidArgumentError for an unknown name or a wrong kind of
 *   value; ranges are checked by `transfer` itself.
 */
export function readOptions(bytes: Uint8Array | undefined): RequestOptions {
  const parsed = bytes === undefined ? {} : parseJson(bytes);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new MalformedFileError({ field: 'options', expected: 'a JSON object', got: describe(parsed) });
  }
  for (const [name, value] of Object.entries(parsed)) requireOption(name, value);
  const options = { method: 'fgmt', seed: 1, ...parsed } as RequestOptions;
  if (!edgeMethods.includes(options.method)) {
    throw new InvalidArgumentError({ field: 'options.method', expected: `one of ${edgeMethods.join(', ')}`, got: describe(options.method) });
  }
  return options;
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new MalformedFileError({ field: 'options', expected: 'JSON', got: 'bytes that do not parse as it', cause });
  }
}

function requireOption(name: string, value: unknown): void {
  const field = `options.${name.slice(0, 80)}`;
  const refuse = (expected: string): never => {
    throw new InvalidArgumentError({ field, expected, got: describe(value) });
  };
  if (!(optionNames as readonly string[]).includes(name)) refuse(`an option named ${optionNames.join(', ')}`);
  if (name === 'frozenGroups' || name === 'skipParameters') {
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) refuse('a list of names');
  } else if (name === 'normalise') {
    if (typeof value !== 'boolean') refuse('true or false');
  } else if (typeof value !== 'string' && typeof value !== 'number') refuse('a string or a number');
}
