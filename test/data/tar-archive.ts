/** Tar archives made by hand, entry by entry, of what readers must know of each kind. */

export interface HeaderFields {
  /** Where a pair's bytes stand in the header, over what is there. */
  readonly at?: readonly (readonly [offset: number, bytes: string | readonly number[]])[];
  /** Adds the bytes up as signed ones. */
  readonly signed?: boolean;
}

/** One ustar entry; the checksum is taken over the header with spaces in its own place. */
export function tarEntry(
  name: string, content: string, type = '0', size = content.length, folder = '', { at = [], signed }: HeaderFields = {},
): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(folder, 345);
  header.write(size.toString(8).padStart(11, '0'), 124);
  header.write('        ', 148);
  header.write(type, 156);
  header.write('ustar\u000000', 257);
  for (const [offset, bytes] of at) Buffer.from(bytes as string).copy(header, offset);
  const sum = [...(signed === true ? new Int8Array(header) : header)].reduce((total, byte) => total + byte, 0);
  header.write(sum.toString(8).padStart(6, '0') + '\0 ', 148);
  const bytes = Buffer.from(content);
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** A record of a pax header: its length counts the digits of its length. */
const record = (key: string, value: string): string => {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  const digits = `${rest + `${rest}`.length}`.length;
  return `${rest + digits} ${key}=${value}\n`;
};

export function paxHeader(type: 'x' | 'g' | 'X', ...records: readonly (readonly [string, string])[]): Buffer {
  const content = records.map(([key, value]) => record(key, value)).join('');
  return tarEntry('PaxHeaders/1', content, type, Buffer.byteLength(content));
}

export const longName = (name: string, type: 'L' | 'K' = 'L'): Buffer => tarEntry('././@LongLink', `${name}\0`, type);
