/**
 * Which options only change something beside certain values of others, in one table for all commands: where they would
 * change nothing they are refused. What depends on the network or on files is asked where these are known.
 */
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { OptionSpec, OptionSpecs } from './arguments.ts';
import { UsageError } from './exit.ts';

interface Condition {
  readonly option: string;
  /** Values of it beside which the option is taken; any is where it is not given and has no default. */
  readonly values: RegExp;
  /** What those are called where it is no choice. */
  readonly called?: string;
}

const COMPUTES_GRADIENTS: Condition = { option: 'method', values: /^(fgmt|gmt|all)$/ };
const MATCHES: Condition = { option: 'method', values: /^(fgmt|gmt|oracle|all)$/ };

/**
 * By option. None of them has a default in its spec, since a value that was given could not be told from it; a command
 * that does not have the other option takes the option always.
 */
export const takenBeside: Readonly<Record<string, readonly Condition[]>> = {
  momentum: [{ option: 'optimiser', values: /^sgd$/ }],
  schedule: [{ option: 'trajectory', values: /^linear$/ }],
  'gmt-batches': [{ option: 'method', values: /^(gmt|all)$/ }],
  'batches-per-step': [COMPUTES_GRADIENTS],
  'micro-batch': [COMPUTES_GRADIENTS],
  'history-budget': [MATCHES],
  freeze: [MATCHES],
  'normalise-terms': [MATCHES],
  solver: [MATCHES],
  'max-sweeps': [MATCHES],
  // Oracle matches once: there is no step before.
  start: [COMPUTES_GRADIENTS],
  'oracle-target': [{ option: 'method', values: /^oracle$/ }],
  'held-out-seed': [{ option: 'held-out', values: /^(?!0$)/, called: 'a share above 0' }],
  'resume-file': [{ option: 'resume', values: /^(auto|new)$/ }],
  'data-seed': [{ option: 'data', values: /^generated:/, called: 'generated:before, generated:after' }],
  'key-frame-every': [{ option: 'coding', values: /^(lossless|int8|int4)$/ }],
};

/** @throws UsageError for an option that changes nothing beside the others. */
export function requireTakenBeside(specs: OptionSpecs, values: Readonly<Record<string, unknown>>): void {
  for (const [name, conditions] of Object.entries(takenBeside)) {
    if (!Object.hasOwn(specs, name) || values[name] === undefined || values[name] === false) continue;
    for (const { option, values: taken, called } of conditions) {
      const other = specs[option];
      const value = values[option];
      if (other === undefined || value === undefined || taken.test(String(value))) continue;
      throw new UsageError(`--${name} is for --${option} ${called ?? choicesOf(other, taken)}, not for ${String(value)}`);
    }
  }
}

function choicesOf(spec: OptionSpec, taken: RegExp): string {
  return spec.kind === 'choice' ? spec.choices.filter((choice) => taken.test(choice)).join(', ') : '';
}

/** @throws UsageError for an option of a transfer that only changes something where the network has batch norm, as it has none. */
export function requireTakenByNetwork(
  values: { readonly method: string; readonly 'statistics-batches': number | undefined; readonly 'batch-size': number | undefined },
  graph: ModelGraph,
): void {
  if (parameterLayout(graph).buffers.length > 0) return;
  if (values['statistics-batches'] !== undefined)
    throw new UsageError('--statistics-batches is for networks with batch norm, and this one has none');
  if (values['batch-size'] !== undefined && !COMPUTES_GRADIENTS.values.test(values.method))
    throw new UsageError(`--batch-size is for methods that compute gradients, and for networks with batch norm, not for ${values.method}`);
}
