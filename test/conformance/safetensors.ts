// Reads hand-written safetensors files (`<case>_<checkpoint>[_<dtype>].safetensors`) and holds every value against the
// checkpoint of that name in the case's own pack.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { stateFromSafetensors } from '../../src/bundle/network-state.ts';
import { readSafetensors } from '../../src/bundle/safetensors.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { largest, norm } from './errors.ts';
import type { ReferenceCase } from './reference-case.ts';

export interface SafetensorsReplay {
  readonly case: string;
  readonly checkpoint: string;
  readonly dtypes: readonly string[];
  /** Largest |value − recorded| ÷ max(|recorded|, rms of the tensor). */
  readonly error: number;
  /** Half a unit in the last place of the narrowest stored type; 0 for F32 and F64. */
  readonly bound: number;
}

const ROUNDING: Readonly<Record<string, number>> = { F16: 2 ** -11, BF16: 2 ** -8 };

/** Undefined for a file whose case is not at hand. */
export function replaySafetensors(path: string, cases: readonly ReferenceCase[]): SafetensorsReplay | undefined {
  const name = basename(path, '.safetensors');
  const reference = cases.find(({ manifest }) => name.startsWith(`${manifest.case}_`));
  if (reference === undefined) return undefined;
  const rest = name.slice(reference.manifest.case.length + 1);
  const checkpoint = Object.keys(reference.manifest.checkpoints).find((key) => rest === key || rest.startsWith(`${key}_`));
  if (checkpoint === undefined) return undefined;
  const bytes = new Uint8Array(readFileSync(path));
  const dtypes = [...new Set([...readSafetensors(bytes).tensors.values()].map(({ dtype }) => dtype))];
  const layout = parameterLayout(reference.graph);
  const got = stateFromSafetensors(layout, bytes, name);
  const expected = reference.checkpoint(checkpoint);
  const errors = [...layout.parameters, ...layout.buffers].map(({ name: tensor }) => {
    const theirs = (expected.parameters.get(tensor) ?? expected.buffers.get(tensor))?.data ?? new Float32Array();
    const ours = (got.parameters.get(tensor) ?? got.buffers.get(tensor))?.data ?? new Float32Array();
    if (theirs.length !== ours.length) return Infinity;
    const rms = norm(theirs) / Math.sqrt(theirs.length);
    return largest(
      [...theirs].map((value, i) => (value === ours[i] ? 0 : Math.abs((ours[i] as number) - value) / Math.max(Math.abs(value), rms))),
    );
  });
  return {
    case: reference.manifest.case,
    checkpoint,
    dtypes,
    error: largest(errors),
    bound: Math.max(0, ...dtypes.map((dtype) => ROUNDING[dtype] ?? 0)),
  };
}
