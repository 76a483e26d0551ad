/** The safetensors reader and writer. */
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { equal, sameEverywhere, test, throws } from './harness.ts';

const sample = (): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(new Float32Array([1, -2, 3.5, NaN]).buffer);
  return writeSafetensors(
    new Map<string, RawTensor>([
      ['layer.weight', { dtype: 'F32', shape: [2, 2], bytes }],
      ['layer.bias', { dtype: 'F32', shape: [0], bytes: new Uint8Array(0) }],
    ]),
    new Map([['note', 'zwölf']]),
  );
};

test('safetensors: what is written is read back, in the same bytes everywhere', async () => {
  const file = readSafetensors(sample());
  equal(file.metadata, new Map([['note', 'zwölf']]));
  equal([...file.tensors.keys()], ['layer.weight', 'layer.bias']);
  equal([...(file.tensors.get('layer.weight')?.bytes ?? [])], [...new Uint8Array(new Float32Array([1, -2, 3.5, NaN]).buffer)]);
  await sameEverywhere('safetensors file', sample());
});

test('safetensors: truncated anywhere, it is refused', async () => {
  const whole = sample();
  for (let length = 0; length < whole.length; length += 3) {
    await throws(() => readSafetensors(whole.slice(0, length)), 'malformed-file');
  }
});
