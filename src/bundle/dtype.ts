/**
 * Element types of network files, and their conversion to the f32 that trajport computes in.
 * Conversions work on bits where a NaN could pass: engines differ in what they do with NaN payloads, and the same
 * file must give the same bytes everywhere.
 */
import { UnsupportedError } from '../core/errors.ts';

/** safetensors' names and widths in bits. */
export const dtypeBits = {
  BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64, I64: 64, U64: 64,
} as const;

/** Element types by safetensors' names. */
export type Dtype = keyof typeof dtypeBits;

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(dtypeBits, name);
}

/** An aligned little-endian copy: typed-array views throw at odd offsets, which safetensors allows. */
function alignedCopy(bytes: Uint8Array): ArrayBuffer {
  const copy = new Uint8Array(bytes.byteLength);
  copy.set(bytes);
  return copy.buffer;
}

/** IEEE half → single, exact, NaN payloads kept in the upper bits. */
function widenF16(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f80_0000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // Denormal: shift the leading one into place.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | ((fraction << (shift + 13)) & 0x7f_ffff);
}

function fromF64(source: ArrayBuffer, target: Float32Array): void {
  const values = new Float64Array(source);
  const words = new Uint32Array(source);
  const bits = new Uint32Array(target.buffer);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (value === value) {
      target[i] = value;
    } else {
      const low = words[2 * i] as number;
      const high = words[2 * i + 1] as number;
      bits[i] = (high & 0x8000_0000) | 0x7fc0_0000 | ((high & 0x7_ffff) << 3) | (low >>> 29);
    }
  }
}

/**
 * An integer as a double that rounds to the f32 nearest to it. Beyond 2^53 the double would itself be rounded, perhaps to the middle
 * between two f32; there the bits that it has no room for are kept as one below all that the f32 keeps.
 */
function roundOnce(value: bigint): number {
  const double = Number(value);
  if (Number.isSafeInteger(double)) return double;
  return Number((value >> 11n) | ((value & 0x7ffn) === 0n ? 0n : 1n)) * 2048;
}

/**
 * Little-endian elements of any float or integer type to f32 (round to nearest even).
 * @param field the tensor's name, for errors.
 * @throws UnsupportedError for 4-, 6- and 8-bit floats and complex numbers, which no training checkpoint holds.
 */
export function toFloat32(field: string, dtype: Dtype, bytes: Uint8Array): Float32Array {
  if (dtype === 'F32') return new Float32Array(alignedCopy(bytes));
  const count = Math.floor((bytes.byteLength * 8) / dtypeBits[dtype]);
  const result = new Float32Array(count);
  const bits = new Uint32Array(result.buffer);
  switch (dtype) {
    case 'F16': {
      const halves = new Uint16Array(alignedCopy(bytes));
      for (let i = 0; i < count; i++) bits[i] = widenF16(halves[i] as number);
      return result;
    }
    case 'BF16': {
      const halves = new Uint16Array(alignedCopy(bytes));
      for (let i = 0; i < count; i++) bits[i] = (halves[i] as number) << 16;
      return result;
    }
    case 'F64':
      fromF64(alignedCopy(bytes), result);
      return result;
    case 'I64':
    case 'U64': {
      const values = dtype === 'I64' ? new BigInt64Array(alignedCopy(bytes)) : new BigUint64Array(alignedCopy(bytes));
      for (let i = 0; i < count; i++) result[i] = roundOnce(values[i] as bigint);
      return result;
    }
    case 'I32':
      result.set(new Int32Array(alignedCopy(bytes)));
      return result;
    case 'U32':
      result.set(new Uint32Array(alignedCopy(bytes)));
      return result;
    case 'I16':
      result.set(new Int16Array(alignedCopy(bytes)));
      return result;
    case 'U16':
      result.set(new Uint16Array(alignedCopy(bytes)));
      return result;
    case 'I8':
      result.set(new Int8Array(alignedCopy(bytes)));
      return result;
    case 'U8':
    case 'BOOL':
      result.set(bytes);
      return result;
    default:
      throw new UnsupportedError({ field, expected: 'a type that converts to F32', got: dtype });
  }
}
