// Single flipped bits in bundles of every coding, and in resume points.
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { TrajportError } from '../../src/core/errors.ts';
import { preset } from '../../src/model/presets.ts';
import type { NumberArray } from '../../src/tensor/named-arrays.ts';
import { decodeResumePoint, encodeResumePoint } from '../../src/transfer/resume.ts';
import type { JobIdentity } from '../../src/transfer/resume.ts';
import { generator } from '../bundle/generator.ts';
import { trajectory } from '../bundle/trajectory.ts';

export interface FlipResult {
  readonly file: string;
  readonly n: number;
  readonly detected: number;
  readonly firstMissed?: number;
  readonly pass: boolean;
}

const graph = preset('resnet-small', { input: [1, 6, 6], classes: 2, width: 1 });

const job: JobIdentity = { kind: 'train', settings: { seed: 1, learningRate: 0.1 }, inputs: { data: '0'.repeat(64) } };

/** A resume point with numbers of every type. */
async function resumePoint(next: () => number): Promise<Uint8Array> {
  const floats = Float32Array.from({ length: 500 }, () => next() / 2 ** 31 - 1);
  const arrays = new Map<string, NumberArray>([
    ['f32', floats],
    ['f64', Float64Array.from(floats)],
    ['i32', Int32Array.from(floats, (x) => x * 1e9)],
    ['i8', Int8Array.from(floats, (x) => x * 127)],
  ]);
  return encodeResumePoint(job, { done: 17, facts: { note: 'flip me', numbers: [1, -0, 2.5] }, arrays });
}

/** Whether a reader is told. An untyped error is a fault of ours and thrown on. */
async function told(read: () => Promise<boolean>): Promise<boolean> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof TrajportError) return true;
    throw error;
  }
}

const bundleIsNoticed = (bytes: Uint8Array): Promise<boolean> =>
  told(async () => {
    using bundle = await openBundle(bytes);
    return !(await bundle.verify()).passed;
  });
const pointIsNoticed = (bytes: Uint8Array): Promise<boolean> =>
  told(async () => {
    await decodeResumePoint(bytes, job);
    return false;
  });

/** `n` flips over all kinds of file together. */
export async function flipBits(n: number, seed: number): Promise<FlipResult[]> {
  const next = generator(seed);
  const codings = ['full', 'lossless', 'int8', 'int4'] as const;
  const bundle = (coding: (typeof codings)[number]): Promise<Uint8Array> =>
    writeBundle({ graph, checkpoints: trajectory(graph, 3), training: { note: 'flip me' } }, { coding });
  const kinds = [
    ...codings.map((coding) => ({ file: `bundle ${coding}`, make: () => bundle(coding), isNoticed: bundleIsNoticed })),
    { file: 'resume point', make: () => resumePoint(next), isNoticed: pointIsNoticed },
  ];
  const results: FlipResult[] = [];
  for (const [index, { file, make, isNoticed }] of kinds.entries()) {
    const good = await make();
    const share = Math.floor((n * (index + 1)) / kinds.length) - Math.floor((n * index) / kinds.length);
    let detected = 0;
    let firstMissed: number | undefined;
    for (let round = 0; round < share; round++) {
      const bit = next() % (good.byteLength * 8);
      good[bit >> 3] = (good[bit >> 3] as number) ^ (1 << (bit & 7));
      if (await isNoticed(good)) detected++;
      else firstMissed ??= bit;
      good[bit >> 3] = (good[bit >> 3] as number) ^ (1 << (bit & 7));
    }
    if (await isNoticed(good)) throw new Error(`the ${file} itself is refused`);
    results.push({ file, n: share, detected, ...(firstMissed === undefined ? {} : { firstMissed }), pass: detected === share });
  }
  return results;
}
