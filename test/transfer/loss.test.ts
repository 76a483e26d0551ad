/** Losses from end to end: a training's loss is in its record, goes into the bundle, and is what a transfer of it matches. */
import { afterAll, describe, expect, test } from 'vitest';
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import type { Loss } from '../../src/gradient/loss.ts';
import { initialise } from '../../src/model/initialise.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { train } from '../../src/transfer/train.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());
const data = quadrants(400, 3);
const graph = networks.mlp;
const common = { graph, data, seed: 1, epochs: 6, batchSize: 32, compute } as const;

describe.each<readonly [Loss, number]>([
  [{ kind: 'softmax-cross-entropy', labelSmoothing: 0.1 }, 0.05],
  [{ kind: 'binary-cross-entropy' }, 0.2],
  [{ kind: 'mean-squared-error' }, 0.2],
])('%j', (loss, learningRate) => {
  test('learns, is recorded, and a transfer of its bundle matches its gradients', async () => {
    const result = await train({ ...common, loss, learningRate });
    expect(result.record.settings['loss']).toEqual(loss);
    const unseen = { graph, state: result.state, data: quadrants(300, 4), compute };
    expect((await evaluate({ ...unseen, loss })).accuracy).toBeGreaterThan(0.85);
    expect((await evaluate({ ...unseen, loss })).loss).not.toBe((await evaluate(unseen)).loss);

    using bundle = await openBundle(await writeBundle({ graph, checkpoints: result.checkpoints, training: result.record }));
    const target = initialise(compute.core, graph, { seed: 2 });
    const port = { target, data, method: 'fgmt', seed: 1, steps: 2, batchSize: 32, compute } as const;
    const byRecord = await transfer({ ...port, source: bundle });
    expect(byRecord.record.settings['loss']).toEqual(loss);
    expect(byRecord.record.sha256).toBe((await transfer({ ...port, source: bundle, loss })).record.sha256);
    const other = await transfer({ ...port, source: bundle, loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0 } });
    expect(other.steps[1]?.objective).not.toBe(byRecord.steps[1]?.objective);
  });
});

test.each([
  [{ kind: 'hinge' }, 'loss.kind'],
  [{ kind: 'mean-squared-error', labelSmoothing: 0.1 }, 'loss.labelSmoothing'],
  [{ kind: 'softmax-cross-entropy', labelSmoothing: 2 }, 'loss.labelSmoothing'],
  ['softmax', 'loss'],
])('%j is refused by name', async (loss, field) => {
  await expect(train({ ...common, loss: loss as Loss })).rejects.toMatchObject({ code: 'invalid-argument', field });
});
