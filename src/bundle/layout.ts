/** What follows from a graph about the safetensors files of its checkpoints. */
import { type ModelGraph, parameterLayout } from '../model/graph.ts';
import { elementCount } from '../tensor/tensor.ts';
import type { ParameterRange } from './coding.ts';
import type { StateLayout } from './network-state.ts';
import { canonicalHeader } from './network-state.ts';

export interface CheckpointLayout {
  readonly state: StateLayout;
  /** Length of every checkpoint's safetensors file. */
  readonly fileBytes: number;
  /** Where the parameters lie in it: all F32, without gaps, before the buffers. */
  readonly range: ParameterRange;
}

export function checkpointLayout(graph: ModelGraph): CheckpointLayout {
  const state = parameterLayout(graph);
  const { header, dataBytes } = canonicalHeader(state);
  const bytesOf = (infos: StateLayout['parameters']): number => infos.reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
  const fileBytes = header.byteLength + dataBytes;
  const end = fileBytes - bytesOf(state.buffers);
  return { state, fileBytes, range: { begin: end - bytesOf(state.parameters), end } };
}
