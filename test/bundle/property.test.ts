// Write → read is the identity, on random names, shapes, element types, contents and codings, for every kind that is written.
import { describe, expect, test } from 'vitest';
import { deflateRawSync } from 'node:zlib';
import { openCodec } from '../../src/bundle/codec-instance.ts';
import { type Dtype, dtypeBits } from '../../src/bundle/dtype.ts';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { readNpy, writeNpy } from '../../src/bundle/foreign/npy.ts';
import { readNpz, writeNpz } from '../../src/bundle/foreign/npz.ts';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import { stateFromSafetensors, stateToSafetensors } from '../../src/bundle/network-state.ts';
import { memorySource } from '../../src/bundle/random-access.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { type RawTensor, readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import { type CheckpointContent, writeBundle } from '../../src/bundle/writer.ts';
import { openZip } from '../../src/bundle/zip-reader.ts';
import { ZipWriter, memorySink } from '../../src/bundle/zip-writer.ts';
import { openCore } from '../../src/core/core.ts';
import { type ModelGraph, parameterLayout } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { type NetworkState, elementCount } from '../../src/tensor/tensor.ts';
import { generator } from './generator.ts';

const ROUNDS = 150;
const BUNDLES = 40;

const core = await openCore();
const codec = await openCodec();

/** Everything random of one round. */
class Dice {
  readonly next: () => number;

  constructor(seed: number) {
    this.next = generator((seed + 1) * 2_654_435_761);
    for (let i = 0; i < 8; i++) this.next();
  }

  below(bound: number): number {
    return this.next() % bound;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length }, () => this.next() >>> 24);
  }

  shape(): number[] {
    return Array.from({ length: this.below(5) }, () => this.of([0, 1, 1, 2, 3, 5, 7]));
  }

  /** Letters of every length in UTF-8, and what parsers treat in a way of their own. */
  name(): string {
    return Array.from({ length: 1 + this.below(12) }, () =>
      this.of(['a', 'Z', '0', '.', '_', '-', ' ', 'é', '中', '\u{1F600}', '"', '{', '__proto__', '\u2028']),
    ).join('');
  }

  tensor(dtypes: readonly Dtype[]): RawTensor {
    const dtype = this.of(dtypes);
    const shape = this.shape();
    const bytes = this.bytes((elementCount(shape) * dtypeBits[dtype]) / 8);
    return { dtype, shape, bytes: dtype === 'BOOL' ? bytes.map((byte) => byte & 1) : bytes };
  }

  tensors(dtypes: readonly Dtype[]): Map<string, RawTensor> {
    const tensors = new Map<string, RawTensor>();
    // A name that only differs in the composition of its accents would be another's in a ZIP.
    for (let i = this.below(8); i >= 0; i--) tensors.set(`${i}${this.name()}`, this.tensor(dtypes));
    return tensors;
  }
}

const sorted = (tensors: ReadonlyMap<string, RawTensor>) =>
  [...tensors]
    .map(([name, { dtype, shape, bytes }]) => [name, dtype, [...shape], Buffer.from(bytes).toString('hex')] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));

const wholeBytes = (Object.keys(dtypeBits) as Dtype[]).filter((dtype) => dtypeBits[dtype] % 8 === 0);
const numpyTypes: readonly Dtype[] = ['BOOL', 'U8', 'I8', 'U16', 'I16', 'F16', 'U32', 'I32', 'F32', 'U64', 'I64', 'F64', 'C64'];
const tfjsTypes: readonly Dtype[] = ['F32', 'F16', 'I32', 'BOOL'];
const seeds = Array.from({ length: ROUNDS }, (_, seed) => seed);

describe(`write → read, ${ROUNDS} times`, () => {
  test('safetensors, with metadata', () => {
    for (const seed of seeds) {
      const dice = new Dice(seed);
      const tensors = dice.tensors(wholeBytes);
      const metadata = new Map(Array.from({ length: dice.below(4) }, (_, i) => [`${i}${dice.name()}`, dice.name()]));
      const back = readSafetensors(writeSafetensors(tensors, metadata));
      expect({ seed, tensors: sorted(back.tensors), metadata: back.metadata }).toEqual({ seed, tensors: sorted(tensors), metadata });
    }
  });

  test('npy and npz', async () => {
    for (const seed of seeds) {
      const tensors = new Dice(seed).tensors(numpyTypes);
      for (const [name, tensor] of tensors)
        expect({ seed, back: sorted(new Map([[name, readNpy(writeNpy(name, tensor))]])) }).toEqual({
          seed,
          back: sorted(new Map([[name, tensor]])),
        });
      const named = new Map([...tensors].map(([name, tensor]) => [name.replaceAll('\u2028', ''), tensor]));
      expect({ seed, back: sorted(await readNpz(await writeNpz(named))) }).toEqual({ seed, back: sorted(named) });
    }
  });

  test('TensorFlow.js weights', async () => {
    for (const seed of seeds) {
      const tensors = new Dice(seed).tensors(tfjsTypes);
      const { files } = await writeForeign(tensors, { format: 'tfjs', name: 'model.json' });
      const parts = new Map(files.map(({ name, bytes }) => [name, bytes]));
      const main = { name: 'model.json', bytes: parts.get('model.json') as Uint8Array };
      const back = await readForeign(main, { readBeside: async (path) => parts.get(path) as Uint8Array });
      expect({ seed, back: sorted(back.tensors) }).toEqual({ seed, back: sorted(tensors) });
    }
  });

  test('ZIP, stored and deflated', async () => {
    for (const seed of seeds) {
      const dice = new Dice(seed);
      const contents = new Map<string, Uint8Array<ArrayBuffer>>();
      for (let i = dice.below(6); i >= 0; i--)
        contents.set(`${i}${dice.of(['', 'folder/', 'é/中/'])}${'x'.repeat(dice.below(200) + 1)}`, dice.bytes(dice.of([0, 1, 50, 70_000])));
      const { sink, bytes } = memorySink();
      const zip = await ZipWriter.open(sink);
      for (const [name, content] of contents) {
        if (dice.below(2) === 0) await zip.addStored(name, content);
        else
          await zip.addPacked(name, {
            method: 8,
            crc32: codec.crc32(content),
            bytes: content.byteLength,
            parts: [new Uint8Array(deflateRawSync(content, { level: dice.below(10) }))],
          });
      }
      expect(await zip.finish()).toBe(bytes().byteLength);
      const reader = await openZip(memorySource(bytes()));
      expect([...reader.entries.keys()]).toEqual([...contents.keys()]);
      for (const [name, content] of contents)
        expect({ seed, name, same: Buffer.compare(await reader.read(name), content) }).toEqual({ seed, name, same: 0 });
    }
  });
});

