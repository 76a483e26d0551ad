/**
 * What torch.save's pickles may hold: storages, tensors that are views of them, the few names that a dict of tensors
 * needs, and what training keeps beside, which is passed over. Nothing here reads tensor bytes; it says which bytes of
 * which storage a tensor is.
 */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { type Dtype, dtypeBits } from '../dtype.ts';
import { countElements } from '../extents.ts';
import type { RawTensor } from '../safetensors.ts';
import { TensorCollector, requireNameLength } from './checkpoint.ts';
import { type PickleHost, PyDict, PyGlobal, PyList, PyOpaque, PyTuple, type PyValue } from './pickle.ts';
import { gather, isContiguous } from './strided.ts';

/** A named run of bytes elsewhere in the file. */
export class TorchStorage {
  readonly key: string;
  /** Undefined for untyped storages, whose elements are bytes until a tensor says more. */
  readonly dtype: Dtype | undefined;
  readonly bytes: number;
  constructor(key: string, dtype: Dtype | undefined, bytes: number) {
    this.key = key;
    this.dtype = dtype;
    this.bytes = bytes;
  }
}

/** A view of a storage; offset and strides count elements. */
class TorchTensor {
  readonly storage: TorchStorage;
  readonly dtype: Dtype;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(storage: TorchStorage, dtype: Dtype, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage;
    this.dtype = dtype;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

type TorchObject = TorchStorage | TorchTensor;
export type TorchValue = PyValue<TorchObject>;

const storageDtypes: Readonly<Record<string, Dtype>> = {
  'torch.FloatStorage': 'F32', 'torch.DoubleStorage': 'F64', 'torch.HalfStorage': 'F16', 'torch.BFloat16Storage': 'BF16',
  'torch.LongStorage': 'I64', 'torch.IntStorage': 'I32', 'torch.ShortStorage': 'I16', 'torch.CharStorage': 'I8', 'torch.ByteStorage': 'U8',
  'torch.BoolStorage': 'BOOL', 'torch.ComplexFloatStorage': 'C64',
};
const untypedStorages = new Set(['torch.storage.UntypedStorage', 'torch.UntypedStorage', 'torch.storage._UntypedStorage']);

const torchDtypes: Readonly<Record<string, Dtype>> = {
  'torch.float32': 'F32', 'torch.float64': 'F64', 'torch.float16': 'F16', 'torch.bfloat16': 'BF16', 'torch.int64': 'I64',
  'torch.int32': 'I32',
  'torch.int16': 'I16', 'torch.int8': 'I8', 'torch.uint8': 'U8', 'torch.uint16': 'U16', 'torch.uint32': 'U32', 'torch.uint64': 'U64',
  'torch.bool': 'BOOL', 'torch.complex64': 'C64',
};

/** Prefixes of both of numpy's generations. */
const numpyCores = ['numpy.core', 'numpy._core'];

/**
 * Calls that give a value of Python, numpy or torch which is passed over: what pickle writes for the values that training
 * scripts put beside the weights. Most classes of the file itself it instantiates without a call (for the others: `isClass`).
 */
const passedOver: ReadonlySet<string> = new Set([
  ...['set', 'frozenset', 'complex', 'slice', 'range', 'xrange', 'bytearray', 'type']
    .flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`]),
  ...['PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath'].flatMap((name) => [`pathlib.${name}`, `pathlib._local.${name}`]),
  ...['datetime', 'date', 'time', 'timedelta', 'timezone'].map((name) => `datetime.${name}`),
  'collections.Counter', 'collections.deque', 'types.SimpleNamespace', 'decimal.Decimal', 'fractions.Fraction', 'random.Random',
  'numpy.dtype',
  ...numpyCores.flatMap((core) => [`${core}.multiarray.scalar`, `${core}.numeric._frombuffer`]),
  ...['__randomstate_ctor', '__generator_ctor', '__bit_generator_ctor'].map((name) => `numpy.random._pickle.${name}`),
  'torch.device', 'torch.serialization._get_layout',
  'functools.partial', 're._compile', 'logging.getLogger',
  // Types such as List[int]; flags of several members, by the Pythons of `attributeOf`.
  '_operator.getitem', '_operator.or_',
]);

/** Calls that give an instance of their first argument, which is passed over. */
const instantiations: ReadonlySet<string> = new Set([
  'copyreg._reconstructor',
  'copy_reg._reconstructor',
  ...numpyCores.map((core) => `${core}.multiarray._reconstruct`),
]);

/** Python 3.11.0 to 3.11.3 writes members of enums, and every one before protocol 4 classes within classes, as attributes of a class. */
const attributeOf: ReadonlySet<string> = new Set(['builtins.getattr', '__builtin__.getattr']);

/**
 * Modules of Python whose classes start or open something when they are made. No class is ever made here: who writes a call of
 * one of these into a file wanted it to do harm, which its reader should know.
 */
const actingModules: ReadonlySet<string> = new Set([
  'asyncio', 'code', 'concurrent', 'ctypes', 'imp', 'importlib', 'io', '_io', 'multiprocessing', 'nt', 'os', 'pickle', '_pickle', 'posix',
  'pty', 'runpy', 'shelve', 'socket', '_socket', 'sqlite3', 'subprocess', 'sys', 'tempfile', 'threading', 'zipimport',
]);

/** Classes as everybody writes them, functions in small letters: what a call of one gives is an instance, which can be passed over. */
function isClass(name: string): boolean {
  const parts = name.split('.');
  return parts.length > 1 && !actingModules.has(parts[0] as string) && /^_*[A-Z]/.test(parts.at(-1) as string);
}

const isIntegers = (values: readonly unknown[]): values is readonly number[] =>
  values.every((value) => Number.isSafeInteger(value) && (value as number) >= 0);

/**
 * The storage of a persistent id `('storage', type, key, location, elements[, view])`. Its location (cpu, cuda:0) means
 * nothing here.
 */
function storageOf(field: string, id: TorchValue): TorchStorage {
  const fail = (expected: string, got: unknown): never => {
    throw new MalformedFileError({ field: `${field}: a storage`, expected, got: describe(got) });
  };
  if (!(id instanceof PyTuple) || id.items[0] !== 'storage') return fail("a tuple that begins with 'storage'", id);
  const [, type, key, , elements, view] = id.items;
  if (!(type instanceof PyGlobal)) return fail('a storage type', type);
  const dtype = Object.hasOwn(storageDtypes, type.name) ? storageDtypes[type.name] : undefined;
  if (dtype === undefined && !untypedStorages.has(type.name))
    throw new UnsupportedError({ field: `${field}: a storage`, expected: 'a known type', got: describe(type.name) });
  if (typeof key !== 'string') return fail('a key that is a string', key);
  if (typeof elements !== 'number' || !isIntegers([elements])) return fail('an element count that is an integer ≥ 0', elements);
  countElements(`${field}: a storage`, [elements]);
  // Views of storages went out of use with PyTorch 0.4.
  if (view !== undefined && view !== null)
    throw new UnsupportedError({ field, expected: 'storages that are not views of others', got: 'a view' });
  return new TorchStorage(key, dtype, elements * (dtype === undefined ? 1 : dtypeBits[dtype] / 8));
}

/** What a file's pickles mean: the allow-list, and every storage that they named. */
interface TorchHost extends PickleHost<TorchObject> {
  readonly storages: ReadonlyMap<string, TorchStorage>;
}

/** `field` names the file in errors. */
export function torchHost(field: string): TorchHost {
  const storages = new Map<string, TorchStorage>();
  const calls: Readonly<Record<string, (args: readonly TorchValue[]) => TorchValue>> = {
    'collections.OrderedDict': (args) => dictOf(field, args),
    'collections.defaultdict': () => new PyDict(),
    // Protocol 2 writes bytes as text to encode.
    '_codecs.encode': () => new PyOpaque('bytes'),
    'torch.Size': ([items]) => (items instanceof PyTuple ? items : new PyTuple([])),
    // (storage, offset, shape, strides[, requires_grad, hooks, metadata]); version 3 inserts the element type.
    'torch._utils._rebuild_tensor': (args) => tensorOf(field, args, undefined),
    'torch._utils._rebuild_tensor_v2': (args) => {
      requirePlainValues(field, args[6]);
      return tensorOf(field, args, undefined);
    },
    'torch._utils._rebuild_tensor_v3': (args) => {
      requirePlainValues(field, args[7]);
      return tensorOf(field, args, args[6]);
    },
    'torch._utils._rebuild_parameter': (args) => parameterOf(field, args),
    'torch._utils._rebuild_parameter_with_state': (args) => parameterOf(field, args),
  };
  const knows = (name: string): boolean =>
    Object.hasOwn(calls, name) || Object.hasOwn(storageDtypes, name) || untypedStorages.has(name) || Object.hasOwn(torchDtypes, name);
  return {
    call: (name, args) => {
      if (Object.hasOwn(calls, name)) return calls[name]?.(args);
      if (passedOver.has(name)) return new PyOpaque(name);
      if (instantiations.has(name)) return new PyOpaque(args[0] instanceof PyGlobal ? args[0].name : name);
      if (attributeOf.has(name)) return attribute(field, args);
      if (knows(name) || !isClass(name)) return undefined;
      // A member of an enum is its class called with its value, a kind of OrderedDict one called with nothing.
      return args.length === 0 ? new PyDict(name) : new PyOpaque(name, args.length === 1 ? plainText(args[0]) : undefined);
    },
    knows,
    persistent: (id) => {
      // Before 1.6 the class of a module came with its source text: ('module', class, file, source).
      if (id instanceof PyTuple && id.items[0] === 'module' && id.items[1] instanceof PyGlobal) return id.items[1];
      const storage = storageOf(field, id);
      const before = storages.get(storage.key);
      if (before === undefined) storages.set(storage.key, storage);
      else if (before.bytes !== storage.bytes || before.dtype !== storage.dtype) {
        throw new MalformedFileError({ field, expected: `storage ${describe(storage.key)} to be one`, got: 'two sizes or types of it' });
      }
      return before ?? storage;
    },
    storages,
  };
}

/** `getattr` of a class or of something passed over is a name again. */
function attribute(field: string, args: readonly TorchValue[]): PyGlobal | undefined {
  const [of, name] = args;
  if (args.length !== 2 || !(of instanceof PyGlobal || of instanceof PyOpaque) || typeof name !== 'string') return undefined;
  const length = of.name.length + 1 + name.length;
  // Attributes of attributes, each a few bytes of the file, would have names of quadratic length in all.
  if (length > limits.nameLength)
    throw new LimitError({ field, expected: `names of at most ${limits.nameLength} characters`, got: `${length}` });
  return new PyGlobal(`${of.name}.${name}`);
}

function plainText(value: TorchValue | undefined): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? describe(value) : undefined;
}

function dictOf(field: string, args: readonly TorchValue[]): PyDict<TorchObject> {
  const dict = new PyDict<TorchObject>();
  // Python 2 wrote the items into the call; Python 3 sets them afterwards.
  const [items] = args;
  if (items === undefined) return dict;
  if (!(items instanceof PyList))
    throw new MalformedFileError({ field, expected: 'an OrderedDict of a list of pairs', got: describe(items) });
  for (const pair of items.items) {
    const fits = (pair instanceof PyTuple || pair instanceof PyList) && pair.items.length === 2;
    if (!fits || !dict.add(pair.items[0] as TorchValue, pair.items[1] as TorchValue)) {
      throw new MalformedFileError({ field, expected: 'pairs with keys that occur once', got: describe(pair) });
    }
  }
  return dict;
}

function parameterOf(field: string, [tensor]: readonly TorchValue[]): TorchTensor {
  if (!(tensor instanceof TorchTensor))
    throw new MalformedFileError({ field, expected: 'a parameter made of a tensor', got: describe(tensor) });
  return tensor;
}

/**
 * @param metadata says of a lazy view, such as `x.conj().imag`, that its values are those stored with another sign.
 * @throws UnsupportedError for one.
 */
function requirePlainValues(field: string, metadata: TorchValue | undefined): void {
  const marks = metadata instanceof PyDict ? metadata.entries.filter(([, value]) => value === true).map(([key]) => key) : [];
  const sign = marks.find((mark) => mark === 'conj' || mark === 'neg');
  if (sign === undefined) return;
  throw new UnsupportedError({
    field: `${field}: a tensor`,
    expected: 'values as they are stored (resolve_conj() and resolve_neg() before torch.save)',
    got: `a view marked ${sign}`,
  });
}

function tensorOf(field: string, [storage, offset, shape, strides]: readonly TorchValue[], type: TorchValue | undefined): TorchTensor {
  const fail = (expected: string, got: unknown): never => {
    throw new MalformedFileError({ field: `${field}: a tensor`, expected, got: describe(got) });
  };
  if (!(storage instanceof TorchStorage)) return fail('a storage', storage);
  if (typeof offset !== 'number' || !isIntegers([offset])) return fail('an offset that is an integer ≥ 0', offset);
  if (!(shape instanceof PyTuple) || !isIntegers(shape.items)) return fail('a shape of integers ≥ 0', shape);
  if (!(strides instanceof PyTuple) || !isIntegers(strides.items) || strides.items.length !== shape.items.length) {
    return fail(`${shape.items.length} strides that are integers ≥ 0`, strides);
  }
  const named = type instanceof PyGlobal && Object.hasOwn(torchDtypes, type.name) ? torchDtypes[type.name] : undefined;
  const dtype = named ?? storage.dtype;
  if (dtype === undefined) return fail('an element type', type);
  if (storage.dtype !== undefined && storage.dtype !== dtype) return fail(`elements of ${storage.dtype}, the storage's`, dtype);
  const elements = countElements(`${field}: a tensor's shape`, shape.items);
  const available = Math.floor((storage.bytes * 8) / dtypeBits[dtype]);
  const last = shape.items.reduce((sum, extent, axis) => sum + (extent - 1) * (strides.items[axis] as number), offset);
  if (elements > 0 && !(last < available)) return fail(`a view within the ${available} elements of its storage`, last);
  // An expanded view (stride 0) turns a few bytes into gigabytes.
  if (elements > Math.max(available, 1)) {
    throw new LimitError({
      field: `${field}: a tensor`,
      expected: `at most the ${available} elements of its storage`,
      got: `${elements} in [${shape.items.join(', ')}]`,
    });
  }
  return new TorchTensor(storage, dtype, offset, shape.items, strides.items);
}

interface FlattenedTorch {
  readonly tensors: readonly (readonly [string, TorchTensor])[];
  readonly metadata: ReadonlyMap<string, string>;
  /** As in `ForeignCheckpoint`. */
  readonly containers: ReadonlySet<string>;
}

/** Values that one file may nest: a memo makes a list of lists of lists exponential in its bytes. */
const FLATTENED_VALUES = 1_000_000;
const FLATTENED_DEPTH = 32;
/** Characters of all their names: a file of 5 KB could give a million values names of 1,000 characters each, a gigabyte once written. */
const FLATTENED_NAMES = 2 ** 24;

/**
 * Nested containers as one list with dotted names: `{'state_dict': {'fc.weight': …}}` gives `state_dict.fc.weight`,
 * items of lists are numbered. Numbers, strings and names become metadata, and what was passed over is named there.
 * @throws UnsupportedError where there is no tensor at all; LimitError for nesting without end.
 */
export function flattenTorch(field: string, root: TorchValue): FlattenedTorch {
  const tensors: [string, TorchTensor][] = [];
  const metadata = new Map<string, string>();
  const containers = new Set<string>();
  const objects = new Set<string>();
  let visited = 0;
  let characters = 0;
  const visit = (name: string, given: TorchValue, depth: number): void => {
    const value = instanceOf(given);
    if (++visited > FLATTENED_VALUES) throw new LimitError({ field, expected: `at most ${FLATTENED_VALUES} values`, got: 'more' });
    if (depth > FLATTENED_DEPTH) throw new LimitError({ field, expected: `nesting of at most ${FLATTENED_DEPTH}`, got: 'deeper' });
    const child = (key: string): string => {
      const full = name === '' ? key : `${name}.${key}`;
      requireNameLength(field, full);
      characters += full.length;
      if (characters > FLATTENED_NAMES)
        throw new LimitError({ field, expected: `names of at most ${FLATTENED_NAMES} characters in all`, got: 'more' });
      return full;
    };
    if (name !== '' && (value instanceof PyDict || value instanceof PyList || value instanceof PyTuple)) containers.add(`${name}.`);
    if (value instanceof TorchTensor) tensors.push([name === '' ? 'tensor' : name, value]);
    else if (value instanceof PyDict) {
      for (const [key, item] of value.entries) visit(child(keyText(key)), item, depth + 1);
    } else if (value instanceof PyList || value instanceof PyTuple) {
      for (const [index, item] of value.items.entries()) visit(child(String(index)), item, depth + 1);
    } else if (
      (typeof value === 'string' && value.length <= limits.nameLength) ||
      typeof value === 'number' ||
      typeof value === 'bigint' ||
      typeof value === 'boolean'
    ) {
      metadata.set(name, String(value));
    } else if (value instanceof PyGlobal) metadata.set(name, value.name);
    else if (value instanceof PyOpaque) {
      metadata.set(name, `${opaqueText(value)}, not read`);
      objects.add(value.name);
    }
  };
  visit('', root, 0);
  if (tensors.length === 0) {
    throw new UnsupportedError({ field, expected: 'tensors in dicts, lists or tuples', got: withoutTensor([...objects]) });
  }
  return { tensors, metadata, containers };
}

/** What came of a class called with nothing and got no items, may be anything. */
function instanceOf(value: TorchValue): TorchValue {
  return value instanceof PyDict && value.kind !== undefined && value.entries.length === 0 ? new PyOpaque(value.kind) : value;
}

function keyText(given: TorchValue): string {
  const key = instanceOf(given);
  if (typeof key === 'string' || typeof key === 'number') return String(key);
  if (key instanceof PyGlobal) return key.name;
  if (key instanceof PyOpaque) return opaqueText(key);
  return key === null ? 'None' : describe(key);
}

const opaqueText = ({ name, value }: PyOpaque): string => (value === undefined ? name : `${name}(${value})`);

/** Kinds of objects that an error names. */
const NAMED_OBJECTS = 3;

/** What a file without tensors holds: mostly a model as a whole, whose class has to be known to read it. */
function withoutTensor(objects: readonly string[]): string {
  if (objects.length === 0) return 'no tensor';
  const named = objects.slice(0, NAMED_OBJECTS).map(describe).join(', ');
  const more = objects.length > NAMED_OBJECTS ? ` and ${objects.length - NAMED_OBJECTS} more` : '';
  return `only objects of ${named}${more}; save model.state_dict()`;
}

/** Bytes that copies of strided views may take in all, in multiples of what is stored: transposed and tied views are few. */
const COPIES_OF_STORAGE = 4;

/** The tensors' bytes: views where elements are contiguous, copies where they are not. `bytesOf` gives a storage's. */
export function materialiseTorch(
  field: string,
  flat: FlattenedTorch,
  bytesOf: (storage: TorchStorage) => Uint8Array,
): Map<string, RawTensor> {
  const stored = new Map(flat.tensors.map(([, { storage }]) => [storage.key, storage.bytes]));
  const storedBytes = [...stored.values()].reduce((sum, bytes) => sum + bytes, 0);
  const collected = new TensorCollector(field, storedBytes);
  let copyBudget = COPIES_OF_STORAGE * storedBytes;
  // Once a storage, not once a view: 20,000 small views of 8 MB that begin at an odd byte took 22 s instead of 0.2.
  const aligned = new Map<string, Uint8Array>();
  const alignedBytes = ({ key }: TorchStorage, bytes: Uint8Array, width: number): Uint8Array => {
    if (bytes.byteOffset % width === 0) return bytes;
    const copy = aligned.get(key) ?? bytes.slice();
    aligned.set(key, copy);
    return copy;
  };
  for (const [name, tensor] of flat.tensors) {
    const { dtype, shape } = tensor;
    const width = dtypeBits[dtype] / 8;
    const elements = countElements(`${field}.${name}`, shape);
    const bytes = bytesOf(tensor.storage);
    if (elements === 0) collected.add(name, { dtype, shape, bytes: new Uint8Array(0) });
    else if (isContiguous(tensor)) {
      collected.add(name, { dtype, shape, bytes: bytes.subarray(tensor.offset * width, (tensor.offset + elements) * width) });
    } else {
      copyBudget -= elements * width;
      if (copyBudget < 0) {
        throw new LimitError({
          field: `${field}.${name}`,
          expected: `strided views of at most ${COPIES_OF_STORAGE} times the stored bytes`,
          got: 'more',
        });
      }
      collected.add(name, { dtype, shape, bytes: gather(alignedBytes(tensor.storage, bytes, width), tensor, width) });
    }
  }
  return collected.tensors;
}
