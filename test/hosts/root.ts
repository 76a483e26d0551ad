/** Where the repository is, also when `scripts/run.mjs` has bundled the caller to build/run/. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest)) {
      const { name } = JSON.parse(readFileSync(manifest, 'utf8')) as { name?: unknown };
      if (name === 'trajport') return folder;
    }
    if (folder === dirname(folder)) throw new Error('no package.json of trajport above this file');
  }
}

export const root = findRoot();
