/** PyTorch's ZIP files against torch's own values: views, every dtype, training checkpoints, truncations. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readPytorch } from '../../../src/bundle/foreign/pytorch.ts';
import { expectTyped } from '../support.ts';
import { expectVector, vector } from './support.ts';

describe('PyTorch files', () => {
  it.each(['state-dict.pt', 'state-dict-protocol4.pt', 'views.pt', 'dtypes.pth', 'checkpoint.pt', 'training.pt', 'classes.pt'])(
    '%s: every tensor as torch holds it',
    async (name) => {
      expectVector(name, (await readPytorch(vector(name))).tensors);
    },
  );

  it('keeps numbers and strings of a training checkpoint as metadata', async () => {
    const { metadata } = await readPytorch(vector('checkpoint.pt'));
    expect(Object.fromEntries(metadata)).toMatchObject({
      epoch: '7',
      best: '0.5',
      arch: 'small',
      done: 'true',
      'size.1': '4',
      'optimizer.param_groups.0.lr': '0.1',
    });
  });

  it('names what it passes over of a training checkpoint, with all it holds', async () => {
    const { metadata } = await readPytorch(vector('training.pt'));
    expect(Object.fromEntries(metadata)).toEqual({
      args: 'argparse.Namespace, not read',
      best: 'numpy.core.multiarray.scalar, not read',
      'numpy_rng.0': 'MT19937',
      'numpy_rng.1': 'numpy.ndarray, not read',
      'numpy_rng.2': '624',
      'numpy_rng.3': '0',
      'numpy_rng.4': '0',
      output: 'pathlib.PosixPath, not read',
      config: '__main__.Config, not read',
      hyper_parameters: '__main__.AttributeDict, not read',
      begun: 'datetime.datetime, not read',
      seen: '__builtin__.set, not read',
      frozen: '__builtin__.frozenset, not read',
      raw: 'bytes, not read',
      milestones: 'collections.Counter, not read',
      optimizer_class: 'torch.optim.sgd.SGD',
      'callbacks.__main__.Config.patience': '3',
      ema: 'torch.nn.modules.linear.Linear, not read',
    });
  });

  it('reads kinds of OrderedDict, and names members of enums and what is no class of ours', async () => {
    const { metadata, containers } = await readPytorch(vector('classes.pt'));
    expect(Object.fromEntries(metadata)).toEqual({
      colour: '__main__.Colour("red"), not read',
      shape: '__main__.Shape.ROUND',
      layers: '_operator.or_, not read',
      inner: '__main__.Outer.Inner.ONE',
      config: '__main__.Outer.Config, not read',
      'output.loss': '0.5',
      nothing: '__main__.Weights, not read',
      scale: '__main__.Outer.scale',
      error: '__main__.Stop("early"), not read',
    });
    expect([...(containers ?? [])].toSorted()).toEqual(['output.', 'per_colour.', 'state_dict.']);
  });

  it.each([
    ['refused-whole-model.pt', 'unsupported', 'only objects of "torch.nn.modules.container.Sequential"; save model.state_dict()'],
    ['refused-call.pt', 'unsupported', 'posix.system'],
    ['refused-expanded.pt', 'limit', '1000000'],
  ] as const)('refuses %s (%s, naming %s), and executes nothing', async (name, code, named) => {
    const error = await expectTyped(() => readPytorch(vector(name)), code);
    expect(error.message).toContain(named);
    expect(existsSync('/tmp/trajport-was-here')).toBe(false);
  });

  it('copies nothing of a contiguous tensor and gathers a strided one', async () => {
    const { tensors } = await readPytorch(vector('views.pt'));
    const [same, offset, transposed] = ['same', 'offset', 'transposed'].map((name) => tensors.get(name)?.bytes);
    expect(offset?.buffer).toBe(same?.buffer);
    expect(transposed?.buffer).not.toBe(same?.buffer);
  });

  it('refuses every truncation', async () => {
    const { name, bytes } = vector('state-dict.pt');
    for (let length = 0; length < bytes.length; length += 41)
      await expectTyped(() => readPytorch({ name, bytes: bytes.subarray(0, length) }));
  });
});
