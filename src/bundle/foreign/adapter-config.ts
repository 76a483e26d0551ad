/** What PEFT's `adapter_config.json` says of a LoRA adapter: how much its products count, and which way they lie. */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../json.ts';

/** Settings by each of which a weight is no sum of a base and a product of two factors of its own. */
const OTHER_KINDS = [
  'use_dora', 'use_qalora', 'use_bdlora', 'lora_bias', 'layer_replication', 'target_parameters', 'trainable_token_indices',
  'alora_invocation_tokens', 'arrow_config', 'kasa_config', 'monteclora_config',
] as const;

/** One for each of a network's modules are far fewer. */
const MOST_PATTERNS = 10_000;
/** Patterns tried on modules, a microsecond each: 2 s. A large network with a pattern for each of 500 modules makes 250,000. */
const MOST_TRIALS = 2_000_000;

/** Starts that leave the base as it is. Others take a part of it away (PiSSA, OLoRA …), and again wherever PEFT loads the adapter. */
const PLAIN_STARTS: ReadonlySet<unknown> = new Set([undefined, null, true, false, 'gaussian', 'orthogonal', 'eva', 'mica']);

export interface AdapterSettings {
  /** @throws LimitError where it would take too long to find so many modules' alphas. */
  readonly requireModules: (count: number) => void;
  readonly alphaOf: (module: string) => number;
  /** Ranks count by their roots (rank-stabilised LoRA). */
  readonly byRoot: boolean;
  readonly inputsFirst: boolean;
}

/** @throws UnsupportedError for other kinds and starts, MalformedFileError for what it does not say, LimitError for too many patterns. */
export function readAdapterConfig(config: JsonObject, field: string): AdapterSettings {
  const bad = (name: string, expected: string): never => {
    throw new MalformedFileError({ field: `${field}: ${name}`, expected, got: describe(config[name]) });
  };
  const flag = (name: string): boolean => {
    const value = config[name] ?? false;
    return typeof value === 'boolean' ? value : bad(name, 'true or false');
  };
  if (config['peft_type'] !== 'LORA')
    throw new UnsupportedError({ field: `${field}: peft_type`, expected: '"LORA"', got: describe(config['peft_type']) });
  const used = OTHER_KINDS.find((name) => !isNothing(config[name]));
  if (used !== undefined) throw new UnsupportedError({ field: `${field}: ${used}`, expected: 'not in use', got: describe(config[used]) });
  const start = config['init_lora_weights'];
  if (!PLAIN_STARTS.has(typeof start === 'string' ? start.toLowerCase() : start))
    throw new UnsupportedError({
      field: `${field}: init_lora_weights`, got: describe(start),
      expected: 'a start that leaves the base as it is; of this one pack the merged weights (merge_and_unload)',
    });
  const alpha = numberOf(config['lora_alpha']) ?? bad('lora_alpha', 'a number');
  const patterns = config['alpha_pattern'] ?? {};
  const own = isJsonObject(patterns) ? Object.entries(patterns) : bad('alpha_pattern', 'an object of numbers');
  if (own.length > MOST_PATTERNS)
    throw new LimitError({ field: `${field}: alpha_pattern`, expected: `at most ${MOST_PATTERNS} patterns`, got: `${own.length}` });
  const alphas = own.map(([pattern, value]) => {
    // PEFT takes any regular expression; people write ends of names.
    if (!/^\^?(\w|\\?\.){1,500}$/.test(pattern))
      throw new UnsupportedError({ field: `${field}: alpha_pattern`, expected: 'names of modules, or their ends', got: describe(pattern) });
    return { matches: endMatcher(pattern), alpha: numberOf(value) ?? bad('alpha_pattern', 'an object of numbers') };
  });
  return {
    requireModules: (count) => {
      if (count * alphas.length > MOST_TRIALS)
        throw new LimitError({
          field: `${field}: alpha_pattern`,
          expected: `at most ${MOST_TRIALS} patterns times modules`,
          got: `${alphas.length} times ${count}`,
        });
    },
    alphaOf: (module) => alphas.find(({ matches }) => matches(module))?.alpha ?? alpha,
    byRoot: flag('use_rslora'),
    inputsFirst: flag('fan_in_fan_out'),
  };
}

/**
 * Whether a module's name, or an end of it behind a dot, fits a pattern, `(.*\.)?(pattern)$` in PEFT. Each of its characters stands for one
 * of the name, so that one end alone can fit, and no other is tried.
 */
function endMatcher(pattern: string): (module: string) => boolean {
  const whole = pattern.startsWith('^');
  const { length } = pattern.slice(whole ? 1 : 0).replaceAll('\\.', '.');
  const fits = new RegExp(`^(${pattern})$`);
  return (module) => {
    const from = module.length - length;
    return (from === 0 || (!whole && module[from - 1] === '.')) && fits.test(module.slice(from));
  };
}

const numberOf = (value: JsonValue | undefined): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;

const isNothing = (value: JsonValue | undefined): boolean =>
  value === undefined || value === null || value === false || (Array.isArray(value) && value.length === 0);
