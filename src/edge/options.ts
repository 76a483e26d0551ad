/** The options part of a request: an untrusted JSON object, made the choices of a transfer or refused by name. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { decodeUtf8, parseJsonObject } from '../bundle/json.ts';
import { MANIFEST_ENTRY } from '../bundle/manifest.ts';
import { requireOptions } from '../core/options.ts';
import { transferMethods } from '../transfer/settings.ts';
import type { TransferChoices, TransferMethod } from '../transfer/settings.ts';
import { recordedNormalisation } from '../data/normalisation.ts';
import type { Normalisation } from '../data/normalisation.ts';

type Kind = 'a number' | 'a string' | 'a list of names' | 'true or false' | 'an object';

/** What a request may choose, by kind; ranges are checked by `transfer`. A type over every choice: a new one cannot be forgotten here. */
const kinds: { readonly [K in keyof Required<RequestOptions>]: Kind } = {
  method: 'a string', seed: 'a number', steps: 'a number', trajectory: 'a string', schedule: 'a string', batchesPerStep: 'a number',
  gmtBatches: 'a string', batchSize: 'a number', microBatch: 'a number', heldOutFraction: 'a number', heldOutSeed: 'a number',
  stopRule: 'a string',
  statisticsBatches: 'a number', historyBudgetBytes: 'a number', normalise: 'true or false', frozenGroups: 'a list of names',
  skipParameters: 'a list of names', zeroHead: 'true or false', maxSweeps: 'a number', start: 'a string',
  solver: 'a string', loss: 'an object', from: 'a string', to: 'a string',
  normalisation: 'an object',
};

export const requestOptionNames: readonly string[] = Object.keys(kinds);

/** Oracle needs a truly trained target, which whoever asks for a port does not have. */
export const edgeMethods: readonly TransferMethod[] = transferMethods.filter((method) => method !== 'oracle');

export interface RequestOptions extends TransferChoices {
  readonly method: TransferMethod;
  readonly seed: number;
  readonly from?: string;
  readonly to?: string;
  /** What the images of a base's fine-tune were normalised by, where there is no bundle to say it. */
  readonly normalisation?: Normalisation;
}

/**
 * `method` (default `fgmt`), `seed` (default 1) and the choices given.
 * @throws MalformedFileError for what is not a JSON object or names an option twice, LimitError for one that is nested deeply (which
 *   no stack would hold when it is printed), InvalidArgumentError for an unknown name or a wrong kind of value; ranges are checked by
 *   `transfer` itself.
 */
export function readOptions(bytes: Uint8Array | undefined): RequestOptions {
  const parsed = bytes === undefined ? {} : parseJsonObject(textOf(bytes), { field: 'options' });
  requireOptions('a transfer', parsed, kinds, 'options');
  for (const [name, value] of Object.entries(parsed)) requireKind(`options.${name}`, kinds[name as keyof typeof kinds], value);
  // Names that repeat choose nothing more, and would take room in the header that the record is sent in.
  const choices = Object.entries(parsed).map(([name, value]: [string, unknown]) => [
    name,
    Array.isArray(value) ? [...new Set(value)] : value,
  ]);
  const options = { method: 'fgmt', seed: 1, ...Object.fromEntries(choices) } as RequestOptions;
  if (!edgeMethods.includes(options.method)) {
    throw new InvalidArgumentError({
      field: 'options.method',
      expected: `one of ${edgeMethods.join(', ')}`,
      got: describe(options.method),
    });
  }
  if (options.normalisation !== undefined) requireNormalisation(options.normalisation);
  return options;
}

function requireNormalisation(given: Normalisation): void {
  if (Object.keys(given).length === 2 && recordedNormalisation({ normalisation: given }) !== undefined) return;
  throw new InvalidArgumentError({
    field: 'options.normalisation',
    expected: '{ mean, std }, a number per channel each, from 0 (a deviation from 0.000001) to 1',
    got: describe(given),
  });
}

/**
 * A field as whoever sent the options knows it: `transfer` names its own, `steps`, which stood at `options.steps`. The manifest
 * is no option.
 */
export function fieldInOptions(field: string): string {
  if (field.startsWith(MANIFEST_ENTRY)) return field;
  return Object.hasOwn(kinds, /^\w*/.exec(field)?.[0] ?? '') ? `options.${field}` : field;
}

/** Without the byte order mark that editors of Windows begin with. */
function textOf(bytes: Uint8Array): string {
  return decodeUtf8('options', bytes).replace(/^\uFEFF/, '');
}

function requireKind(field: string, kind: Kind, value: unknown): void {
  if (!isOfKind[kind](value)) throw new InvalidArgumentError({ field, expected: kind, got: describe(value) });
}

const isOfKind: { readonly [K in Kind]: (value: unknown) => boolean } = {
  'a number': (value) => typeof value === 'number',
  'a string': (value) => typeof value === 'string',
  'a list of names': (value) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
  'true or false': (value) => typeof value === 'boolean',
  'an object': (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};
