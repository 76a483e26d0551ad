/** The API example of the README, as it stands there, run against the built library in a process of its own. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import {
  generateTaskPair,
  initialise,
  openCompute,
  parameterLayout,
  preset,
  stateToSafetensors,
  train,
  writeBundle,
} from '../../src/index.ts';
import { idxImages, idxLabels, root } from '../cli/fixtures.ts';

it('ports a fine-tune and has the hash that its comment promises', async () => {
  using compute = await openCompute();
  const { before } = generateTaskPair(compute.core, { seed: 1, trainCount: 200, testCount: 10 });
  const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [16] });
  const { checkpoints } = await train({ graph, data: before.train, seed: 1, epochs: 1, compute });
  const bundle = Buffer.from(await writeBundle({ graph, checkpoints })).toString('base64');
  // What the example takes as given.
  const given = {
    v2Bytes: stateToSafetensors(parameterLayout(graph), initialise(compute.core, graph, { seed: 2 })),
    imageBytes: idxImages(200, 28, 28, before.train.images),
    labels: idxLabels(before.train.labels),
  };
  const example = /```ts\n(import [\s\S]*?from 'trajport';[\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1];
  expect(example).toBeDefined();

  const folder = mkdtempSync(join(tmpdir(), 'trajport-readme-'));
  try {
    for (const [name, bytes] of Object.entries(given)) writeFileSync(join(folder, name), bytes);
    const lines = [
      "import { readFileSync, writeFileSync } from 'node:fs';",
      ...Object.keys(given).map((name) => `const ${name} = new Uint8Array(readFileSync('${name}'));`),
      `const bundleUrl = 'data:application/zip;base64,${bundle}';`,
      (example as string).replace("'trajport'", JSON.stringify(pathToFileURL(join(root, 'dist', 'index.js')).href)),
      "writeFileSync('ported', ported);",
      "writeFileSync('sha256', result.record.sha256);",
    ];
    writeFileSync(join(folder, 'example.mjs'), lines.join('\n'));
    const said = execFileSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8' });
    expect(said).toMatch(/\d+ of \d+\n$/);
    expect(readFileSync(join(folder, 'sha256'), 'utf8')).toBe(
      createHash('sha256')
        .update(readFileSync(join(folder, 'ported')))
        .digest('hex'),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
