// Single flipped bits in bundles of every coding.
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { TrajportError } from '../../src/core/errors.ts';
import { preset } from '../../src/model/presets.ts';
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

/** Whether a reader that opens and verifies is told. An untyped error is a fault of ours and thrown on. */
async function isNoticed(bytes: Uint8Array): Promise<boolean> {
  try {
    using bundle = await openBundle(bytes);
    return !(await bundle.verify()).passed;
  } catch (error) {
    if (error instanceof TrajportError) return true;
    throw error;
  }
}

/** `n` flips over all codings together. */
export async function flipBits(n: number, seed: number): Promise<FlipResult[]> {
  const codings = ['full', 'lossless', 'int8', 'int4'] as const;
  const next = generator(seed);
  const results: FlipResult[] = [];
  for (const [index, coding] of codings.entries()) {
    const good = await writeBundle({ graph, checkpoints: trajectory(graph, 3), training: { note: 'flip me' } }, { coding });
    const share = Math.floor((n * (index + 1)) / codings.length) - Math.floor((n * index) / codings.length);
    let detected = 0;
    let firstMissed: number | undefined;
    for (let round = 0; round < share; round++) {
      const bit = next() % (good.byteLength * 8);
      good[bit >> 3] = (good[bit >> 3] as number) ^ (1 << (bit & 7));
      if (await isNoticed(good)) detected++;
      else firstMissed ??= bit;
      good[bit >> 3] = (good[bit >> 3] as number) ^ (1 << (bit & 7));
    }
    if (await isNoticed(good)) throw new Error(`the ${coding} bundle itself is refused`);
    results.push({ file: `bundle ${coding}`, n: share, detected, ...(firstMissed === undefined ? {} : { firstMissed }), pass: detected === share });
  }
  return results;
}
