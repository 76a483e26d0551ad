/**
 * What the points of a transfer are made of: θ on the line between two, and base + π(now − before), computed on the
 * WebAssembly heap where a network reads them. Arrays enter in pieces that stay in the second-level cache: of an MLP
 * 512's GMT this was a seventh in JavaScript, at 2 ns a number for each of the two, and a tenth while points went
 * through arrays of their own.
 */
import type { Core, Scratch } from '../core/core.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NamedTensors, Tensor, TensorWriter } from '../tensor/tensor.ts';
import { axisPermutations, requirePermutations, requireSpecShape, specOf, walkOf } from './permutation.ts';
import type { Permutations, Walk } from './permutation.ts';

/** Numbers of a piece. */
const PIECE = 16_384;

/** A point of a trajectory behind its start. */
interface MovedPoint {
  readonly write: TensorWriter;
  /** The point minus the trajectory's start, rounded to f32. */
  readonly writeChange: TensorWriter;
}

/** At the start itself there is no change to write: −0 + 0 would be another number. */
export type TrajectoryPoint = MovedPoint | { readonly write: TensorWriter; readonly writeChange: undefined };

/**
 * The point a + c·(b − a), each element computed in f64 and rounded once to f32, of a trajectory that starts at `a`.
 * @throws its writers: InvalidArgumentError for a tensor that the spec, `a` or `b` lacks or has in another shape; OutOfMemoryError.
 */
export function pointBetween(core: Core, spec: PermutationSpec, a: NamedTensors, b: NamedTensors, c: number): MovedPoint {
  return trajectoryPoint(core, spec, a, b, (startPtr, toPtr, count) => core.kernels.interpolateF32(startPtr, toPtr, c, toPtr, count));
}

/** The point `now` of a trajectory that starts at `start`. @throws as `pointBetween`. */
export function pointAt(core: Core, spec: PermutationSpec, start: NamedTensors, now: NamedTensors): TrajectoryPoint {
  const point = trajectoryPoint(core, spec, start, now, undefined);
  return now === start ? { ...point, writeChange: undefined } : point;
}

/** @param move makes the point of `end`'s numbers on the heap and `start`'s; undefined where `end` is the point. */
function trajectoryPoint(
  core: Core,
  spec: PermutationSpec,
  start: NamedTensors,
  end: NamedTensors,
  move: ((startPtr: number, toPtr: number, count: number) => void) | undefined,
): MovedPoint {
  const write = (name: string, pointer: number, isChange: boolean): void => {
    const tensorSpec = specOf(spec, name);
    const [from, to] = [getTensor(start, name), getTensor(end, name)];
    for (const tensor of [from, to]) requireSpecShape(tensorSpec, tensor, name);
    const { length } = from.data;
    core.scoped((scratch) => {
      const longest = Math.min(PIECE, length);
      const startPtr = scratch.f32(longest, 'piece of a tensor');
      const [piece, out] = [core.f32(startPtr, longest), core.f32(pointer, length)];
      for (let at = 0; at < length; at += PIECE) {
        const count = Math.min(PIECE, length - at);
        const toPtr = pointer + 4 * at;
        out.set(to.data.subarray(at, at + count), at);
        if (move !== undefined || isChange) piece.set(from.data.subarray(at, at + count));
        move?.(startPtr, toPtr, count);
        if (isChange) core.kernels.subtractF32(toPtr, startPtr, toPtr, count);
      }
    });
  };
  return { write: (name, pointer) => write(name, pointer, false), writeChange: (name, pointer) => write(name, pointer, true) };
}

/**
 * base + π(change): the numbers of `permuteTensors` and adding.
 * @throws as `requirePermutations`; its writer InvalidArgumentError for a tensor that the spec or `base` lacks or has
 *   in another shape, OutOfMemoryError where it does not fit the heap a second time.
 */
export function permutedChange(
  core: Core,
  spec: PermutationSpec,
  base: NamedTensors,
  writeChange: TensorWriter,
  perms: Permutations,
): TensorWriter {
  requirePermutations(spec, perms);
  return (name, pointer) => {
    const tensorSpec = specOf(spec, name);
    const tensor = getTensor(base, name);
    requireSpecShape(tensorSpec, tensor, name);
    const { data } = tensor;
    const walk = walkOf(data.length, tensorSpec.view, axisPermutations(tensorSpec, perms));
    core.scoped((scratch) => {
      const changePtr = scratch.f32(data.length, `change of ${name}`);
      writeChange(name, changePtr);
      addWalked(core, scratch, data, changePtr, walk, pointer);
    });
  };
}

/** What `write` writes of each of the tensors of `like`, in arrays of `into` where it is given. */
export function readWritten(core: Core, write: TensorWriter, like: NamedTensors, into?: NamedTensors): NamedTensors {
  const tensors = new Map<string, Tensor>();
  for (const [name, { shape, data: { length } }] of like) {
    core.scoped((scratch) => {
      const pointer = scratch.f32(length, name);
      write(name, pointer);
      const written = core.f32(pointer, length);
      const data = into === undefined ? written.slice() : getTensor(into, name).data;
      if (into !== undefined) data.set(written);
      tensors.set(name, { shape, data });
    });
  }
  return tensors;
}

/** base + the numbers at `changePtr` in the order of the walk. */
function addWalked(
  core: Core,
  scratch: Scratch,
  base: Float32Array,
  changePtr: number,
  { starts, run, columns }: Walk,
  pointer: number,
): void {
  const startsPtr = scratch.upload(starts, 'starts of runs');
  const columnsPtr = columns === null ? 0 : scratch.upload(columns, 'columns');
  const width = columns?.length ?? run;
  // Long runs are cut; columns are not.
  const length = columns === null ? Math.min(width, PIECE) : width;
  const runs = Math.max(1, Math.floor(PIECE / width));
  const out = core.f32(pointer, base.length);
  for (let first = 0; first < starts.length; first += runs) {
    const count = Math.min(runs, starts.length - first);
    for (let offset = 0; offset < width; offset += length) {
      const own = Math.min(length, width - offset);
      const at = first * width + offset;
      out.set(base.subarray(at, at + count * own), at);
      core.kernels.addGatheredF32(pointer + 4 * at, changePtr + 4 * offset, startsPtr + 4 * first, count, own, columnsPtr);
    }
  }
}
