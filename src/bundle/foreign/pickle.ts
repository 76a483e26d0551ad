/**
 * Python's pickle as data: a stack machine that builds plain values and executes nothing. A global is only ever a name
 * on the stack; what a call of one means is decided by the host, by its name, and where it has no meaning it is a typed refusal.
 * Instances of classes that the host does not know are passed over whole, with what they hold.
 * Opcodes of protocols 2 to 5 that torch.save can emit; the text opcodes of protocols 0 and 1 are refused.
 * Time and memory are linear in the bytes: each opcode is at least one byte and makes at most one value.
 */
import { describe } from '../../core/describe.ts';
import { LimitError, UnsupportedError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { decodeUtf8 } from '../json.ts';
import type { ByteCursor } from './byte-cursor.ts';

export class PyTuple<H> {
  readonly items: readonly PyValue<H>[];
  constructor(items: readonly PyValue<H>[]) {
    this.items = items;
  }
}

export class PyList<H> {
  readonly items: PyValue<H>[] = [];
}

/**
 * A dict or OrderedDict, in the order of insertion. Keys that are strings or integers occur once. Also what a class that the host
 * does not know gives when it is called with nothing, as kinds of OrderedDict are written: only items to come tell that it is one.
 */
export class PyDict<H> {
  readonly entries: (readonly [PyValue<H>, PyValue<H>])[] = [];
  /** That class. */
  readonly kind: string | undefined;
  readonly #keys = new Set<PyValue<H>>();
  constructor(kind?: string) {
    this.kind = kind;
  }

  /** @returns whether the key was new. */
  add(key: PyValue<H>, value: PyValue<H>): boolean {
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    this.entries.push([key, value]);
    return true;
  }
}

/** A name such as `torch._utils._rebuild_tensor_v2` or `torch.optim.sgd.SGD`; nothing is ever looked up by it but the host's allow-list. */
export class PyGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** A value that is passed over: of its kind only the name is kept, attributes and items that the file gives it are dropped. */
export class PyOpaque {
  readonly name: string;
  /** In words, of a member of an enum: a dict may have several of one kind as keys. */
  readonly value: string | undefined;
  constructor(name: string, value?: string) {
    this.name = name;
    this.value = value;
  }
}

/** `H`: what the host makes of persistent ids and of calls. */
export type PyValue<H> =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PyTuple<H>
  | PyList<H>
  | PyDict<H>
  | PyGlobal
  | PyOpaque
  | H;

export interface PickleHost<H> {
  /** What calling the global with these arguments gives; undefined where the name may not be called. */
  call(name: string, args: readonly PyValue<H>[]): PyValue<H> | undefined;
  /** Whether the name means something to the host: its instances are what calls give, and never passed over. */
  knows(name: string): boolean;
  /** What a persistent id stands for: PyTorch's storages, and classes of modules before 1.6. */
  persistent(id: PyValue<H>): PyValue<H>;
}

/** A position on the stack where a tuple, list or dict begins. */
const MARK = Symbol('mark');

type Slot<H> = PyValue<H> | typeof MARK;

/** Longest integer that is read: no checkpoint counts beyond 512 bits, and longer ones cost quadratic time. */
const INTEGER_BYTES = 64;
const GLOBAL_BYTES = 256;
const HIGHEST_PROTOCOL = 5;

const opcodes = {
  MARK: 0x28, EMPTY_TUPLE: 0x29, STOP: 0x2e, POP: 0x30, POP_MARK: 0x31, DUP: 0x32, BINBYTES: 0x42, SHORT_BINBYTES: 0x43, BINFLOAT: 0x47,
  BININT: 0x4a, BININT1: 0x4b, BININT2: 0x4d, NONE: 0x4e, BINPERSID: 0x51, REDUCE: 0x52, BINSTRING: 0x54, SHORT_BINSTRING: 0x55,
  BINUNICODE: 0x58, EMPTY_LIST: 0x5d, APPEND: 0x61, BUILD: 0x62, GLOBAL: 0x63, DICT: 0x64, APPENDS: 0x65, BINGET: 0x68, LONG_BINGET: 0x6a,
  LIST: 0x6c, BINPUT: 0x71, LONG_BINPUT: 0x72, SETITEM: 0x73, TUPLE: 0x74, SETITEMS: 0x75, EMPTY_DICT: 0x7d, PROTO: 0x80, NEWOBJ: 0x81,
  TUPLE1: 0x85, TUPLE2: 0x86, TUPLE3: 0x87, NEWTRUE: 0x88, NEWFALSE: 0x89, LONG1: 0x8a, LONG4: 0x8b, SHORT_BINUNICODE: 0x8c,
  BINUNICODE8: 0x8d, BINBYTES8: 0x8e, EMPTY_SET: 0x8f, ADDITEMS: 0x90, FROZENSET: 0x91, NEWOBJ_EX: 0x92, STACK_GLOBAL: 0x93, MEMOIZE: 0x94,
  FRAME: 0x95, BYTEARRAY8: 0x96,
} as const;

/**
 * Reads one pickle, from the cursor up to its STOP.
 * @throws MalformedFileError, UnsupportedError, LimitError naming the byte.
 */
export function readPickle<H>(cursor: ByteCursor, host: PickleHost<H>): PyValue<H> {
  return new Machine(cursor, host).run();
}

/** Two's complement, little-endian. */
function integerOf(bytes: Uint8Array): number | bigint {
  let value = 0n;
  for (let i = bytes.byteLength - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
  value = BigInt.asIntN(8 * bytes.byteLength, value);
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

class Machine<H> {
  readonly #cursor: ByteCursor;
  readonly #host: PickleHost<H>;
  readonly #stack: Slot<H>[] = [];
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PyValue<H>>();

  constructor(cursor: ByteCursor, host: PickleHost<H>) {
    this.#cursor = cursor;
    this.#host = host;
  }

  run(): PyValue<H> {
    for (;;) {
      const opcode = this.#cursor.u8();
      if (opcode === opcodes.STOP) {
        const value = this.#pop();
        if (this.#stack.length > 0) this.#cursor.fail('one value at the end of a pickle', `${this.#stack.length + 1}`);
        return value;
      }
      this.#step(opcode);
    }
  }

  #step(opcode: number): void {
    const cursor: ByteCursor = this.#cursor;
    switch (opcode) {
      case opcodes.PROTO: {
        const protocol = cursor.u8();
        if (protocol < 2 || protocol > HIGHEST_PROTOCOL) this.#unsupported(`pickle protocols 2 to ${HIGHEST_PROTOCOL}`, `${protocol}`);
        return;
      }
      // Frames only say how much to read ahead.
      case opcodes.FRAME:
        return void cursor.u64();
      case opcodes.MARK:
        this.#marks.push(this.#stack.length);
        return void this.#stack.push(MARK);
      case opcodes.POP:
        // CPython's POP takes a mark too.
        if (this.#stack.at(-1) === MARK) return void this.#sinceMark();
        return void this.#pop();
      case opcodes.POP_MARK:
        return void this.#sinceMark();
      case opcodes.DUP:
        return this.#push(this.#top());
      case opcodes.NONE:
        return this.#push(null);
      case opcodes.NEWTRUE:
        return this.#push(true);
      case opcodes.NEWFALSE:
        return this.#push(false);
      case opcodes.BININT:
        return this.#push(cursor.i32());
      case opcodes.BININT1:
        return this.#push(cursor.u8());
      case opcodes.BININT2:
        return this.#push(cursor.u16());
      case opcodes.LONG1:
        return this.#push(this.#integer(cursor.u8()));
      case opcodes.LONG4:
        return this.#push(this.#integer(cursor.u32()));
      case opcodes.BINFLOAT:
        return this.#push(cursor.f64BigEndian());
      case opcodes.BINUNICODE:
        return this.#push(this.#text(cursor.u32()));
      case opcodes.SHORT_BINUNICODE:
        return this.#push(this.#text(cursor.u8()));
      case opcodes.BINSTRING:
        return this.#push(this.#textOrBytes(cursor.u32()));
      case opcodes.SHORT_BINSTRING:
        return this.#push(this.#textOrBytes(cursor.u8()));
      case opcodes.BINUNICODE8:
        return this.#push(this.#text(cursor.u64()));
      case opcodes.BINBYTES:
        return this.#push(cursor.bytes(cursor.u32()));
      case opcodes.SHORT_BINBYTES:
        return this.#push(cursor.bytes(cursor.u8()));
      case opcodes.BINBYTES8:
      case opcodes.BYTEARRAY8:
        return this.#push(cursor.bytes(cursor.u64()));
      default:
        return this.#container(opcode);
    }
  }

  #container(opcode: number): void {
    switch (opcode) {
      case opcodes.EMPTY_TUPLE:
        return this.#push(new PyTuple<H>([]));
      case opcodes.TUPLE:
        return this.#push(new PyTuple(this.#sinceMark()));
      case opcodes.TUPLE1:
        return this.#push(new PyTuple(this.#popMany(1)));
      case opcodes.TUPLE2:
        return this.#push(new PyTuple(this.#popMany(2)));
      case opcodes.TUPLE3:
        return this.#push(new PyTuple(this.#popMany(3)));
      case opcodes.EMPTY_LIST:
        return this.#push(new PyList<H>());
      case opcodes.LIST: {
        const list = new PyList<H>();
        for (const item of this.#sinceMark()) list.items.push(item);
        return this.#push(list);
      }
      case opcodes.EMPTY_DICT:
        return this.#push(new PyDict<H>());
      case opcodes.DICT: {
        const items = this.#sinceMark();
        const dict = new PyDict<H>();
        this.#setItems(dict, items);
        return this.#push(dict);
      }
      case opcodes.APPEND:
        return this.#append(this.#popMany(1));
      case opcodes.APPENDS:
        return this.#append(this.#sinceMark());
      case opcodes.EMPTY_SET:
        return this.#push(new PyOpaque('builtins.set'));
      case opcodes.ADDITEMS:
        this.#sinceMark();
        if (!(this.#top() instanceof PyOpaque)) this.#cursor.fail('a set to add to', 'another value');
        return;
      case opcodes.FROZENSET:
        this.#sinceMark();
        return this.#push(new PyOpaque('builtins.frozenset'));
      case opcodes.SETITEM: {
        const items = this.#popMany(2);
        return this.#setItems(this.#top(), items);
      }
      case opcodes.SETITEMS: {
        const items = this.#sinceMark();
        return this.#setItems(this.#top(), items);
      }
      default:
        return this.#reference(opcode);
    }
  }

  #reference(opcode: number): void {
    const cursor: ByteCursor = this.#cursor;
    switch (opcode) {
      case opcodes.BINPUT:
        return this.#put(cursor.u8());
      case opcodes.LONG_BINPUT:
        return this.#put(cursor.u32());
      case opcodes.MEMOIZE:
        return this.#put(this.#memo.size);
      case opcodes.BINGET:
        return this.#get(cursor.u8());
      case opcodes.LONG_BINGET:
        return this.#get(cursor.u32());
      case opcodes.GLOBAL: {
        const module = decodeUtf8(cursor.field, cursor.line(GLOBAL_BYTES));
        return this.#global(module, decodeUtf8(cursor.field, cursor.line(GLOBAL_BYTES)));
      }
      case opcodes.STACK_GLOBAL: {
        const [module, name] = this.#popMany(2);
        if (typeof module !== 'string' || typeof name !== 'string') cursor.fail('a module and a name', 'other values');
        // References make a long string cost a byte or two; joined each time it is named, it would cost quadratic time.
        if (Math.max(module.length, name.length) > GLOBAL_BYTES) this.#limit(`names of at most ${GLOBAL_BYTES} characters`, 'longer ones');
        return this.#global(module, name);
      }
      case opcodes.REDUCE: {
        const [callable, args] = this.#popMany(2);
        return this.#push(this.#call(callable, args));
      }
      case opcodes.NEWOBJ: {
        const [type, args] = this.#popMany(2);
        return this.#push(this.#instance(type, args));
      }
      case opcodes.NEWOBJ_EX: {
        const [type, args, named] = this.#popMany(3);
        if (!(named instanceof PyDict)) cursor.fail('a dict of named arguments', 'another value');
        return this.#push(this.#instance(type, args));
      }
      case opcodes.BINPERSID:
        return this.#push(this.#host.persistent(this.#pop()));
      case opcodes.BUILD: {
        // What BUILD adds to a value is attributes, e.g. a state dict's `_metadata` of module versions: dropped.
        this.#pop();
        const value = this.#top();
        if (!(value instanceof PyDict || value instanceof PyOpaque))
          this.#unsupported('attributes of dicts and of objects that are passed over', 'attributes of another value');
        return;
      }
      default:
        return this.#unsupported('an opcode that torch.save writes for a dict of tensors', `0x${opcode.toString(16).padStart(2, '0')}`);
    }
  }

  #unsupported(expected: string, got: string): never {
    throw new UnsupportedError({ field: `${this.#cursor.field} at byte ${this.#cursor.at}`, expected, got });
  }

  #limit(expected: string, got: string): never {
    throw new LimitError({ field: `${this.#cursor.field} at byte ${this.#cursor.at}`, expected, got });
  }

  #call(callable: PyValue<H> | undefined, args: PyValue<H> | undefined): PyValue<H> {
    const named = callable instanceof PyGlobal || callable instanceof PyOpaque;
    if (!named || !(args instanceof PyTuple)) this.#cursor.fail('a global and its arguments', 'other values');
    const value = callable instanceof PyGlobal ? this.#host.call(callable.name, args.items) : undefined;
    if (value === undefined) {
      this.#unsupported(
        'calls that a dict of tensors needs (nothing is executed; save the state dict by itself)',
        `a call of ${describe(callable.name)}`,
      );
    }
    return value;
  }

  #instance(type: PyValue<H> | undefined, args: PyValue<H> | undefined): PyOpaque {
    if (!(type instanceof PyGlobal) || !(args instanceof PyTuple)) this.#cursor.fail('a class and its arguments', 'other values');
    if (this.#host.knows(type.name)) this.#unsupported('instances as torch.save writes them', `another instance of ${describe(type.name)}`);
    return new PyOpaque(type.name);
  }

  #push(value: PyValue<H>): void {
    this.#stack.push(value);
  }

  #top(): PyValue<H> {
    const value = this.#stack.at(-1);
    if (value === undefined || value === MARK) this.#cursor.fail('a value on the stack', 'none');
    return value as PyValue<H>;
  }

  #pop(): PyValue<H> {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #popMany(count: number): PyValue<H>[] {
    const values: PyValue<H>[] = [];
    for (let i = 0; i < count; i++) values.unshift(this.#pop());
    return values;
  }

  #sinceMark(): PyValue<H>[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.#cursor.fail('a mark on the stack', 'none');
    const values = this.#stack.splice(mark);
    values.shift();
    return values as PyValue<H>[];
  }

  #append(items: readonly PyValue<H>[]): void {
    const list = this.#top();
    if (list instanceof PyOpaque || (list instanceof PyDict && list.kind !== undefined)) return;
    if (!(list instanceof PyList)) this.#cursor.fail('a list to append to', 'another value');
    for (const item of items) list.items.push(item);
  }

  #setItems(dict: PyValue<H>, items: readonly PyValue<H>[]): void {
    if (items.length % 2 !== 0) this.#cursor.fail('keys with values', `${items.length} values`);
    if (dict instanceof PyOpaque) return;
    if (!(dict instanceof PyDict)) this.#cursor.fail('a dict to set items of', 'another value');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i] as PyValue<H>;
      if (!dict.add(key, items[i + 1] as PyValue<H>)) this.#cursor.fail('keys that occur once', `${describe(key)} twice`);
    }
  }

  #put(index: number): void {
    this.#memo.set(index, this.#top());
  }

  #get(index: number): void {
    if (!this.#memo.has(index)) this.#cursor.fail('a reference to a value before', `number ${index}`);
    this.#push(this.#memo.get(index) as PyValue<H>);
  }

  #global(module: string, name: string): void {
    this.#push(new PyGlobal(`${module}.${name}`));
  }

  #integer(bytes: number): number | bigint {
    if (bytes > INTEGER_BYTES) this.#limit(`integers of at most ${INTEGER_BYTES} bytes`, `${bytes}`);
    return integerOf(this.#cursor.bytes(bytes));
  }

  #text(bytes: number): string {
    if (bytes > limits.manifestBytes) this.#limit(`strings of at most ${limits.manifestBytes} bytes`, `${bytes}`);
    return decodeUtf8(this.#cursor.field, this.#cursor.bytes(bytes));
  }

  /** Python 2 has one type for both: a number of numpy's beside the weights is eight bytes of it, which mostly are no text. */
  #textOrBytes(length: number): string | Uint8Array {
    if (length > limits.manifestBytes) this.#limit(`strings of at most ${limits.manifestBytes} bytes`, `${length}`);
    const bytes = this.#cursor.bytes(length);
    try {
      return decodeUtf8(this.#cursor.field, bytes);
    } catch {
      return bytes;
    }
  }
}
