import { lookup3 } from '../../../src/bundle/foreign/lookup3.ts';

/**
 * HDF5 files with what h5py's `track_order=True` and `userblock_size` leave in them, by the format's specification (version 3): a
 * superblock of version 2, groups of one header each and vectors of f32.
 */
export interface Hdf5Choices {
  /** With '/' in the name of what is in a group. */
  readonly vectors: readonly (readonly [name: string, values: readonly number[]])[];
  /** Whether the order in which links and attributes were made is kept. */
  readonly ordered: boolean;
  /** Address of a fractal heap with the links; without one they stand in the group. */
  readonly heap?: number;
  /** The datatype message of every vector, and the bytes of its values as they are; default little-endian f32. */
  readonly datatype?: readonly number[];
  /** Name of a type that is linked beside the vectors, twice. */
  readonly namedType?: string;
  /** Whether the messages of each header but its first stand in a block of their own. */
  readonly continued?: boolean;
  /** Whether vectors have a null dataspace. */
  readonly shapeless?: boolean;
  /** Bytes before the superblock. */
  readonly userBlock?: number;
}

/** Little-endian f32. */
export const F32_DATATYPE: readonly number[] = [0x11, 0x20, 0x1f, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0];

const bytesOf = (size: number, value: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
const text = (value: string): number[] => [...value].map((letter) => letter.charCodeAt(0));
const UNDEFINED: readonly number[] = Array.from({ length: 8 }, () => 0xff);
const SUPERBLOCK_BYTES = 48;
/** With its checksum behind it; that files of h5py are read holds the sum itself. */
const summed = (part: readonly number[]): number[] => [...part, ...bytesOf(4, lookup3(Uint8Array.from(part)))];

/** Makes the checksums of a damaged file right again, of its superblock and of the first block of every header. */
export function mendChecksums(file: Uint8Array): void {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const mend = (begin: number, end: number): void => {
    if (end + 4 <= file.byteLength) view.setUint32(end, lookup3(file.subarray(begin, end)), true);
  };
  if ((file[8] ?? 0) > 1) mend(0, SUPERBLOCK_BYTES - 4);
  for (let at = file.length - 16; at >= 0; at--) {
    if (!text('OHDR').every((byte, i) => file[at + i] === byte)) continue;
    const flags = file[at + 5] as number;
    const lengthAt = at + 6 + ((flags & 0x20) === 0 ? 0 : 16) + ((flags & 0x10) === 0 ? 0 : 4);
    const width = 1 << (flags & 3);
    const length = [...file.subarray(lengthAt, lengthAt + width)].reduceRight((sum, byte) => sum * 256 + byte, 0);
    mend(at, lengthAt + width + length);
  }
}

export function hdf5File({ vectors, ordered, heap, datatype, namedType, continued, shapeless, userBlock = 0 }: Hdf5Choices): Uint8Array {
  const body: number[] = [];
  const append = (part: readonly number[]): number => body.push(...part) + SUPERBLOCK_BYTES - part.length;
  const header = (messages: readonly (readonly [type: number, data: readonly number[]])[]): number => {
    const order = ordered ? bytesOf(2, 7) : [];
    const written = messages.map(([type, data]) => [type, ...bytesOf(2, data.length), 0, ...order, ...data]);
    if (continued === true && written.length > 1) {
      const part = summed([...text('OCHK'), ...written.splice(1).flat()]);
      written.push([16, ...bytesOf(2, 16), 0, ...order, ...bytesOf(8, append(part)), ...bytesOf(8, part.length)]);
    }
    const block = written.flat();
    // Its times, and a length of two bytes.
    const flags = 0x20 | 1 | (ordered ? 0x0c : 0);
    return append(summed([...text('OHDR'), 2, flags, ...bytesOf(16, 0), ...bytesOf(2, block.length), ...block]));
  };
  const type = datatype ?? F32_DATATYPE;
  const link = (name: string, i: number, address: number): readonly [number, readonly number[]] =>
    [6, [1, 0x10 | (ordered ? 4 : 0), ...(ordered ? bytesOf(8, i) : []), 1, name.length, ...text(name), ...bytesOf(8, address)]];
  const vector = (values: readonly number[]): number => {
    const content = datatype === undefined ? [...new Uint8Array(Float32Array.from(values).buffer)] : [...values];
    return header([
      [1, shapeless === true ? [2, 0, 0, 2] : [2, 1, 0, 1, ...bytesOf(8, content.length / (type[4] as number))]],
      [3, type],
      [8, [3, 1, ...bytesOf(8, append(content)), ...bytesOf(8, content.length)]],
    ]);
  };
  const group = (members: Hdf5Choices['vectors'], linked: readonly (readonly [string, number])[] = []): number => {
    const names = new Set(members.map(([name]) => name.split('/', 1)[0] as string));
    const addresses = [...names].map((name): readonly [string, number] => {
      const own = members.find(([path]) => path === name);
      const within = members.filter(([path]) => path.startsWith(`${name}/`));
      const inner = within.map(([path, values]) => [path.slice(name.length + 1), values] as const);
      return [name, own === undefined ? group(inner) : vector(own[1])];
    });
    const links = [...addresses, ...linked];
    const order = ordered ? bytesOf(8, links.length) : [];
    const indexed = ordered ? UNDEFINED : [];
    const linkInfo = [0, ordered ? 3 : 0, ...order, ...(heap === undefined ? UNDEFINED : bytesOf(8, heap)), ...UNDEFINED, ...indexed];
    return header([[2, linkInfo], ...links.map(([name, address], i) => link(name, i, address))]);
  };
  const named = namedType === undefined ? undefined : header([[3, type]]);
  const root = group(vectors, named === undefined ? [] : [[`${namedType}`, named], [`${namedType} again`, named]]);
  const end = userBlock + SUPERBLOCK_BYTES + body.length;
  return Uint8Array.of(
    ...text('x'.repeat(userBlock)),
    ...summed([
      0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a, 2, 8, 8, 0,
      ...bytesOf(8, userBlock), ...UNDEFINED, ...bytesOf(8, end), ...bytesOf(8, root),
    ]),
    ...body,
  );
}
