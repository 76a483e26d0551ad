/**
 * Gradients in memory: f32, or 8-bit codes with one scale a row when the history's budget asks for it. A code is off by at most
 * half a step of its row's largest element ÷ 127; the errors of millions of elements are unrelated and cancel in inner
 * products, so a matching's objective moves by far less than the Cauchy–Schwarz bound that is reported.
 */

/** Rows of equal length that can be read back as f32. */
export interface CodedRows {
  /** Elements in all. */
  readonly length: number;
  readonly byteLength: number;
  /** ‖decoded − original‖, 0 for exact ones. */
  readonly errorNorm: number;
  /** ‖decoded‖², summed in f64. */
  squaredNorm(): number;
  /** What it consists of: the numbers themselves, or codes and a scale a row. */
  readonly stored: { readonly exact: Float32Array } | { readonly codes: Int8Array; readonly scales: Float32Array };
  /** Writes `out.length` elements from element `from` on. */
  decode(from: number, out: Float32Array): void;
}

export function exactRows(data: Float32Array): CodedRows {
  return {
    length: data.length,
    byteLength: data.byteLength,
    errorNorm: 0,
    squaredNorm: () => data.reduce((sum, x) => sum + x * x, 0),
    stored: { exact: data },
    decode: (from, out) => out.set(data.subarray(from, from + out.length)),
  };
}

const LARGEST_CODE = 127;

/** Bytes of `quantisedRows`. */
export function quantisedBytes({ length }: CodedRows, width: number): number {
  return length + 4 * (width === 0 ? 0 : length / width);
}

/** 8-bit codes of rows of `width`; a fourth of the bytes. */
export function quantisedRows(rows: CodedRows, width: number): CodedRows {
  const codes = new Int8Array(rows.length);
  const scales = new Float32Array(width === 0 ? 0 : rows.length / width);
  const row = new Float32Array(width);
  let squaredError = 0;
  for (let r = 0; r < scales.length; r++) {
    rows.decode(r * width, row);
    let largest = 0;
    for (let i = 0; i < width; i++) largest = Math.max(largest, Math.abs(row[i] as number));
    const scale = Math.fround(largest / LARGEST_CODE);
    scales[r] = scale;
    if (scale === 0) {
      // Zero, or so small that its step underflows: the row becomes zero, which its norm accounts for.
      for (let i = 0; i < width; i++) squaredError += (row[i] as number) * (row[i] as number);
      continue;
    }
    for (let i = 0; i < width; i++) {
      const code = Math.max(-LARGEST_CODE, Math.min(LARGEST_CODE, Math.round((row[i] as number) / scale)));
      codes[r * width + i] = code;
      const error = Math.fround(code * scale) - (row[i] as number);
      squaredError += error * error;
    }
  }
  return codedRows(codes, scales, width, Math.sqrt(squaredError));
}

/** Rows of `width` codes with a scale a row. */
export function codedRows(codes: Int8Array, scales: Float32Array, width: number, errorNorm: number): CodedRows {
  // Asked for at every solve, and the codes stand.
  let squares: number | undefined;
  return {
    length: codes.length,
    byteLength: codes.byteLength + scales.byteLength,
    errorNorm,
    squaredNorm: () => (squares ??= codedSquares(codes, scales, width)),
    stored: { codes, scales },
    decode(from, out) {
      // Whole slices are read, so rows are rarely cut; the general case costs a division a row.
      for (let at = 0; at < out.length; ) {
        const r = Math.floor((from + at) / width);
        const end = Math.min(out.length, (r + 1) * width - from);
        const scale = scales[r] as number;
        for (; at < end; at++) out[at] = (codes[from + at] as number) * scale;
      }
    },
  };
}

function codedSquares(codes: Int8Array, scales: Float32Array, width: number): number {
  let sum = 0;
  for (let r = 0, at = 0; r < scales.length; r++) {
    const scale = scales[r] as number;
    for (let i = 0; i < width; i++) {
      const x = Math.fround((codes[at++] as number) * scale);
      sum += x * x;
    }
  }
  return sum;
}
