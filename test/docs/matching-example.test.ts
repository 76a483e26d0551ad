/** The call that docs/matching.md shows, as it stands there: it finds the order that it hid. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { root } from '../cli/fixtures.ts';

it('prints what its comment promises', () => {
  const example = /```ts\n(import \{ GradientHistory[\s\S]*?)```/.exec(
    readFileSync(join(root, 'docs', 'matching.md'), 'utf8'),
  )?.[1] as string;
  const folder = mkdtempSync(join(tmpdir(), 'trajport-matching-'));
  try {
    writeFileSync(
      join(folder, 'example.mjs'),
      example.replace("'trajport'", JSON.stringify(pathToFileURL(join(root, 'dist', 'index.js')).href)),
    );
    expect(execFileSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8' }).trim()).toBe('1.0000 true');
    expect(example).toContain('// 1.0000 true\n');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
