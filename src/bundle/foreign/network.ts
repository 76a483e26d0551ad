/** From a file's tensors to a network's state. */
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { requireFlag, requireMembers } from '../../core/require.ts';
import { type ModelGraph, parameterLayout } from '../../model/graph.ts';
import { findHead, headParameters } from '../../model/head.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { stateFromRawTensors, zeroTensors } from '../network-state.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';
import { type MappingReport, mapNames, mappingOptions } from './map-names.ts';
import type { NameRule } from './name-rules.ts';

export interface MappedState {
  /** Undefined where the file does not fit; `report` says why. */
  readonly state: NetworkState | undefined;
  readonly report: MappingReport;
  /** Names of tensors of 16-bit floats: late steps of a trajectory may be smaller than their spacing. */
  readonly narrow: readonly string[];
}

export interface StateFromForeignOptions {
  /**
   * The last layer becomes zeros, whatever the file has for it: the weights of a base whose head is of another task, or that
   * has none. Default false.
   */
  readonly zeroHead?: boolean;
}

const optionNames: OptionNames<StateFromForeignOptions> = { zeroHead: true };

/**
 * A file's tensors as the state of `graph`, in f32.
 * @param field what messages call the file.
 * @throws UnsupportedError for element types that have no f32 form, and for Keras files where the order of flattened images
 *   cannot be followed; InvalidArgumentError for `zeroHead` of a network whose output is no layer of its own.
 */
export function stateFromForeign(
  graph: ModelGraph, checkpoint: ForeignCheckpoint, rules: readonly NameRule[] = [], field = 'checkpoint',
  options: StateFromForeignOptions = {},
): MappedState {
  requireMembers('checkpoint', checkpoint, ['tensors', 'convention'], 'what readForeign gives');
  requireOptions('stateFromForeign', options, optionNames);
  const layout = parameterLayout(graph);
  const replaced = requireFlag('zeroHead', options.zeroHead ?? false) ? headParameters(graph) : new Set<string>();
  const mapped = mapNames(checkpoint.tensors, layout, rules, { ...mappingOptions(graph, checkpoint.convention, rules), replaced });
  const { report } = mapped;
  const tensors = new Map([...mapped.tensors, ...zeroTensors(layout, replaced)]);
  const narrow = [...tensors].flatMap(([name, { dtype }]) => (dtype === 'F16' || dtype === 'BF16' ? [name] : []));
  return { state: report.fits ? stateFromRawTensors(layout, tensors, field) : undefined, report, narrow };
}

/** Whether a file holds the network but for its last layer, whatever it has for that. */
export function fitsWithoutHead(graph: ModelGraph, checkpoint: ForeignCheckpoint, rules: readonly NameRule[] = []): boolean {
  const replaced = findHead(graph);
  if (replaced === undefined) return false;
  const mapping = { ...mappingOptions(graph, checkpoint.convention, rules), replaced };
  return mapNames(checkpoint.tensors, parameterLayout(graph), rules, mapping).report.fits;
}