function anyGraph(dice: Dice): ModelGraph {
  if (dice.below(3) === 0) return preset('resnet-small', { input: [dice.of([1, 3]), 4, 4], classes: 2, width: 1 + dice.below(3) });
  if (dice.below(2) === 0) return preset('small-conv', { input: [1, 4, 4], classes: 1 + dice.below(5), width: 1 + dice.below(4) });
  return preset('mlp', {
    input: [1 + dice.below(300)],
    widths: Array.from({ length: dice.below(3) }, () => 1 + dice.below(150)),
    classes: 1 + dice.below(9),
  });
}

/** Steps of every size: none, as in training, and jumps to anything finite, -0 and subnormal numbers among it. */
function anyTrajectory(dice: Dice, graph: ModelGraph): CheckpointContent[] {
  const seed = dice.below(1000);
  let state: NetworkState = initialise(core, graph, { seed });
  const bits = new Uint32Array(1);
  const number = new Float32Array(bits.buffer);
  const anything = (): number => {
    do bits[0] = dice.next();
    while (!Number.isFinite(number[0]));
    return number[0] as number;
  };
  const kinds = { still: (x: number) => x, small: (x: number) => x + (dice.next() / 2 ** 32 - 0.5) * 0.01, wild: anything };
  return Array.from({ length: 1 + dice.below(6) }, (_, i) => {
    const move = kinds[dice.of(['still', 'small', 'small', 'small', 'wild'] as const)];
    const moved = (tensors: NetworkState['parameters']) =>
      new Map([...tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map(move) }]));
    if (i > 0) state = { parameters: moved(state.parameters), buffers: moved(state.buffers) };
    return {
      label: `${i} ${dice.name()}`,
      ...(dice.below(2) === 0 ? { epoch: i / 2 } : {}),
      state,
      ...(i === 0 ? { seed: { seed } } : {}),
    };
  });
}

test(`bundles, ${BUNDLES} times: every coding, key frames anywhere, seeds or none`, async () => {
  for (let seed = 0; seed < BUNDLES; seed++) {
    const dice = new Dice(seed);
    const graph = anyGraph(dice);
    const layout = parameterLayout(graph);
    const checkpoints = anyTrajectory(dice, graph);
    const coding = dice.of(['lossless', 'full', 'int8', 'int4'] as const);
    const training = { note: dice.name(), list: [dice.below(9), null, true] };
    const bytes = await writeBundle(
      { graph, checkpoints, training },
      { coding, keyFrameEvery: 1 + dice.below(5), ...(dice.below(2) === 0 ? { core } : {}) },
    );
    using bundle = await openBundle(bytes, { core });
    expect({ seed, graph: bundle.graph, training: bundle.manifest.training }).toEqual({ seed, graph, training });
    expect(bundle.checkpoints.map(({ label, epoch }) => [label, epoch])).toEqual(
      checkpoints.map(({ label, epoch }) => [label, epoch ?? null]),
    );
    for (const index of [...checkpoints.keys()].toSorted(() => dice.below(3) - 1)) {
      const { state } = checkpoints[index] as CheckpointContent;
      const { stepError, stepNorm } = bundle.checkpoint(index);
      const file = await bundle.readCheckpointFile(index);
      const written = stateToSafetensors(layout, state);
      const facts = { seed, index, coding };
      if (coding === 'lossless' || coding === 'full') {
        expect({ ...facts, same: Buffer.compare(file, written), stepError }).toEqual({ ...facts, same: 0, stepError: 0 });
        continue;
      }
      // What is lost is what the manifest says.
      const [got, meant] = [stateFromSafetensors(layout, file), stateFromSafetensors(layout, written)];
      let lost = 0;
      for (const [name, { data }] of meant.parameters)
        for (const [i, x] of data.entries()) lost += (x - (got.parameters.get(name)?.data[i] as number)) ** 2;
      expect(Math.abs(Math.sqrt(lost) - stepError * stepNorm)).toBeLessThanOrEqual(1e-9 * Math.sqrt(lost));
      expect({ ...facts, buffers: got.buffers }).toEqual({ ...facts, buffers: meant.buffers });
    }
    expect({ seed, passed: (await bundle.verify()).passed }).toEqual({ seed, passed: true });
  }
});
