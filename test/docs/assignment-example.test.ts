/** The call that docs/assignment.md shows, as it stands there, against every assignment there is. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { root } from '../cli/fixtures.ts';

it('prints what its comment promises, which is the best of all', () => {
  const example = /```ts\n(import \{ linearSumAssignment[\s\S]*?)```/.exec(
    readFileSync(join(root, 'docs', 'assignment.md'), 'utf8'),
  )?.[1] as string;
  const [, rows, columns, numbers] = /rows: (\d+), columns: (\d+), data: Float32Array\.of\(([^)]*)\)/.exec(example) as unknown as [
    string,
    string,
    string,
    string,
  ];
  const values = numbers.split(',').map(Number);
  expect([Number(rows), values.length]).toEqual([2, 2 * Number(columns)]);
  const sums = Array.from(
    { length: Number(columns) ** 2 },
    (_, pair) => [Math.floor(pair / Number(columns)), pair % Number(columns)] as const,
  )
    .filter(([a, b]) => a !== b)
    .map(([a, b]) => ({ assignment: [a, b], sum: (values[a] as number) + (values[Number(columns) + b] as number) }))
    .toSorted((a, b) => b.sum - a.sum);

  const folder = mkdtempSync(join(tmpdir(), 'trajport-assignment-'));
  try {
    writeFileSync(
      join(folder, 'example.mjs'),
      example.replace("'trajport'", JSON.stringify(pathToFileURL(join(root, 'dist', 'index.js')).href)),
    );
    const said = execFileSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8' }).trim();
    expect(said).toBe(`[ ${sums[0]?.assignment.join(', ')} ] ${sums[0]?.sum} 0`);
    expect(example).toContain(`// ${said}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
