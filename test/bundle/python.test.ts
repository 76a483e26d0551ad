// The Python of docs/format.md, run as it stands there against every coding.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { preset } from '../../src/model/presets.ts';
import { sha256Hex } from '../../src/core/sha256.ts';
import { trajectory } from './trajectory.ts';

const [, snippet] = /```python\n([^]*?)```/.exec(readFileSync('docs/format.md', 'utf8')) as RegExpExecArray;

test('the snippet is short', () => {
  expect((snippet as string).trimEnd().split('\n').length).toBeLessThanOrEqual(25);
});

const numpy = (() => {
  try {
    return execFileSync('python3', ['-c', 'import numpy; print("ok")'], { stdio: 'pipe' }).toString().trim() === 'ok';
  } catch {
    return false;
  }
})();

test.skipIf(!numpy)('it reads every coding, to the byte (skipped where there is no NumPy)', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'trajport-'));
  for (const graph of [
    preset('mlp', { input: [200], widths: [301], classes: 7 }),
    preset('resnet-small', { input: [1, 8, 8], classes: 4, width: 5 }),
  ]) {
    for (const coding of ['full', 'lossless', 'int8', 'int4'] as const) {
      const bytes = await writeBundle({ graph, checkpoints: trajectory(graph, 5) }, { coding, keyFrameEvery: 4 });
      const path = join(folder, `${coding}.zip`);
      writeFileSync(path, bytes);
      const program = `${snippet}\nimport sys\nfor label, file in read_bundle(sys.argv[1]): print(label, hashlib.sha256(file).hexdigest())`;
      using bundle = await openBundle(bytes);
      const expected = await Promise.all(
        bundle.checkpoints.map(async ({ index, label }) => `${label} ${await sha256Hex(await bundle.readCheckpointFile(index))}`),
      );
      expect(execFileSync('python3', ['-c', program, path]).toString().trim().split('\n')).toEqual(expected);
    }
  }
}, 60_000);
