// Our DEFLATE, CRC-32 and byte planes against zlib and plain loops.
import { crc32 as zlibCrc32, constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import { type Codec, openCodec } from '../../src/bundle/codec-instance.ts';
import { generator } from './generator.ts';
import { concat, expectTyped } from './support.ts';

const codec: Codec = await openCodec();

type Kind = 'zeros' | 'noise' | 'skewed' | 'runs' | 'text' | 'one value' | 'fibonacci';
const kinds: readonly Kind[] = ['zeros', 'noise', 'skewed', 'runs', 'text', 'one value', 'fibonacci'];

function sample(kind: Kind, bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const next = generator(seed);
  const data = new Uint8Array(bytes);
  if (kind === 'zeros') return data;
  if (kind === 'one value') return data.fill(7);
  let [value, left] = [0, 0];
  // Fibonacci frequencies make the deepest Huffman trees: the cap on code lengths must bite.
  const fibonacci: number[] = [];
  if (kind === 'fibonacci') {
    for (let a = 1, b = 1, symbol = 0; symbol < 22; symbol++, [a, b] = [b, a + b]) for (let i = 0; i < a; i++) fibonacci.push(symbol);
  }
  for (let i = 0; i < bytes; i++) {
    if (kind === 'noise') data[i] = next();
    else if (kind === 'skewed') data[i] = Math.clz32(next()) * 5 + (next() & 1);
    else if (kind === 'text') data[i] = 'the quick brown fox jumps over the lazy dog '.charCodeAt((i * 7 + (i >> 6)) % 44);
    else if (kind === 'fibonacci') data[i] = fibonacci[next() % fibonacci.length] as number;
    else {
      if (left-- === 0) [value, left] = [next() & 3, next() % 600];
      data[i] = value;
    }
  }
  return data;
}

function deflate(data: Uint8Array): { stream: Uint8Array; crc32: number } {
  const parts: Uint8Array[] = [];
  const stream = codec.deflate((part) => parts.push(part));
  stream.write(data);
  const { crc32, bytes } = stream.end();
  expect(bytes).toBe(data.byteLength);
  return { stream: concat(...parts), crc32 };
}

function inflate(stream: Uint8Array, bytes: number, crc32: number, piece = 100_003): Uint8Array {
  const reader = codec.inflate('test', stream, bytes, crc32);
  const out = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += piece) reader.readInto(out.subarray(at, at + piece));
  reader.finish();
  return out;
}

const crcOf = (bytes: Uint8Array): number => zlibCrc32 === undefined ? codec.crc32(bytes) : zlibCrc32(bytes);

