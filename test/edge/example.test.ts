/** The commands of the example's README that prepare a request. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { idxImages, idxLabels, root } from '../cli/fixtures.ts';

it('cuts the first 8,000 images of MNIST to files within the default caps', () => {
  const readme = readFileSync(join(root, 'examples', 'worker', 'README.md'), 'utf8');
  const script = [...readme.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text as string).find((text) => text.includes('> images.idx'));
  const folder = mkdtempSync(join(tmpdir(), 'trajport-example-'));
  try {
    const pixels = Uint8Array.from({ length: 9000 * 28 * 28 }, (_, i) => (i * 31) >>> 5);
    const labels = Array.from({ length: 9000 }, (_, i) => i % 10);
    writeFileSync(join(folder, 'train-images-idx3-ubyte.gz'), gzipSync(idxImages(9000, 28, 28, pixels)));
    writeFileSync(join(folder, 'train-labels-idx1-ubyte.gz'), gzipSync(idxLabels(labels)));
    execFileSync('sh', ['-c', script as string], { cwd: folder, stdio: ['ignore', 'ignore', 'ignore'] });
    const written = (name: string): Buffer => readFileSync(join(folder, name));
    expect(written('images.idx').equals(idxImages(8000, 28, 28, pixels.subarray(0, 8000 * 28 * 28)))).toBe(true);
    expect(written('labels.idx').equals(idxLabels(labels.slice(0, 8000)))).toBe(true);
    expect(written('images.idx').length).toBeLessThan(6 * 2 ** 20);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
