/** PyTorch files of the form before 1.6 against torch's own values; pickles that would call anything refused. */
import { describe, expect, it } from 'vitest';
import { readLegacyPytorch } from '../../../src/bundle/foreign/pytorch-legacy.ts';
import { expectTyped } from '../support.ts';
import { expectVector, vector } from './support.ts';

describe('PyTorch files of the form before 1.6', () => {
  it.each([
    'state-dict-legacy.pt', 'views-legacy.pt', 'training-protocol4-legacy.pt', 'classes-protocol4-legacy.pt',
  ])('%s: every tensor as torch holds it', (name) => {
    const read = readLegacyPytorch(vector(name));
    expectVector(name, read.tensors);
    expect(read.convention).toBe('pytorch');
  });

  it('names what it passes over: sets of protocol 4 among others', () => {
    const { metadata } = readLegacyPytorch(vector('training-protocol4-legacy.pt'));
    expect(Object.fromEntries(metadata)).toMatchObject({
      args: 'argparse.Namespace, not read',
      seen: 'builtins.set, not read',
      frozen: 'builtins.frozenset, not read',
    });
  });

  it('refuses a pickle that would call os.system, and names it', async () => {
    const error = await expectTyped(() => readLegacyPytorch(vector('refused-call-legacy.pt')), 'unsupported');
    expect(error.message).toContain('posix.system');
  });

  it('refuses every truncation and a byte too many', async () => {
    const { name, bytes } = vector('state-dict-legacy.pt');
    for (let length = 0; length < bytes.length; length += 7) {
      await expectTyped(() => readLegacyPytorch({ name, bytes: bytes.subarray(0, length) }));
    }
    await expectTyped(() => readLegacyPytorch({ name, bytes: new Uint8Array([...bytes, 0]) }), 'malformed-file');
  });
});
