/**
 * HDF5, as much as network weights need (Keras, h5py): groups of both generations, contiguous and compact datasets of
 * little-endian numbers. Chunks, filters, strings, compounds and groups in fractal heaps are typed refusals.
 * A reader of our own, because a library that follows addresses in a damaged file may follow them for ever: here every
 * step is counted against the file's size, every group is entered once, and nothing recurses beyond a cap.
 */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { type Dtype, dtypeBits } from '../dtype.ts';
import { countElements } from '../extents.ts';
import { decodeUtf8 } from '../json.ts';
import type { RawTensor } from '../safetensors.ts';
import { ByteCursor } from './byte-cursor.ts';
import { TensorCollector, requireNameLength } from './checkpoint.ts';
import { lookup3 } from './lookup3.ts';

const SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];
const OFFSET_BYTES = 8;
const GROUP_DEPTH = 32;
const CHECKED_BYTES_PER_STEP = 16;

const messageTypes = { dataspace: 1, linkInfo: 2, datatype: 3, link: 6, layout: 8, continuation: 16, symbolTable: 17 } as const;

export function isHdf5(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/** Bytes before a superblock that does not stand at the beginning: 512, 1024 … in files of MATLAB 7.3. Undefined for other files. */
export function userBlockBytes(bytes: Uint8Array): number | undefined {
  for (let at = 512; at < bytes.byteLength; at *= 2) if (isHdf5(bytes.subarray(at))) return at;
  return undefined;
}

/** Every dataset by its path, e.g. `model_weights/dense/kernel:0`. @throws MalformedFileError, UnsupportedError, LimitError */
export function readHdf5(field: string, bytes: Uint8Array): ReadonlyMap<string, RawTensor> {
  const file = new Hdf5File(field, bytes);
  file.readGroup('', file.rootAddress(), 0);
  return file.datasets.tensors;
}

interface Message {
  readonly type: number;
  readonly data: Uint8Array;
}

/** Addresses of all ones mean: nothing there. */
const isUndefined = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0xff);

/** The root has no name. */
const described = (path: string): string => (path === '' ? 'the root' : path);

/** A length of 1, 2, 4 or 8 bytes, as the two lowest flags say. */
function sizedInteger(cursor: ByteCursor, flags: number): number {
  switch (flags & 3) {
    case 0: return cursor.u8();
    case 1: return cursor.u16();
    case 2: return cursor.u32();
    default: return cursor.u64();
  }
}

function unsupported(field: string, expected: string, got: string): never {
  throw new UnsupportedError({ field, expected, got });
}

class Hdf5File {
  readonly datasets: TensorCollector;
  readonly #field: string;
  readonly #bytes: Uint8Array;
  readonly #entered = new Set<number>();
  /** Messages, nodes and symbols that may still be read: a good file holds each once, in eight bytes or more. */
  #steps: number;

  constructor(field: string, bytes: Uint8Array) {
    this.#field = field;
    this.#bytes = bytes;
    this.#steps = 1000 + bytes.byteLength / 4;
    this.datasets = new TensorCollector(field, bytes.byteLength);
  }

  #at(address: number): ByteCursor {
    return new ByteCursor(this.#field, this.#bytes).seek(address);
  }

  #step(count = 1): void {
    this.#steps -= count;
    if (this.#steps < 0)
      throw new LimitError({
        field: this.#field,
        expected: 'each part of the file to be read about once',
        got: 'parts that refer to one another',
      });
  }

