/**
 * NumPy's .npy: a magic string, a Python dictionary as text, the elements. The dictionary is read by a grammar of its
 * own for exactly the three keys that NumPy writes; nothing is evaluated. Elements come out little-endian in C order.
 */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { type Dtype, dtypeBits } from '../dtype.ts';
import { countElements } from '../extents.ts';
import { decodeUtf8 } from '../json.ts';
import { type RawTensor, requireBytesOfShape } from '../safetensors.ts';
import { gather, rowMajorStrides } from './strided.ts';

const MAGIC = '\u0093NUMPY';
/** NumPy itself refuses headers above 10,000 bytes unless told otherwise; version 1.0 cannot state more than this. */
const LONGEST_HEADER = 65_535;

/** NumPy's type codes without byte order. */
const dtypes: Readonly<Record<string, Dtype>> = {
  b1: 'BOOL', i1: 'I8', u1: 'U8', i2: 'I16', u2: 'U16', f2: 'F16', i4: 'I32', u4: 'U32', f4: 'F32', i8: 'I64', u8: 'U64', f8: 'F64',
  c8: 'C64',
};
const codes = new Map(Object.entries(dtypes).map(([code, dtype]) => [dtype, code]));

interface NpyHeader {
  readonly dtype: Dtype;
  readonly bigEndian: boolean;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
}

/**
 * Reads a whole file.
 * @throws MalformedFileError, LimitError; UnsupportedError for types that are not plain numbers (structured, text, dates).
 */
export function readNpy(bytes: Uint8Array, field = 'npy'): RawTensor {
  const malformed = (expected: string, got: string): never => {
    throw new MalformedFileError({ field, expected, got });
  };
  if (bytes.byteLength < 10) malformed('at least 10 bytes', `${bytes.byteLength}`);
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC.charCodeAt(i)) malformed('the magic string \\x93NUMPY', 'other bytes');
  const [major, minor] = [bytes[6] as number, bytes[7] as number];
  if (major < 1 || major > 3 || minor !== 0) {
    throw new UnsupportedError({ field, expected: 'version 1.0, 2.0 or 3.0', got: `${major}.${minor}` });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const textBegin = major === 1 ? 10 : 12;
  if (bytes.byteLength < textBegin) malformed(`at least ${textBegin} bytes`, `${bytes.byteLength}`);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const begin = textBegin + length;
  if (begin > bytes.byteLength) malformed(`a header within ${bytes.byteLength} bytes`, `${length}`);
  if (length > LONGEST_HEADER) throw new LimitError({ field, expected: `a header of at most ${LONGEST_HEADER} bytes`, got: `${length}` });
  const text = bytes.subarray(textBegin, begin);
  // Versions 1 and 2 are Latin-1; only structured types, which we do not read, have anything beyond ASCII.
  const { dtype, bigEndian, fortranOrder, shape } = parseHeader(
    field,
    major === 3 ? decodeUtf8(field, text) : new TextDecoder('latin1').decode(text),
  );
  const elements = countElements(`${field} shape`, shape);
  const width = dtypeBits[dtype] / 8;
  const data = bytes.subarray(begin);
  if (data.byteLength !== elements * width) malformed(`${elements * width} bytes of elements`, `${data.byteLength}`);
  const ordered = fortranOrder && shape.length > 1 ? toRowMajor(data, shape, width) : data;
  return { dtype, shape, bytes: bigEndian ? swapBytes(ordered, dtype === 'C64' ? 4 : width) : ordered };
}

