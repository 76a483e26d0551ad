/** Folders of checkpoints in the order of their numbers, and a foreign file as the state of a network. */
import { describe, expect, it } from 'vitest';
import { checkpointFiles, checkpointLabels, compareNatural, stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import { readForeign } from '../../../src/bundle/foreign/formats.ts';
import { sequential } from '../../../src/model/builder.ts';
import { expectTyped } from '../support.ts';
import { vector } from './support.ts';

describe('folders of checkpoints', () => {
  it('come in the order of their numbers, without parts and optimiser states', () => {
    const files = [
      'epoch-10.pt', 'epoch-9.pt', 'notes.txt', 'model-00001-of-00002.safetensors', 'model.safetensors.index.json', 'optimizer.pt',
      'checkpoint-500/pytorch_model.bin', 'checkpoint-500/optimizer.pt', 'group1-shard1of1.bin', 'tf/model.json', 'config.json',
    ];
    expect(checkpointFiles(files)).toEqual([
      'checkpoint-500/pytorch_model.bin',
      'epoch-9.pt',
      'epoch-10.pt',
      'model.safetensors.index.json',
      'tf/model.json',
    ]);
  });

  it('compares numbers by value', () => {
    const names = ['a2b', 'a10b', 'a010c', 'a1', 'b', 'a', 'a02b', 'a99999999999999999999', 'a100000000000000000000'];
    expect(names.toSorted(compareNatural)).toEqual(['a', 'a1', 'a02b', 'a2b', 'a10b', 'a010c', 'a99999999999999999999', 'a100000000000000000000', 'b']);
  });

  it('are labelled by what tells them apart', async () => {
    expect(checkpointLabels(['run/epoch-9.pt', 'run/epoch-10.pt'])).toEqual([
      { label: 'epoch-9', epoch: 9 },
      { label: 'epoch-10', epoch: 10 },
    ]);
    expect(checkpointLabels(['c-1/model.safetensors', 'c-2/model.safetensors']).map(({ label }) => label)).toEqual(['c-1', 'c-2']);
    expect(checkpointLabels(['model.safetensors.index.json'])).toEqual([{ label: 'model', epoch: undefined }]);
    expect(checkpointLabels(['epoch2.pt', 'epoch1.pt']).map(({ epoch }) => epoch)).toEqual([undefined, undefined]);
    await expectTyped(() => checkpointLabels(['a.pt', 'a.pth']), 'invalid-argument');
  });
});

describe('a PyTorch file as the state of a network', () => {
  it('gives the state, or says what does not fit', async () => {
    const checkpoint = await readForeign(vector('views.pt'));
    const graph = sequential([6], [{ op: 'dense', out: 4, bias: false }]);
    const name = `${graph.nodes[0]?.name}.weight`;
    const { state, report } = stateFromForeign(graph, checkpoint, [{ from: 'same', to: name }, { from: '**', to: null }], 'views.pt');
    expect(report.fits).toBe(true);
    expect([...(state?.parameters.get(name)?.data.slice(0, 3) ?? [])]).toEqual([0, 0.125, 0.25]);
    expect(stateFromForeign(graph, checkpoint, [], 'views.pt').state).toBeUndefined();
  });
});