  /** Newer parts end with a checksum: damage to an address, a shape or a type would be read as other numbers. */
  #requireChecksum(what: string, begin: number, end: number): void {
    const cursor = this.#at(begin);
    const content = cursor.bytes(end - begin);
    const stated = cursor.u32();
    // Blocks that many messages lead to would be added up as often.
    this.#step(content.byteLength / CHECKED_BYTES_PER_STEP);
    const sum = lookup3(content);
    if (sum !== stated) cursor.fail(`${what} whose checksum is ${stated}`, `${sum}`);
  }

  #unsupported(what: string, expected: string, got: string): never {
    return unsupported(what === '' ? this.#field : `${this.#field}: ${what}`, expected, got);
  }

  #expectText(cursor: ByteCursor, text: string): void {
    const got = cursor.bytes(text.length);
    if (String.fromCharCode(...got) !== text) cursor.fail(`'${text}'`, describe(String.fromCharCode(...got)));
  }

  /** Address of the root group's object header. */
  rootAddress(): number {
    if (!isHdf5(this.#bytes))
      throw new MalformedFileError({ field: this.#field, expected: "HDF5's signature", got: describe(this.#bytes.subarray(0, 8)) });
    const cursor = this.#at(SIGNATURE.length);
    const version = cursor.u8();
    if (version > 3) this.#unsupported('superblock', 'version 0 to 3', `${version}`);
    if (version <= 1) cursor.skip(4);
    const [offsets, lengths] = [cursor.u8(), cursor.u8()];
    if (offsets !== OFFSET_BYTES || lengths !== OFFSET_BYTES)
      this.#unsupported('superblock', 'offsets and lengths of 8 bytes', `${offsets} and ${lengths}`);
    if (version <= 1) cursor.skip(version === 0 ? 9 : 13);
    else cursor.skip(1);
    const base = cursor.u64();
    if (base !== 0) this.#unsupported('superblock', 'addresses from the beginning of the file', `from ${base}`);
    // Free space or extension, end of file, driver or root: the last before the root group's entry.
    cursor.skip(OFFSET_BYTES);
    const end = cursor.u64();
    if (end > this.#bytes.byteLength) cursor.fail(`an end by byte ${this.#bytes.byteLength}, that of the file`, `${end}`);
    if (version <= 1) cursor.skip(2 * OFFSET_BYTES);
    const root = cursor.u64();
    if (version > 1) this.#requireChecksum('a superblock', 0, cursor.at);
    return root;
  }

  /** Reads a group's members, and theirs. */
  readGroup(path: string, address: number, depth: number, messages = this.#messages(path, address)): void {
    if (depth > GROUP_DEPTH)
      throw new LimitError({ field: `${this.#field}: ${path}`, expected: `groups nested at most ${GROUP_DEPTH} deep`, got: 'deeper' });
    if (this.#entered.has(address)) this.#unsupported(path, 'groups that are linked once', 'a second link');
    this.#entered.add(address);
    for (const [name, member] of this.#members(path, messages)) {
      const full = path === '' ? name : `${path}/${name}`;
      requireNameLength(this.#field, full);
      const inner = this.#messages(full, member);
      const has = (wanted: number): boolean => inner.some(({ type }) => type === wanted);
      if (has(messageTypes.dataspace) || has(messageTypes.layout)) this.datasets.add(full, this.#dataset(full, inner));
      // A type by itself is one that has a name, and no dataset.
      else if (!has(messageTypes.datatype)) this.readGroup(full, member, depth + 1, inner);
    }
  }

  /** Names and object headers of a group's members, in the file's order: names in order in old groups. */
  #members(path: string, messages: readonly Message[]): [string, number][] {
    const members: [string, number][] = [];
    for (const { type, data } of messages) {
      const cursor = new ByteCursor(`${this.#field}: ${path}`, data);
      if (type === messageTypes.symbolTable) {
        const [tree, heap] = [cursor.u64(), cursor.u64()];
        this.#readTree(tree, this.#heapData(heap), members);
      } else if (type === messageTypes.link) {
        const link = this.#readLink(cursor);
        if (link !== undefined) members.push(link);
      } else if (type === messageTypes.linkInfo) {
        cursor.skip(1);
        if ((cursor.u8() & 1) !== 0) cursor.skip(8);
        if (!isUndefined(cursor.bytes(OFFSET_BYTES))) this.#unsupported(path, 'links in the group itself', 'links in a fractal heap');
      }
    }
    return members;
  }

  /** A link message: hard links give a member, soft and external ones none. */
  #readLink(cursor: ByteCursor): [string, number] | undefined {
    const version = cursor.u8();
    if (version !== 1) this.#unsupported('link', 'version 1', `${version}`);
    const flags = cursor.u8();
    const type = (flags & 8) !== 0 ? cursor.u8() : 0;
    if ((flags & 4) !== 0) cursor.skip(8);
    if ((flags & 16) !== 0) cursor.skip(1);
    const length = sizedInteger(cursor, flags);
    const name = this.#name(cursor.bytes(length));
    return type === 0 ? [name, cursor.u64()] : undefined;
  }

  #name(bytes: Uint8Array): string {
    const name = decodeUtf8(this.#field, bytes);
    requireNameLength(this.#field, name);
    if (name === '' || name.includes('/'))
      throw new MalformedFileError({ field: this.#field, expected: "names that are not empty and have no '/'", got: describe(name) });
    return name;
  }

  /** The names of an old group. */
  #heapData(address: number): Uint8Array {
    const cursor = this.#at(address);
    this.#expectText(cursor, 'HEAP');
    cursor.skip(4);
    const length = cursor.u64();
    cursor.skip(OFFSET_BYTES);
    return this.#at(cursor.u64()).bytes(length);
  }

  /** A B-tree of old groups: inner nodes lead to symbol nodes. */
  #readTree(address: number, names: Uint8Array, members: [string, number][]): void {
    const pending = [address];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      this.#step();
      const cursor = this.#at(node);
      this.#expectText(cursor, 'TREE');
      const [type, level, used] = [cursor.u8(), cursor.u8(), cursor.u16()];
      if (type !== 0) cursor.fail('a tree of symbols', `type ${type}`);
      cursor.skip(2 * OFFSET_BYTES);
      const children: number[] = [];
      for (let i = 0; i < used; i++) {
        this.#step();
        cursor.skip(OFFSET_BYTES);
        children.push(cursor.u64());
      }
      if (level > 0) pending.push(...children.toReversed());
      else for (const child of children) this.#readSymbols(child, names, members);
    }
  }

  #readSymbols(address: number, names: Uint8Array, members: [string, number][]): void {
    const cursor = this.#at(address);
    this.#expectText(cursor, 'SNOD');
    cursor.skip(2);
    const count = cursor.u16();
    for (let i = 0; i < count; i++) {
      this.#step();
      const [nameAt, header, cache] = [cursor.u64(), cursor.bytes(OFFSET_BYTES), cursor.u32()];
      cursor.skip(20);
      // No further than a name may reach: many symbols of one long name, soft links too, would cost its length each.
      const length = names.subarray(nameAt, nameAt + limits.nameLength + 1).indexOf(0);
      if (length < 0)
        cursor.fail(`a name of at most ${limits.nameLength} bytes within the ${names.byteLength} of names`, `one at ${nameAt}`);
      // Cache type 2 is a soft link, whose address is none.
      if (cache !== 2) members.push([this.#name(names.subarray(nameAt, nameAt + length)), new ByteCursor(this.#field, header).u64()]);
    }
  }

  /** The messages of an object header of either version, continuations included. */
  #messages(path: string, address: number): Message[] {
    const messages: Message[] = [];
    const cursor = this.#at(address);
    const modern = this.#bytes[address] === 0x4f;
    const blocks: [number, number][] = [];
    let flags = 0;
    if (modern) {
      this.#expectText(cursor, 'OHDR');
      const version = cursor.u8();
      if (version !== 2) this.#unsupported(`header of ${described(path)}`, 'version 2', `${version}`);
      flags = cursor.u8();
      if ((flags & 0x20) !== 0) cursor.skip(16);
      if ((flags & 0x10) !== 0) cursor.skip(4);
      const length = sizedInteger(cursor, flags);
      this.#requireChecksum(`a header of ${described(path)}`, address, cursor.at + length);
      blocks.push([cursor.at, length]);
    } else {
      const version = cursor.u8();
      if (version !== 1) this.#unsupported(`header of ${described(path)}`, 'version 1 or 2', `${version}`);
      cursor.skip(7);
      const length = cursor.u32();
      cursor.skip(4);
      blocks.push([cursor.at, length]);
    }
    for (let block = blocks.shift(); block !== undefined; block = blocks.shift()) {
      this.#step();
      for (const message of this.#blockMessages(path, block, modern, (flags & 4) !== 0)) {
        if (message.type === messageTypes.continuation) {
          const target = new ByteCursor(this.#field, message.data);
          const [at, length] = [target.u64(), target.u64()];
          // Newer blocks stand between a signature and a checksum.
          if (modern) this.#expectText(this.#at(at), 'OCHK');
          if (modern && length < 8) target.fail('a block of 8 bytes or more', `${length}`);
          if (modern) this.#requireChecksum(`a part of the header of ${described(path)}`, at, at + length - 4);
          blocks.push(modern ? [at + 4, length - 8] : [at, length]);
        } else messages.push(message);
      }
    }
    return messages;
  }

  #blockMessages(path: string, [at, length]: [number, number], modern: boolean, ordered: boolean): Message[] {
    const cursor = new ByteCursor(this.#field, this.#at(at).bytes(length));
    const head = modern ? (ordered ? 6 : 4) : 8;
    const messages: Message[] = [];
    // What is left at the end of a newer block is a gap.
    while (cursor.remaining >= head) {
      this.#step();
      const [type, size] = [modern ? cursor.u8() : cursor.u16(), cursor.u16()];
      const flags = cursor.u8();
      cursor.skip(head - (modern ? 4 : 5));
      const data = cursor.bytes(size);
      const wanted = (Object.values(messageTypes) as number[]).includes(type);
      // A shared message stands elsewhere; h5py shares only named types.
      if (wanted && (flags & 2) !== 0) this.#unsupported(path, 'a type of its own', 'one that has a name or is shared');
      if (wanted) messages.push({ type, data });
    }
    return messages;
  }

  #dataset(path: string, messages: readonly Message[]): RawTensor {
    const label = `${this.#field}: ${path}`;
    const only = (type: number, what: string): ByteCursor => {
      const found = messages.filter((message) => message.type === type);
      if (found.length !== 1) throw new MalformedFileError({ field: label, expected: `one ${what}`, got: `${found.length}` });
      return new ByteCursor(`${label} ${what}`, (found[0] as Message).data);
    };
    const dtype = this.#dtype(label, only(messageTypes.datatype, 'datatype'));
    const shape = this.#shape(label, only(messageTypes.dataspace, 'dataspace'));
    const byteLength = (countElements(label, shape) * dtypeBits[dtype]) / 8;
    return { dtype, shape, bytes: this.#content(label, only(messageTypes.layout, 'layout'), byteLength) };
  }

  #shape(label: string, cursor: ByteCursor): number[] {
    const version = cursor.u8();
    const rank = cursor.u8();
    cursor.skip(1);
    if (version === 1) cursor.skip(5);
    else if (version !== 2) unsupported(label, 'a dataspace of version 1 or 2', `version ${version}`);
    else if (cursor.u8() === 2) unsupported(label, 'a shape', 'a null dataspace, without elements at all');
    return Array.from({ length: rank }, () => cursor.u64());
  }

  #dtype(label: string, cursor: ByteCursor): Dtype {
    const head = cursor.u8();
    const [version, kind] = [head >> 4, head & 15];
    const [bits, high] = [cursor.u8(), cursor.u8()];
    cursor.skip(1);
    const size = cursor.u32();
    const [fixed, float, enumeration] = [0, 1, 8];
    if (kind === fixed || kind === float) {
      if ((bits & 1) !== 0) unsupported(label, 'little-endian elements', 'big-endian ones');
      const [from, precision] = [cursor.u16(), cursor.u16()];
      if (from !== 0 || precision !== 8 * size) unsupported(label, `all ${8 * size} bits of an element`, `${precision} bits from ${from}`);
    }
    if (kind === fixed) {
      const signed = (bits & 8) !== 0;
      const dtype = ({ 1: ['U8', 'I8'], 2: ['U16', 'I16'], 4: ['U32', 'I32'], 8: ['U64', 'I64'] } as const)[size as 1]?.[signed ? 1 : 0];
      if (dtype !== undefined) return dtype;
    } else if (kind === float) {
      const [exponentAt = 0, exponentBits = 0, fractionAt = 0, fractionBits = 0] = cursor.bytes(4);
      const bias = cursor.u32();
      const dtype = ({ '2,5': 'F16', '2,8': 'BF16', '4,8': 'F32', '8,11': 'F64' } as const)[`${size},${exponentBits}` as '2,5'];
      // Sign, exponent, fraction with a leading one that is not stored, and the bias: HDF5 can state any, and other numbers would be read.
      const ieee =
        (bits & 0x70) === 0x20 && high === 8 * size - 1 && exponentAt === fractionBits && fractionAt === 0 &&
        exponentBits + fractionBits === high && bias === (1 << (exponentBits - 1)) - 1;
      if (dtype !== undefined && !ieee) unsupported(label, `${dtype} with IEEE's places and bias`, 'a float of another make');
      if (dtype !== undefined) return dtype;
    } else if (kind === enumeration && size === 1) {
      // h5py's booleans: two names, padded in older files, and their values behind the integer type. Other enumerations are no numbers.
      const names = version < 3 ? 'FALSE\0\0\0TRUE\0\0\0\0' : 'FALSE\0TRUE\0';
      cursor.skip(12);
      const expected = `${names}\0\u0001`;
      if (cursor.remaining >= expected.length && String.fromCharCode(...cursor.bytes(expected.length)) === expected) return 'BOOL';
    }
    return unsupported(label, 'integers, floats or booleans', `type class ${kind} of ${size} bytes`);
  }

  #content(label: string, cursor: ByteCursor, byteLength: number): Uint8Array {
    const version = cursor.u8();
    if (version !== 3 && version !== 4) unsupported(label, 'layout version 3 or 4', `${version}`);
    const kind = cursor.u8();
    const [compact, contiguous] = [0, 1];
    if (kind === compact) {
      const size = cursor.u16();
      if (size !== byteLength) cursor.fail(`${byteLength} bytes`, `${size}`);
      return cursor.bytes(size);
    }
    if (kind !== contiguous) unsupported(label, 'contiguous elements', kind === 3 ? 'a view of other datasets' : 'chunks');
    const address = cursor.bytes(OFFSET_BYTES);
    const size = cursor.u64();
    if (byteLength === 0) return new Uint8Array(0);
    if (isUndefined(address)) unsupported(label, 'elements that were written to this file', 'none');
    if (size !== byteLength) cursor.fail(`${byteLength} bytes`, `${size}`);
    return this.#at(new ByteCursor(label, address).u64()).bytes(byteLength);
  }
}