/** `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`: keys in any order, each once. */
function parseHeader(field: string, text: string): NpyHeader {
  let at = 0;
  const refuse = (expected: string): never => {
    throw new MalformedFileError({
      field: `${field} header`,
      expected: `${expected} at character ${at}`,
      got: describe(text.slice(at, at + 16)),
    });
  };
  /** Takes a token after white space; undefined where the text goes on otherwise. */
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    while (' \t\n\r'.includes(text[at] ?? '?')) at++;
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at += match[0].length;
    return match ?? undefined;
  };
  const QUOTED = /'([^'"\\\n]*)'|"([^'"\\\n]*)"/y;
  const quoted = (): string | undefined => {
    const match = take(QUOTED);
    return match === undefined ? undefined : (match[1] ?? match[2]);
  };
  let descr: string | undefined;
  let fortranOrder: boolean | undefined;
  let shape: readonly number[] | undefined;
  if (take(/\{/y) === undefined) refuse('{');
  while (take(/\}/y) === undefined) {
    const key = quoted();
    if (take(/:/y) === undefined) refuse(':');
    if (key === 'descr' && descr === undefined) {
      if (take(/\[/y) !== undefined) throw new UnsupportedError({ field, expected: 'an array of numbers', got: 'a structured type' });
      descr = quoted() ?? refuse('a type in quotes');
    } else if (key === 'fortran_order' && fortranOrder === undefined) {
      fortranOrder = (take(/True\b|False\b/y) ?? refuse('True or False'))[0] === 'True';
    } else if (key === 'shape' && shape === undefined) {
      shape = parseTuple(take, refuse);
    } else {
      refuse("the keys 'descr', 'fortran_order' and 'shape', each once");
    }
    if (take(/,/y) === undefined) {
      if (take(/\}/y) === undefined) refuse(', or }');
      break;
    }
  }
  take(/$/y);
  if (at !== text.length) refuse('the end of the header');
  if (descr === undefined || fortranOrder === undefined || shape === undefined) return refuse('all of descr, fortran_order and shape');
  return { ...parseDescr(field, descr), fortranOrder, shape };
}

/** `()`, `(3,)`, `(3, 4)`; Python 2 wrote `(3L, 4L)`. A lone `(3)` is a number, not a shape. */
function parseTuple(take: (pattern: RegExp) => RegExpExecArray | undefined, refuse: (expected: string) => never): readonly number[] {
  const shape: number[] = [];
  if (take(/\(/y) === undefined) refuse('(');
  let commas = 0;
  while (take(/\)/y) === undefined) {
    if (shape.length > commas) refuse(', or )');
    const [, digits] = take(/(0|[1-9][0-9]{0,15})L?(?![0-9A-Za-z_.])/y) ?? refuse('an integer ≥ 0');
    const extent = Number(digits);
    if (!Number.isSafeInteger(extent)) refuse('an integer below 2^53');
    shape.push(extent);
    if (take(/,/y) !== undefined) commas++;
  }
  if (shape.length === 1 && commas === 0) refuse('a comma after a lone extent');
  return shape;
}

function parseDescr(field: string, descr: string): { readonly dtype: Dtype; readonly bigEndian: boolean } {
  const [order, code] = [descr[0], descr.slice(1)];
  // Arrays of Python objects are pickles: reading them runs code.
  if (code === 'O' || descr === 'O' || descr === 'object')
    throw new MalformedFileError({ field, expected: 'an array of numbers', got: 'an array of Python objects (a pickle)' });
  const dtype = Object.hasOwn(dtypes, code) ? dtypes[code] : undefined;
  if (dtype === undefined) {
    if (/^[<>|][SUVMmcfiuab]/.test(descr)) throw new UnsupportedError({ field, expected: 'an array of numbers', got: describe(descr) });
    throw new MalformedFileError({ field, expected: 'a NumPy type', got: describe(descr) });
  }
  // '=' and '|' would leave the byte order to the machine that reads.
  if (order !== '<' && order !== '>' && !(order === '|' && dtypeBits[dtype] === 8)) {
    throw new MalformedFileError({ field, expected: "a type with its byte order, '<' or '>'", got: describe(descr) });
  }
  return { dtype, bigEndian: order === '>' && dtypeBits[dtype] > 8 };
}

function swapBytes(data: Uint8Array, width: number): Uint8Array {
  const swapped = new Uint8Array(data.byteLength);
  for (let i = 0; i < data.byteLength; i += width) {
    for (let k = 0; k < width; k++) swapped[i + k] = data[i + width - 1 - k] as number;
  }
  return swapped;
}

/** Fortran order (first axis fastest) to C order (last axis fastest). */
function toRowMajor(data: Uint8Array, shape: readonly number[], width: number): Uint8Array {
  const strides = rowMajorStrides(shape.toReversed()).toReversed();
  return gather(data, { offset: 0, shape, strides }, width);
}

/** Whether NumPy has that type. */
export function isNumpyDtype(dtype: Dtype): boolean {
  return codes.has(dtype);
}

/** NumPy (1.23 and later) leaves room for the first extent to grow to this many digits in place. */
const GROWTH_DIGITS = 21;

/**
 * The file that NumPy itself would write (version 1.0, little-endian, C order).
 * @throws UnsupportedError for types that NumPy lacks, MalformedFileError as `requireBytesOfShape`.
 */
export function writeNpy(name: string, tensor: RawTensor): Uint8Array<ArrayBuffer> {
  const { dtype, shape, bytes } = tensor;
  const code = codes.get(dtype);
  if (code === undefined) throw new UnsupportedError({ field: name, expected: 'a type that NumPy has', got: dtype });
  requireBytesOfShape(name, tensor);
  const order = dtypeBits[dtype] === 8 ? '|' : '<';
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const growth = shape.length === 0 ? 0 : GROWTH_DIGITS - `${shape[0]}`.length;
  const text = `{'descr': '${order}${code}', 'fortran_order': False, 'shape': ${tuple}, }${' '.repeat(growth)}`;
  // Elements begin at a multiple of 64; a newline ends the padding.
  const begin = Math.ceil((10 + text.length + 1) / 64) * 64;
  const file = new Uint8Array(begin + bytes.byteLength).fill(0x20, 0, begin);
  file.set(new TextEncoder().encode(text), 10);
  for (let i = 0; i < MAGIC.length; i++) file[i] = MAGIC.charCodeAt(i);
  file.set([1, 0, (begin - 10) & 255, (begin - 10) >> 8], 6);
  file[begin - 1] = 0x0a;
  file.set(bytes, begin);
  return file;
}
