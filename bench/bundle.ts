/**
 * npm run -s bench:bundle [-- --json] [--checkpoints 26] [--data DIR]
 * Bundles of two real trajectories (an MLP 512 and a pooled conv net, 26 checkpoints each): size against raw and
 * against gzip and exponent coding, error of the lossy codings, encode and decode speed on one core. CPU time, median
 * of 5. Exit status 1 when a bar of the project falls short.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { openCodec } from '../src/bundle/codec-instance.ts';
import { stateToSafetensors } from '../src/bundle/network-state.ts';
import { openBundle } from '../src/bundle/reader.ts';
import { type BundleOptions, type CheckpointContent, writeBundle } from '../src/bundle/writer.ts';
import { imageSetFromIdx } from '../src/data/idx.ts';
import { generateTaskPair } from '../src/data/generated.ts';
import { type ImageSet, selectRows, shrink } from '../src/data/image-set.ts';
import { type ModelGraph, parameterLayout } from '../src/model/graph.ts';
import { preset } from '../src/model/presets.ts';
import { formatTable } from '../src/report/table.ts';
import { openCompute } from '../src/transfer/compute.ts';
import { train } from '../src/transfer/train.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, checkpoints: { type: 'string', default: '26' }, data: { type: 'string', default: '../shared/data/mnist' } },
});
const count = Number(values.checkpoints);
const SEED = 1;
const REPEATS = 5;

interface Row {
  readonly network: string;
  readonly coding: string;
  readonly ratio: number;
  readonly stepError: number;
  readonly encodeMBs: number | null;
  readonly decodeMBs: number | null;
  readonly pass?: boolean;
}

using compute = await openCompute();

async function images(): Promise<ImageSet> {
  const file = (name: string): Uint8Array => readFileSync(join(values.data, name));
  if (!existsSync(join(values.data, 'train-images-idx3-ubyte.gz'))) {
    console.error(`no MNIST in ${values.data}: the generated images instead`);
    return generateTaskPair(compute.core, { seed: SEED, trainCount: 20_000, testCount: 100 }).before.train;
  }
  const whole = await imageSetFromIdx({ name: 'mnist', images: file('train-images-idx3-ubyte.gz'), labels: file('train-labels-idx1-ubyte.gz') });
  return selectRows(whole, Int32Array.from({ length: Math.min(20_000, whole.count) }, (_, i) => i));
}

async function trajectory(graph: ModelGraph, data: ImageSet): Promise<CheckpointContent[]> {
  const { checkpoints } = await train({ graph, data, seed: SEED, epochs: count - 1, learningRate: 0.01, batchSize: 128, heldOutFraction: 0, compute });
  return checkpoints.map(({ label, state }, epoch) => ({ label, epoch, state, ...(epoch === 0 ? { seed: { seed: SEED } } : {}) }));
}

/** Median CPU seconds. */
async function cpuSeconds(run: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < REPEATS; i++) {
    const before = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(before);
    times.push((user + system) / 1e6);
  }
  return times.toSorted((a, b) => a - b)[REPEATS >> 1] as number;
}

/**
 * The peer of ZipNN's kind: the sign bit moved to the end, so that one byte is the exponent; planes apart, each
 * Huffman-coded where that pays. No knowledge of the other checkpoints.
 */
async function exponentCoding(files: readonly Uint8Array<ArrayBuffer>[]): Promise<number> {
  const codec = await openCodec();
  let bytes = 0;
  for (const file of files) {
    const words = new Uint32Array(file.buffer.slice(0, file.byteLength & ~3));
    for (let i = 0; i < words.length; i++) words[i] = ((words[i] as number) << 1) | ((words[i] as number) >>> 31);
    const rotated = new Uint8Array(words.buffer);
    const stream = codec.deflate((part) => void (bytes += part.byteLength));
    for (let at = 0; at < rotated.byteLength; at += 131_072) {
      const chunk = rotated.subarray(at, at + 131_072);
      const planes = new Uint8Array(chunk.byteLength);
      codec.splitChunk(chunk, undefined, planes);
      const elements = chunk.byteLength / 4;
      for (let plane = 0; plane < 4; plane++) stream.write(planes.subarray(plane * elements, (plane + 1) * elements));
    }
    stream.end();
  }
  return bytes;
}

