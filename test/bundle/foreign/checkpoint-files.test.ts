/** Folders of checkpoints in the order of their numbers. */
import { describe, expect, it } from 'vitest';
import { checkpointFiles, checkpointLabels, compareNatural } from '../../../src/bundle/foreign/checkpoint-files.ts';
import { expectTyped } from '../support.ts';

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
    expect(names.toSorted(compareNatural)).toEqual([
      'a', 'a1', 'a02b', 'a2b', 'a10b', 'a010c', 'a99999999999999999999', 'a100000000000000000000', 'b',
    ]);
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
