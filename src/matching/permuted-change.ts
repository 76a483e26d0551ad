/**
 * What the points of a transfer are made of: θ on the line between two, and base + π(now − before). Tensors pass through the WebAssembly heap in
 * pieces that stay in the second-level cache: of an MLP 512's GMT this was a seventh in JavaScript, at 2 ns a number for each of the two.
 */
import type { Core, Scratch } from '../core/core.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NamedTensors, Tensor } from '../tensor/tensor.ts';
import { axisPermutations, requirePermutations, requireSpecShape, walkOf } from './permutation.ts';
import type { Permutations, Walk } from './permutation.ts';

/** Numbers of a piece. */
const PIECE = 16_384;

/** a + c·(b − a), each element computed in f64 and rounded once to f32; written to arrays of `into` where there are some. */
export function interpolate(core: Core, a: NamedTensors, b: NamedTensors, c: number, into?: NamedTensors): NamedTensors {
  return core.scoped((scratch) => {
    const [aPtr, bPtr] = [scratch.f32(PIECE, 'piece of a tensor'), scratch.f32(PIECE, 'piece of a tensor')];
    const [aPiece, bPiece] = [core.f32(aPtr, PIECE), core.f32(bPtr, PIECE)];
    const between = new Map<string, Tensor>();
    for (const [name, { shape, data }] of a) {
      const other = getTensor(b, name).data;
      const out = into === undefined ? new Float32Array(data.length) : getTensor(into, name).data;
      for (let at = 0; at < data.length; at += PIECE) {
        const end = Math.min(at + PIECE, data.length);
        aPiece.set(data.subarray(at, end));
        bPiece.set(other.subarray(at, end));
        core.kernels.interpolateF32(aPtr, bPtr, c, aPtr, end - at);
        out.set(aPiece.subarray(0, end - at), at);
      }
      between.set(name, { shape, data: out });
    }
    return between;
  });
}

/**
 * base + π(now − before), the difference rounded to f32 before it is added: the numbers of subtracting, `permuteTensors` and adding.
 * @param into arrays of those shapes to write to; new ones without.
 * @throws as `permuteTensors`, and where one of them lacks a tensor of `base`; OutOfMemoryError where the largest tensor does not fit the heap.
 */
export function addPermutedChange(
  core: Core, spec: PermutationSpec, base: NamedTensors, now: NamedTensors, before: NamedTensors, perms: Permutations, into?: NamedTensors,
): NamedTensors {
  requirePermutations(spec, perms);
  const sums = new Map<string, Tensor>();
  for (const [name, { shape, data }] of base) {
    const tensorSpec = spec.tensors.get(name);
    if (tensorSpec === undefined) throw new InvalidArgumentError({ field: name, expected: 'a tensor of the permutation spec', got: 'one it lacks' });
    const [end, start] = [getTensor(now, name), getTensor(before, name)];
    for (const tensor of [end, start]) requireSpecShape(tensorSpec, tensor, name);
    const out = into === undefined ? new Float32Array(data.length) : getTensor(into, name).data;
    const walk = walkOf(data.length, tensorSpec.view, axisPermutations(tensorSpec, perms));
    core.scoped((scratch) => addWalked(core, data, uploadDifference(core, scratch, end.data, start.data), walk, out));
    sums.set(name, { shape, data: out });
  }
  return sums;
}

/** a − b on the heap. */
function uploadDifference(core: Core, scratch: Scratch, a: Float32Array, b: Float32Array): number {
  const differencePtr = scratch.upload(a, 'change of a tensor');
  core.scoped((pieces) => {
    const piecePtr = pieces.f32(PIECE, 'piece of a tensor');
    const piece = core.f32(piecePtr, PIECE);
    for (let at = 0; at < b.length; at += PIECE) {
      const end = Math.min(at + PIECE, b.length);
      piece.set(b.subarray(at, end));
      core.kernels.subtractF32(differencePtr + 4 * at, piecePtr, differencePtr + 4 * at, end - at);
    }
  });
  return differencePtr;
}

/** out = base + the numbers at `changePtr` in the order of the walk. */
function addWalked(core: Core, base: Float32Array, changePtr: number, { starts, run, columns }: Walk, out: Float32Array): void {
  core.scoped((scratch) => {
    const startsPtr = scratch.upload(starts, 'starts of runs');
    const columnsPtr = columns === null ? 0 : scratch.upload(columns, 'columns');
    const width = columns?.length ?? run;
    // Long runs are cut; columns are not.
    const length = columns === null ? Math.min(width, PIECE) : width;
    const runs = Math.max(1, Math.floor(PIECE / width));
    const piecePtr = scratch.f32(runs * length, 'piece of a tensor');
    const piece = core.f32(piecePtr, runs * length);
    for (let first = 0; first < starts.length; first += runs) {
      const count = Math.min(runs, starts.length - first);
      for (let offset = 0; offset < width; offset += length) {
        const own = Math.min(length, width - offset);
        const at = first * width + offset;
        piece.set(base.subarray(at, at + count * own));
        core.kernels.addGatheredF32(piecePtr, changePtr + 4 * offset, startsPtr + 4 * first, count, own, columnsPtr);
        out.set(piece.subarray(0, count * own), at);
      }
    }
  });
}
