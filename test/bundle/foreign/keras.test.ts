/** HDF5 and Keras files against what h5py and Keras hold; layouts brought to PyTorch's; what is refused. */
import { describe, expect, it } from 'vitest';
import { detect, readForeign } from '../../../src/bundle/foreign/formats.ts';
import { readHdf5 } from '../../../src/bundle/foreign/hdf5.ts';
import { TrajportError } from '../../../src/core/errors.ts';
import { parseGraph } from '../../../src/model/graph.ts';
import { describeMisfits } from '../../../src/bundle/foreign/map-names.ts';
import { stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import { expectTyped } from '../support.ts';
import { F32_DATATYPE, hdf5File } from './hdf5-file.ts';
import { expectVector, expectedTensors, kerasNetwork, vector } from './support.ts';

describe('HDF5', () => {
  it.each(['mixed.h5', 'latest.h5', 'keras2.h5', 'links.h5', 'links-latest.h5'])('%s: every dataset as h5py holds it', (name) => {
    expectVector(name, readHdf5(name, vector(name).bytes));
  });

  it.each([
    ['refused-chunked.h5', 'chunks'],
    ['refused-strings.h5', 'type class 3'],
    ['refused-big-endian.h5', 'big-endian'],
  ])('refuses %s: %s', async (name, named) => {
    const { message } = await expectTyped(() => readHdf5(name, vector(name).bytes), 'unsupported');
    expect(message).toContain(named);
    expect(message.split(name)).toHaveLength(2);
  });

  const vectors = [['second', [1, -2.5]], ['first', [3, 4, 5]]] as const;

  it.each([true, false])('reads links of a group in the file\'s order, their creation order kept: %s', (ordered) => {
    const read = [...readHdf5('ordered.h5', hdf5File({ vectors, ordered }))];
    expect(read.map(([name, { dtype, shape, bytes }]) => [name, dtype, shape, [...new Float32Array(bytes.slice().buffer)]])).toEqual(
      vectors.map(([name, values]) => [name, 'F32', [values.length], values]),
    );
  });

  it.each([true, false])('refuses links in a fractal heap, their creation order kept: %s', async (ordered) => {
    const { message } = await expectTyped(() => readHdf5('many.h5', hdf5File({ vectors, ordered, heap: 48 })), 'unsupported');
    expect(message).toContain('links in a fractal heap');
  });

  it('notices every damaged bit of newer headers by their checksums, of continued ones too', async () => {
    const file = hdf5File({ vectors: [['g/w', [1, 2]], ['v', [3]]], ordered: true, continued: true });
    const facts = (bytes: Uint8Array) => [...readHdf5('x.h5', bytes)].map(([name, { dtype, shape }]) => [name, dtype, shape]);
    const whole = facts(file);
    expect(whole).toEqual([['g/w', 'F32', [2]], ['v', 'F32', [1]]]);
    let taken = 0;
    for (let bit = 0; bit < 8 * file.length; bit++) {
      const damaged = file.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const got = await Promise.resolve().then(() => facts(damaged)).catch((error: unknown) => error);
      if (got instanceof Error) expect(got).toBeInstanceOf(TrajportError);
      else expect(got).toEqual(whole);
      taken += got instanceof Error ? 0 : 1;
    }
    // The values alone.
    expect(taken).toBe(3 * 32);
    const damaged = file.slice();
    damaged[Buffer.from(file).indexOf('OCHK') + 9]! ^= 1;
    const { message } = await expectTyped(() => readHdf5('x.h5', damaged), 'malformed-file');
    expect(message).toMatch(/^x\.h5 at byte \d+: expected a part of the header of [gvw/]+ whose checksum is \d+, got \d+$/);
  });

  it('passes over a type that has a name', () => {
    expect([...readHdf5('types.h5', hdf5File({ vectors, ordered: true, namedType: 'float' })).keys()]).toEqual(['second', 'first']);
  });

  /** The bytes 1 to 12, as elements of that datatype message. */
  const typed = (datatype: readonly number[]): Uint8Array =>
    hdf5File({ vectors: [['w', Array.from({ length: 12 }, (_, i) => i + 1)]], ordered: false, datatype });
  const f32With = (...changes: readonly (readonly [at: number, byte: number])[]): readonly number[] =>
    F32_DATATYPE.map((byte, at) => changes.find(([place]) => place === at)?.[1] ?? byte);

  it('reads floats with the places and the bias of IEEE alone', async () => {
    expect(readHdf5('f.h5', typed(F32_DATATYPE)).get('w')).toMatchObject({ dtype: 'F32', shape: [3] });
    // Brain floats: sign at 15, exponent of 8 bits behind a fraction of 7.
    const brain = f32With([2, 15], [4, 2], [10, 16], [12, 7], [15, 7]);
    expect(readHdf5('f.h5', typed(brain)).get('w')).toMatchObject({ dtype: 'BF16', shape: [6] });
    const others: Readonly<Record<string, readonly (readonly [number, number])[]>> = {
      bias: [[16, 128]], 'bias of 257': [[17, 1]], sign: [[2, 23]], exponent: [[12, 22]], fraction: [[14, 1]], 'fraction of 22': [[15, 22]],
      'a spare bit': [[2, 30], [12, 22], [15, 22]], 'leading one': [[1, 0x10]], 'as a VAX has it': [[1, 0x60]],
    };
    for (const [what, changes] of Object.entries(others)) {
      const { message } = await expectTyped(() => readHdf5('f.h5', typed(f32With(...changes))), 'unsupported');
      const got = 'got a float of another make';
      expect({ what, message }).toEqual({ what, message: `f.h5: w: expected F32 with IEEE's places and bias, ${got}` });
    }
  });

  it('reads enumerations that are h5py\'s booleans, and no others', async () => {
    const names = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));
    const of = (version: number, members: string, count = 2): readonly number[] =>
      [version * 16 + 8, count, 0, 0, 1, 0, 0, 0, 0x10, 8, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, ...names(members)];
    for (const booleans of [of(3, 'FALSE\0TRUE\0\0\u0001'), of(1, 'FALSE\0\0\0TRUE\0\0\0\0\0\u0001')])
      expect(readHdf5('e.h5', typed(booleans)).get('w')).toMatchObject({ dtype: 'BOOL', shape: [12] });
    const maybe = of(3, 'FALSE\0TRUE\0MAYBE\0\0\u0001\u0002', 3);
    const others = [of(3, 'RED\0BLUE\0\0\u0001'), of(3, 'FALSE\0TRUE\0\u0001\0'), maybe, of(3, 'A\0', 1)];
    for (const other of others)
      expect((await expectTyped(() => readHdf5('e.h5', typed(other)), 'unsupported')).message).toContain('e.h5: w: expected integers');
  });

  it('refuses a null dataspace as itself', async () => {
    const { message } = await expectTyped(() => readHdf5('n.h5', hdf5File({ vectors, ordered: false, shapeless: true })), 'unsupported');
    expect(message).toBe('n.h5: second: expected a shape, got a null dataspace, without elements at all');
  });

  it.each([512, 4096])('refuses a user block of %i bytes by that name', async (userBlock) => {
    const file = { name: 'matlab.mat', bytes: hdf5File({ vectors, ordered: false, userBlock }) };
    const { message } = await expectTyped(() => readForeign(file), 'unsupported');
    expect(message).toBe(`matlab.mat: expected HDF5 without a user block, got one of ${userBlock} bytes`);
    expect(await detect({ name: 'x', bytes: file.bytes.subarray(8) })).toBeUndefined();
  });

  it('refuses truncations', async () => {
    const { bytes } = vector('keras2.h5');
    for (let length = 0; length < bytes.length; length += 97) await expectTyped(() => readHdf5('cut', bytes.subarray(0, length)));
  });

  it('refuses a name that is too long, of a soft link too', async () => {
    const { bytes } = vector('links.h5');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const [heap, symbols] = [Buffer.from(bytes).lastIndexOf('HEAP'), Buffer.from(bytes).lastIndexOf('SNOD') + 8];
    // The names of the group with soft links move to the end of the file, with a longer one.
    const names = bytes.subarray(Number(view.getBigUint64(heap + 24, true))).subarray(0, Number(view.getBigUint64(heap + 8, true)));
    const longer = (letters: number): Uint8Array => {
      const file = Uint8Array.of(...bytes, ...names, ...Array.from({ length: letters }, () => 0x78), 0);
      const changed = new DataView(file.buffer);
      changed.setBigUint64(heap + 8, BigInt(names.length + letters + 1), true);
      changed.setBigUint64(heap + 24, BigInt(bytes.length), true);
      const soft = Array.from({ length: view.getUint16(symbols - 2, true) }, (_, i) => symbols + 40 * i)
        .find((symbol) => view.getUint32(symbol + 16, true) === 2) as number;
      changed.setBigUint64(soft, BigInt(names.length), true);
      return file;
    };
    expectVector('links.h5', readHdf5('links.h5', longer(1024)));
    const { message } = await expectTyped(() => readHdf5('links.h5', longer(1025)), 'malformed-file');
    expect(message).toContain('a name of at most 1024 bytes');
  });

  it('ends where a group holds itself', async () => {
    const bytes = vector('keras2.h5').bytes.slice();
    const view = new DataView(bytes.buffer);
    // Every reference to the object header of the first inner group becomes one to the root's.
    const root = Number(view.getBigUint64(64, true));
    const names = Buffer.from(bytes).indexOf('SNOD');
    view.setBigUint64(names + 16, BigInt(root), true);
    await expectTyped(() => readHdf5('loop', bytes), 'unsupported');
  });
});