test('CRC-32 of the standard check string and of every length of tail', () => {
  expect(codec.crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  const data = sample('noise', 200_001, 1);
  let plain = ~0;
  for (const byte of data) {
    plain ^= byte;
    for (let bit = 0; bit < 8; bit++) plain = (plain >>> 1) ^ (0xedb88320 & -(plain & 1));
  }
  expect(codec.crc32(data)).toBe(~plain >>> 0);
  for (let cut = 0; cut < 20; cut++) expect(codec.crc32(data.subarray(cut), codec.crc32(data.subarray(0, cut)))).toBe(~plain >>> 0);
});

test('a codec that could not be opened is opened at the next call', async () => {
  vi.resetModules();
  const fresh = await import('../../src/bundle/codec-instance.ts');
  const granted = WebAssembly.Memory;
  WebAssembly.Memory = vi.fn(function refuse() {
    throw new RangeError('could not allocate memory');
  }) as unknown as typeof granted;
  try {
    // Another copy of the modules, and so of the class.
    await expect(fresh.openCodec()).rejects.toMatchObject({ name: 'OutOfMemoryError', code: 'out-of-memory', field: 'wasm.core' });
  } finally {
    WebAssembly.Memory = granted;
  }
  expect((await fresh.openCodec()).crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf4_3926);
});

test('a trap is a typed error, and the codec after it another one', async () => {
  vi.resetModules();
  const fresh = await import('../../src/bundle/codec-instance.ts');
  const { instantiate } = WebAssembly;
  // A kernel that is told to read behind the memory, as a wrong pointer of ours would have it.
  WebAssembly.instantiate = (async (module: WebAssembly.Module, imports: WebAssembly.Imports) => {
    const { exports } = await instantiate(module, imports);
    const { crc32 } = exports as { readonly crc32: (tables: number, input: number, bytes: number, crc: number) => number };
    return {
      exports: {
        ...exports,
        crc32: (tables: number, input: number, bytes: number, crc: number) => crc32(tables, input + 2 ** 24, bytes, crc),
      },
    };
  }) as unknown as typeof instantiate;
  const first = await fresh.openCodec().finally(() => {
    WebAssembly.instantiate = instantiate;
  });
  const check = new TextEncoder().encode('123456789');
  expect(() => first.crc32(check)).toThrowError(expect.objectContaining({ name: 'KernelError', code: 'kernel', field: 'WebAssembly' }));
  const second = await fresh.openCodec();
  expect(second).not.toBe(first);
  expect(second.crc32(check)).toBe(0xcbf4_3926);
});

describe('inflate reads what zlib writes', () => {
  for (const kind of kinds) {
    for (const bytes of [0, 1, 2, 300, 65_536, 700_001]) {
      test(`${kind}, ${bytes} bytes, every level and strategy`, () => {
        const data = sample(kind, bytes, bytes + 3);
        for (const level of [0, 1, 6, 9]) {
          for (const strategy of [constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY, constants.Z_RLE]) {
            const stream = deflateRawSync(data, { level, strategy });
            expect(Buffer.compare(inflate(stream, bytes, crcOf(data)), data)).toBe(0);
          }
        }
      });
    }
  }
});

describe('zlib and we read what deflate writes', () => {
  for (const kind of kinds) {
    for (const bytes of [0, 1, 2, 3, 257, 258, 32_768, 32_769, 400_003]) {
      test(`${kind}, ${bytes} bytes`, () => {
        const data = sample(kind, bytes, bytes + 5);
        const { stream, crc32 } = deflate(data);
        expect(Buffer.compare(inflateRawSync(stream), data)).toBe(0);
        expect(Buffer.compare(inflate(stream, bytes, crc32), data)).toBe(0);
        // Never more than the stored blocks and the last, empty one.
        expect(stream.byteLength).toBeLessThanOrEqual(bytes + 5 * Math.ceil(bytes / 32_768) + 10);
      });
    }
  }

  test('skewed bytes come within 2 % of zlib without string matching', () => {
    const data = sample('skewed', 400_000, 9);
    const reference = deflateRawSync(data, { level: 9, strategy: constants.Z_RLE }).byteLength;
    expect(deflate(data).stream.byteLength).toBeLessThan(reference * 1.02);
  });
});

describe('broken streams', () => {
  const data = sample('text', 50_000, 3);
  const stream = deflateRawSync(data);
  const crc = crcOf(data);

  test('cut anywhere', async () => {
    for (let length = 0; length < stream.byteLength; length += length < 400 ? 1 : 37) {
      await expectTyped(() => inflate(stream.subarray(0, length), data.byteLength, crc), 'malformed-file');
    }
  });

  test('with bytes behind the end, a wrong checksum, more or less than declared', async () => {
    await expectTyped(() => inflate(concat(stream, Uint8Array.of(0)), data.byteLength, crc), 'malformed-file');
    await expectTyped(() => inflate(stream, data.byteLength, crc ^ 1), 'malformed-file');
    await expectTyped(() => inflate(stream, data.byteLength - 1, crc), 'malformed-file');
    await expectTyped(() => inflate(stream, data.byteLength + 1, crc), 'malformed-file');
    await expectTyped(() => inflate(stream, 0, crc), 'malformed-file');
  });

  test('with a match that begins before the output, whatever lies there', async () => {
    // Fixed codes: "a", then three bytes from `distance` back, then the end.
    const match = (distance: 1 | 2): Uint8Array => {
      const bits = `1${'10'}${'10010001'}${'0000001'}${distance === 1 ? '00000' : '00001'}${'0000000'}`.padEnd(32, '0');
      return Uint8Array.from({ length: 4 }, (_, i) => Number.parseInt(Array.from(bits.slice(8 * i, 8 * i + 8)).toReversed().join(''), 2));
    };
    const a = 0x61;
    expect(inflate(match(1), 4, crcOf(Uint8Array.of(a, a, a, a)))).toEqual(Uint8Array.of(a, a, a, a));
    for (let stale = 0; stale < 256; stale++)
      await expectTyped(() => inflate(match(2), 4, crcOf(Uint8Array.of(a, stale, a, stale))), 'malformed-file');
  });

  test('10,000 mutations: an error or the same bytes, and never other than what zlib says', async () => {
    const next = generator(77);
    const small = deflateRawSync(sample('text', 600, 1));
    let accepted = 0;
    for (let round = 0; round < 10_000; round++) {
      const mutant = Uint8Array.from(small);
      for (let k = next() % 3; k >= 0; k--) mutant[next() % mutant.byteLength] = next();
      let reference: Uint8Array | undefined;
      try {
        const { buffer, engine } = inflateRawSync(mutant, { info: true, maxOutputLength: 1 << 20 } as never) as unknown as {
          buffer: Buffer;
          engine: { bytesWritten: number };
        };
        if (engine.bytesWritten === mutant.byteLength) reference = buffer;
      } catch {
        reference = undefined;
      }
      if (reference === undefined) {
        await expectTyped(() => inflate(mutant, 600, 0), 'malformed-file');
      } else {
        accepted++;
        expect(Buffer.compare(inflate(mutant, reference.byteLength, crcOf(reference)), reference)).toBe(0);
      }
    }
    expect(accepted).toBeGreaterThan(0);
  });
});

describe('byte planes', () => {
  test.each([0, 3, 4, 63, 64, 67, 1000, 131_072])('%d bytes: split is what it says, join undoes it', (bytes) => {
    const data = sample('noise', bytes, 5);
    const previous = sample('noise', bytes, 6);
    const planes = new Uint8Array(bytes);
    codec.splitChunk(data, previous, planes);
    const count = bytes >> 2;
    for (let i = 0; i < bytes; i++) {
      const place = i < 4 * count ? (i & 3) * count + (i >> 2) : i;
      expect(planes[place]).toBe((data[i] as number) ^ (previous[i] as number));
    }
    const joined = Uint8Array.from(previous);
    codec.joinChunk(planes, joined, true);
    expect(joined).toEqual(data);
    codec.splitChunk(data, undefined, planes);
    codec.joinChunk(planes, joined.fill(9), false);
    expect(joined).toEqual(data);
  });
});

describe('quantised steps', () => {
  const floats = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.slice().buffer);

  test.each([8, 4] as const)('int%d: within half a step of the block, and the reader has the writer\'s bits', (bitsPerStep) => {
    const next = generator(4);
    const levels = bitsPerStep === 8 ? 127 : 7;
    // Fewer after more, so that what those left lies behind.
    for (const count of [1001, 129, 128, 127, 2, 1]) {
      const before = Float32Array.from({ length: count }, () => next() / 2 ** 32 - 0.5);
      const target = before.map((x) => x + (next() / 2 ** 32 - 0.5) * 0.01);
      const decoded = new Uint8Array(before.slice().buffer);
      const scales = new Uint8Array(4 * Math.ceil(count / 128));
      const steps = new Uint8Array(bitsPerStep === 8 ? count : (count + 1) >> 1);
      codec.quantiseChunk(new Uint8Array(target.buffer), decoded, bitsPerStep, scales, steps);
      const reader = new Uint8Array(before.slice().buffer);
      codec.addStepsChunk(reader, bitsPerStep, scales, steps);
      expect(reader).toEqual(decoded);
      // The last odd one is paired with a step of zero: what lies there would be other bytes of the same bundle.
      if (bitsPerStep === 4 && count % 2 === 1) expect((steps.at(-1) as number) >> 4).toBe(8);
      for (let begin = 0; begin < count; begin += 128) {
        const end = Math.min(begin + 128, count);
        let largest = 0;
        for (let i = begin; i < end; i++) largest = Math.max(largest, Math.abs((target[i] as number) - (before[i] as number)));
        const scale = floats(scales)[begin / 128] as number;
        expect(scale).toBeCloseTo(largest / levels, 9);
        for (let i = begin; i < end; i++) {
          const step = bitsPerStep === 8 ? (steps[i] as number) << 24 >> 24 : (((steps[i >> 1] as number) >> (4 * (i & 1))) & 15) - 8;
          expect(floats(reader)[i]).toBe(Math.fround((before[i] as number) + Math.fround(scale * step)));
          expect(Math.abs((floats(reader)[i] as number) - (target[i] as number))).toBeLessThanOrEqual(scale * 0.5001 + 1e-7);
        }
      }
    }
  });
});
