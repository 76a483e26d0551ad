/** The --width that a file of weights fits, where it does not fit the network by name that the options make. */
import type { MappingReport } from '../bundle/foreign/map-names.ts';
import { InvalidArgumentError, LimitError } from '../core/errors.ts';
import type { ModelGraph } from '../model/graph.ts';
import { readsOption } from '../model/presets.ts';
import type { ValuesOf } from './arguments.ts';
import { graphOfShape } from './networks.ts';
import type { ModelValues, shapeOptions } from './networks.ts';

/** Networks that are tried: the first tensors of a file have its width among their extents. */
const MOST_TRIED = 32;

/**
 * A width is an extent of some tensor, or the factor between its extent and that of the network; which of them it is, `fits` tells.
 * @param misshapen where the file's tensors have another shape than the network's.
 */
export async function fittingWidth(
  values: ModelValues & ValuesOf<typeof shapeOptions>,
  misshapen: MappingReport['misshapen'],
  fits: (graph: ModelGraph) => boolean,
): Promise<number | undefined> {
  if (values.model === undefined || !readsOption(values.model, 'width')) return undefined;
  const candidates = misshapen.flatMap(({ expected, got }) =>
    got.flatMap((extent, axis) => (extent === expected[axis] ? [] : [extent, ((values.width ?? 1) * extent) / (expected[axis] ?? 0)])),
  );
  for (const width of [...new Set(candidates)].filter(Number.isFinite).slice(0, MOST_TRIED)) {
    const graph = await graphOfWidth({ ...values, width });
    if (graph !== undefined && fits(graph)) return width;
  }
  return undefined;
}

/** Undefined where the network has no such width: an extent may be taken for a factor, and make it too large. */
async function graphOfWidth(values: Parameters<typeof graphOfShape>[0]): Promise<ModelGraph | undefined> {
  try {
    return await graphOfShape(values);
  } catch (error) {
    if (error instanceof InvalidArgumentError || error instanceof LimitError) return undefined;
    throw error;
  }
}
