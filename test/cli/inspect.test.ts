// What `trajport inspect` tells in words, of bundles and of files against a network.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeBundle } from '../../src/bundle/writer.ts';
import { GraphBuilder, sequential } from '../../src/model/builder.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { trajport } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });

/** Every tensor of the network with numbers that differ, by its name. */
function weightsOf(graph: ModelGraph) {
  const { parameters } = parameterLayout(graph);
  return new Map(parameters.map(({ name, shape }, at) => [name, { shape, data: Float32Array.from({ length: elementCount(shape) }, (_, i) => at + i / 64) }]));
}

const network = sequential([1, 2, 2], [{ op: 'flatten' }, { op: 'dense', name: 'lin1', out: 4 }, { op: 'relu' }, { op: 'dense', name: 'lin2', out: 3 }]);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-inspect-'));
  writeFileSync(join(directory, 'network.json'), JSON.stringify(network));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('of a bundle', () => {
  const packed = async (name: string, graph: ModelGraph, training: Parameters<typeof writeBundle>[0]['training']): Promise<string> => {
    const state = { parameters: weightsOf(graph), buffers: new Map() };
    const content = { graph, checkpoints: [{ label: 'a', state }], ...(training === undefined ? {} : { training }) };
    writeFileSync(join(directory, name), await writeBundle(content));
    return (await run('inspect', name)).stdout;
  };

  it('tells what was packed, the zeros of its first last layer and how images were normalised', async () => {
    const training = { packedFrom: ['v1.pth', 'fine\ntuned.pth'], normalisation: { mean: [0.5], std: [0.25] }, zeroHead: true };
    const lines = (await packed('told.zip', network, training)).split('\n');
    expect(lines.slice(2, 5)).toEqual([
      'packed from v1.pth, fine\ufffdtuned.pth',
      'the last layer of the first checkpoint became zeros (--zero-head); transfer does the same with its target',
      'images normalised by mean 0.5 and deviation 0.25',
    ]);
  });

  it('tells many files by the first and the last, and nothing where nothing is recorded', async () => {
    expect(await packed('many.zip', network, { packedFrom: Array.from({ length: 9 }, (_, i) => `e${i}.pt`) })).toContain('\npacked from 9 files, e0.pt to e8.pt\n');
    expect(await packed('silent.zip', network, { zeroHead: false })).toMatch(/^silent\.zip\n.* parameters\n +layer/);
  });

  it('tells the heads of an attention, and those of its keys where they are fewer', async () => {
    const builder = new GraphBuilder([1, 4, 4]);
    const graph = builder.build(
      builder.chain(builder.input, [
        { op: 'conv2d', name: 'embed', out: 8, kernel: 2, stride: 2 }, { op: 'tokens' },
        { op: 'dense', name: 'qkv', out: 24 }, { op: 'attention', name: 'all', heads: 4 },
        { op: 'dense', name: 'grouped', out: 16 }, { op: 'attention', name: 'few', heads: 4, key_heads: 2 },
        { op: 'mean_tokens' }, { op: 'dense', name: 'head', out: 2 },
      ]),
    );
    const text = await packed('attention.zip', graph, undefined);
    expect(text).toMatch(/^ +all +attention, 4 heads +4×8 *$/m);
    expect(text).toMatch(/^ +few +attention, 4 heads, 2 key heads +4×8 *$/m);
  });
});