describe('Keras', () => {
  it('gives numbered variables their names', async () => {
    const read = await readForeign({ ...vector('model.keras'), name: 'x' });
    expect(read.convention).toBe('keras');
    expectVector('model.keras', read.tensors);
  });

  it('gives the variables of norms their names where all of them are there, and guesses none', async () => {
    const numbered = (layer: string, count: number) => Array.from({ length: count }, (_, i) => [`layers/${layer}/vars/${i}`, [i]] as const);
    const file = hdf5File({
      vectors: [
        numbered('layer_normalization', 2), numbered('layer_normalization_1', 1), numbered('group_normalization_12', 2),
        numbered('batch_normalization', 4), numbered('batch_normalization_1', 3), numbered('dense_3', 1), numbered('constructor', 1),
      ].flat(),
      ordered: false,
    });
    const { tensors } = await readForeign({ name: 'x.weights.h5', bytes: file });
    expect([...tensors].map(([name, { bytes }]) => [name.replace('layers/', ''), new Float32Array(bytes.slice().buffer)[0]])).toEqual([
      ['layer_normalization/gamma', 0], ['layer_normalization/beta', 1], ['layer_normalization_1/vars/0', 0],
      ['group_normalization_12/gamma', 0], ['group_normalization_12/beta', 1],
      ['batch_normalization/gamma', 0], ['batch_normalization/beta', 1], ['batch_normalization/moving_mean', 2],
      ['batch_normalization/moving_variance', 3],
      ['batch_normalization_1/vars/0', 0], ['batch_normalization_1/vars/1', 1], ['batch_normalization_1/vars/2', 2],
      ['dense_3/kernel', 0], ['constructor/vars/0', 0],
    ]);
  });

  it('is told from HDF5 and ZIP files of other kinds', async () => {
    expect(await detect({ ...vector('model.keras'), name: 'x' })).toBe('keras');
    expect(await detect({ ...vector('keras2.h5'), name: 'x' })).toBe('keras-hdf5');
  });

  it.each([
    ['keras2.h5', [{ from: 'optimizer_weights/**', to: null }, { from: 'model_weights/*/*/**', to: '$1.$3' }]],
    ['model.keras', [{ from: 'optimizer/**', to: null }, { from: 'layers/**', to: '$1' }]],
  ] as const)('%s becomes the state of a network, kernels turned and flattened images reordered', async (name, rules) => {
    const { state, report } = stateFromForeign(parseGraph(kerasNetwork), await readForeign(vector(name)), rules, name);
    expect(describeMisfits(report)).toEqual([]);
    const kernel = Object.entries(expectedTensors(name)).find(([path]) => path.includes('conv2d/') && path.includes('kernel'))?.[1]
      .values as readonly number[];
    // PyTorch's (o, i, y, x) is Keras's (y, x, i, o).
    expect([...(state?.parameters.get('conv2d.weight')?.data ?? [])]).toEqual(
      [0, 1].flatMap((o) => Array.from({ length: 9 }, (_, yx) => kernel[2 * yx + o])),
    );
    expect(state?.buffers.size).toBe(2);
  });
});
