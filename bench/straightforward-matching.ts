// The official loop written plainly with our own kernels: at every lap and for every pair, tensor and axis the source is
// permuted on its other axes, both sides are moved to [size, rest], multiplied and added up. What matching-solve.ts is
// measured against.
import type { Core } from '../src/core/core.ts';
import { matmul } from '../src/core/matmul.ts';
import { assignOnHeap } from '../src/matching/assignment.ts';
import { assignedSum } from '../src/matching/objective.ts';
import { type Permutations, gatherAxes } from '../src/matching/permutation.ts';
import type { PermutationSpec, TensorSpec } from '../src/model/permutation-spec.ts';
import type { Random } from '../src/tensor/random.ts';
import { elementCount, getTensor } from '../src/tensor/tensor.ts';
import type { GradientPair } from './gradient-pairs.ts';

const MAX_SWEEPS = 100;

export interface PlainResult {
  readonly permutations: ReadonlyMap<string, Int32Array>;
  readonly sweeps: number;
  readonly laps: number;
}

export function straightforwardMatching(
  core: Core,
  spec: PermutationSpec,
  pairs: readonly GradientPair[],
  start: Permutations,
  random: Random,
): PlainResult {
  const permutations = new Map(start);
  let laps = 0;
  for (let sweep = 1; ; sweep++) {
    let progress = false;
    for (const index of random.permutation(spec.groups.length)) {
      const { id, size } = spec.groups[index] as PermutationSpec['groups'][number];
      laps++;
      core.scoped((scratch) => {
        const similarityPtr = scratch.f32(size * size);
        similarityInto(core, spec, pairs, id, permutations, similarityPtr);
        const { assignment } = assignOnHeap(core, similarityPtr, size);
        const similarity = core.f32(similarityPtr, size * size);
        const before = assignedSum(similarity, permutations.get(id) as Int32Array);
        const after = assignedSum(similarity, assignment);
        permutations.set(id, assignment);
        if (after > before + 1e-7 * Math.abs(before)) progress = true;
      });
    }
    if (!progress || sweep === MAX_SWEEPS) return { permutations, sweeps: sweep, laps };
  }
}

function similarityInto(
  core: Core,
  spec: PermutationSpec,
  pairs: readonly GradientPair[],
  groupId: string,
  permutations: ReadonlyMap<string, Int32Array>,
  outPtr: number,
): void {
  const group = spec.groups.find(({ id }) => id === groupId) as PermutationSpec['groups'][number];
  const { size } = group;
  core.f32(outPtr, size * size).fill(0);
  for (const { target, source } of pairs) {
    for (const { tensor, axis } of group.members) {
      if (!target.has(tensor)) continue;
      const tensorSpec = spec.tensors.get(tensor) as TensorSpec;
      const perms = tensorSpec.axes.map((id, at) => (id === null || at === axis ? null : (permutations.get(id as string) as Int32Array)));
      const permuted = perms.every((perm) => perm === null)
        ? getTensor(source, tensor).data
        : gatherAxes(getTensor(source, tensor).data, tensorSpec.view, perms);
      core.scoped((scratch) => {
        const a = scratch.upload(axisToFront(getTensor(target, tensor).data, tensorSpec.view, axis));
        const b = scratch.upload(axisToFront(permuted, tensorSpec.view, axis));
        matmul(core, { a, b, c: outPtr, m: size, n: size, k: permuted.length / size, transposeB: true, accumulate: true });
      });
    }
  }
}

function axisToFront(data: Float32Array, view: readonly number[], axis: number): Float32Array {
  if (axis === 0) return data;
  const before = elementCount(view.slice(0, axis));
  const size = view[axis] as number;
  const after = elementCount(view.slice(axis + 1));
  const out = new Float32Array(data.length);
  let at = 0;
  for (let i = 0; i < size; i++) {
    for (let p = 0; p < before; p++) {
      const from = (p * size + i) * after;
      for (let q = 0; q < after; q++) out[at++] = data[from + q] as number;
    }
  }
  return out;
}