const codings: readonly (readonly [name: string, options: BundleOptions, largestRatio?: number | undefined, largestError?: number])[] = [
  ['full', { coding: 'full' }],
  ['planes', { keyFrameEvery: 1 }],
  ['lossless', {}, 0.72, 0],
  ['lossless, from its seed', { core: compute.core }, 0.72, 0],
  ['int8', { coding: 'int8' }, undefined, 0.01],
  ['int8, from its seed', { coding: 'int8', core: compute.core }, 0.27, 0.01],
  ['int4, from its seed', { coding: 'int4', core: compute.core }],
];

async function measure(network: string, graph: ModelGraph, data: ImageSet): Promise<Row[]> {
  const checkpoints = await trajectory(graph, data);
  const layout = parameterLayout(graph);
  const files = checkpoints.map(({ state }) => stateToSafetensors(layout, state));
  const rawBytes = files.reduce((sum, file) => sum + file.byteLength, 0);
  const rows: Row[] = [];
  for (const [coding, options, largestRatio, largestError] of codings) {
    const write = async (): Promise<Uint8Array<ArrayBuffer>> => writeBundle({ graph, checkpoints }, options);
    const bytes = await write();
    const read = async (): Promise<number> => {
      using bundle = await openBundle(bytes, { core: compute.core });
      let worst = 0;
      for (const { index, stepError } of bundle.checkpoints) {
        await bundle.readCheckpointFile(index);
        worst = Math.max(worst, stepError);
      }
      return worst;
    };
    const stepError = await read();
    const ratio = bytes.byteLength / rawBytes;
    const encodeMBs = rawBytes / 1e6 / (await cpuSeconds(write));
    const decodeMBs = rawBytes / 1e6 / (await cpuSeconds(read));
    const bars = coding === 'full' || coding === 'planes' ? {} : {
      pass: ratio <= (largestRatio ?? 1) && stepError <= (largestError ?? 1) && encodeMBs >= 40 && decodeMBs >= 150,
    };
    rows.push({ network, coding, ratio, stepError, encodeMBs, decodeMBs, ...bars });
  }
  const whole = Buffer.concat(files);
  const before = process.cpuUsage();
  const gzip = gzipSync(whole, { level: 6 }).byteLength;
  const { user, system } = process.cpuUsage(before);
  rows.push({ network, coding: 'gzip -6 of the raw files', ratio: gzip / rawBytes, stepError: 0, encodeMBs: rawBytes / (user + system), decodeMBs: null });
  rows.push({ network, coding: 'exponent coding (as ZipNN)', ratio: (await exponentCoding(files)) / rawBytes, stepError: 0, encodeMBs: null, decodeMBs: null });
  return rows;
}

const mnist = await images();
const small = selectRows(shrink(mnist, 2), Int32Array.from({ length: 3000 }, (_, i) => i));
const rows = [
  ...(await measure('mlp-512', preset('mlp', { input: [mnist.channels * mnist.height * mnist.width], widths: [512], classes: mnist.classes }), mnist)),
  ...(await measure('small-conv-32', preset('small-conv', { input: [small.channels, small.height, small.width], classes: small.classes }), small)),
];
const rounded = (value: number | null, digits: number): string => (value === null ? '' : value.toFixed(digits));
if (values.json) {
  for (const row of rows) console.log(JSON.stringify({ ...row, checkpoints: count }));
} else {
  const titles = ['network', 'coding', 'size ÷ raw', 'largest error ÷ step', 'encode MB/s', 'decode MB/s', ''];
  const cells = rows.map((row) => [
    row.network, row.coding, rounded(row.ratio, 3), rounded(row.stepError, 4), rounded(row.encodeMBs, 0), rounded(row.decodeMBs, 0),
    row.pass === undefined ? '' : row.pass ? 'ok' : 'FALLS SHORT',
  ]);
  process.stdout.write(formatTable(titles.map((title, i) => ({ title, align: i > 1 && i < 6 ? ('right' as const) : ('left' as const) })), cells));
}
process.exitCode = rows.some(({ pass }) => pass === false) ? 1 : 0;
