// Two small jobs through the library. `smallJob`: train, port by FGMT with resume points in memory, evaluate. Its one hash stands for all.
// `growingJob` needs more than the heap that a core begins with.
import { evaluate, preset, train, transfer } from '../../src/index.ts';
import type { Compute, ResumeOptions, TrainResult } from '../../src/index.ts';
import { networks, quadrants } from '../transfer/networks.ts';

const data = quadrants(60, 3);
const graph = networks['small-conv'];

export async function smallJob(compute: Compute, signal?: AbortSignal): Promise<string> {
  const common = { data, batchSize: 30, compute, signal } as const;
  const training = { ...common, graph };
  const resume = (): ResumeOptions => {
    let points: Uint8Array[] = [];
    return { store: { load: async () => points, save: async (point) => void (points = [point, ...points].slice(0, 2)) } };
  };
  const [source, target] = [
    await train({ ...training, seed: 1, iterations: 3, resume: resume() }),
    await train({ ...training, seed: 2, iterations: 1 }),
  ] as [TrainResult, TrainResult];
  const ported = await transfer({
    ...common,
    source: source.trajectory,
    target: target.state,
    method: 'fgmt',
    steps: 2,
    seed: 1,
    resume: resume(),
  });
  const { loss } = await evaluate({ ...training, state: ported.state });
  return `${ported.record.sha256} ${loss}`;
}

/** Weights, gradients and momentum of 36 MB in all; a core begins with 16 MiB. */
export async function growingJob(compute: Compute): Promise<string> {
  const wide = preset('mlp', { input: [1, 8, 8], classes: 4, widths: [1700, 1700] });
  const { record } = await train({ graph: wide, data, batchSize: 30, iterations: 1, heldOutFraction: 0, seed: 1, compute });
  return record.sha256;
}
