/** Plain arrays of numbers by name: what is put into a resume point and taken out of it again, with a check. */
import { MalformedFileError } from '../core/errors.ts';

/** The element types that a resume point may hold. */
export type NumberArray = Float32Array | Float64Array | Int32Array | Int8Array;
/** Array name → flat numbers, without a shape. */
export type NamedArrays = ReadonlyMap<string, NumberArray>;

const kinds = { f32: Float32Array, f64: Float64Array, i32: Int32Array, i8: Int8Array } as const;
type Kind = keyof typeof kinds;

/**
 * The array of that name.
 * @throws MalformedFileError where it is missing, of another type or length.
 */
export function takeArray<K extends Kind>(arrays: NamedArrays, name: string, kind: K, length?: number): InstanceType<(typeof kinds)[K]> {
  const found = arrays.get(name);
  if (!(found instanceof kinds[kind]) || (length !== undefined && found.length !== length)) {
    throw new MalformedFileError({
      field: name,
      expected: `${length ?? 'some'} numbers of type ${kind}`,
      got: found === undefined ? 'nothing' : `${found.length} of ${found.constructor.name}`,
    });
  }
  return found as InstanceType<(typeof kinds)[K]>;
}
