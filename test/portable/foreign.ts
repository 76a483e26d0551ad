/** People's files: real ones read to the same bytes in every runtime, and damaged ones refused alike. */
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import { TrajportError } from '../../src/core/errors.ts';
import { mutator } from '../bundle/foreign/mutate.ts';
import { deflated } from './foreign-vectors.ts';
import { equal, ok, sameEverywhere, test } from './harness.ts';

async function unpack(text: string): Promise<Uint8Array> {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const formats: Readonly<Record<string, string>> = {
  'checkpoint.pt': 'pytorch',
  'views-legacy.pt': 'pytorch-legacy',
  'arrays.npz': 'npz',
  'model.gguf': 'gguf',
  'model.onnx': 'onnx',
  'keras2.h5': 'keras-hdf5',
  'latest.h5': 'keras-hdf5',
};

for (const [name, format] of Object.entries(formats)) {
  test(`foreign: ${name} gives the same safetensors and npz files everywhere`, async () => {
    const read = await readForeign({ name, bytes: await unpack(deflated[name] ?? '') });
    equal(read.format, format);
    ok(read.tensors.size > 2, 'tensors');
    const { files } = await writeForeign(read.tensors, { format: 'safetensors', name: 'x.safetensors', metadata: read.metadata });
    await sameEverywhere(`foreign ${name} as safetensors`, files[0]?.bytes ?? new Uint8Array(0));
    const npz = await writeForeign(read.tensors, { format: 'npz', name: 'x.npz' });
    await sameEverywhere(`foreign ${name} as npz`, npz.files[0]?.bytes ?? new Uint8Array(0));
  });

  test(`foreign: ${name} damaged has the same verdict everywhere`, async () => {
    const good = [await unpack(deflated[name] ?? '')];
    const { next } = mutator(5);
    let verdicts = '';
    for (let i = 0; i < 200; i++) {
      try {
        const { tensors } = await readForeign({ name, bytes: next(good) });
        verdicts += `${i} ${tensors.size} tensors\n`;
      } catch (error) {
        ok(error instanceof TrajportError, `input ${i}: ${String(error)}`);
        verdicts += `${i} ${error.message}\n`;
      }
    }
    await sameEverywhere(`foreign ${name} verdicts`, new TextEncoder().encode(verdicts));
  });
}
