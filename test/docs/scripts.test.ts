/** The scripts of package.json as people meet them: their help, and what a wrong call gets. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../cli/fixtures.ts';

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
/** Those that run one file of the repository, by its path; the others are tools of their own. */
const own = Object.entries(scripts).flatMap(([name, command]) => {
  const [, words] = /^node scripts\/run\.mjs (.*)$/.exec(command) ?? [];
  return words === undefined ? [] : [[name, words.split(' ')] as const];
});

const run = (cwd: string, args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    execFile(process.execPath, args, { cwd, encoding: 'utf8' }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'trajport-scripts-'));
  cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('--help', () => {
  it('is of every script but those that pass it on', () => {
    expect(Object.keys(scripts).filter((name) => !own.some(([one]) => one === name))).toEqual(['start', 'check', 'lint']);
  });

  it.concurrent.each(own)('%s says how it is used where nothing is installed or built', async (_, words) => {
    const file = words.at(-1) as string;
    cpSync(join(root, file), join(folder, file));
    const { code, stdout, stderr } = await run(folder, ['scripts/run.mjs', ...words, '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [head] = readFileSync(join(root, file), 'utf8').replace(/^\/\*\*\n?/, '').split('\n');
    expect(stdout.split('\n')[0]).toBe((head as string).replace(/^ ?(\*|\/\/) /, ''));
    expect((await run(folder, ['scripts/run.mjs', ...words, '-h'])).stdout).toBe(stdout);
  });

  it('an unknown option gets the usage, and no trace', async () => {
    const { code, stderr } = await run(root, ['scripts/run.mjs', 'test/survival/kill.ts', '--nonsense']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^Unknown option '--nonsense'[^]*npm run -s kill -- /);
    expect(stderr).not.toContain('    at ');
  });
});

describe('assign', () => {
  const assign = (...args: string[]) => run(root, ['scripts/run.mjs', 'bench/assign.ts', ...args]);
  const matrix = (name: string, values: readonly number[]): string => {
    const path = join(folder, name);
    writeFileSync(path, new Uint8Array(Float32Array.from(values).buffer));
    return path;
  };

  it('solves a file, and tells whether a warm start was used', async () => {
    const [square, wide] = [matrix('square.bin', [1, 9, 2, 3]), matrix('wide.bin', [1, 5, 2, 7, 4, 3])];
    const { code, stdout } = await assign(square, '2', '--warm', square);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as { milliseconds: number };
    expect(result).toMatchObject({ objective: 11, certificate: 0, rows: 2, columns: 2, warm: true });
    expect(String(result.milliseconds).replace(/^0?\.0*|\.|e.*$/g, '').length).toBeLessThanOrEqual(5);
    const rectangle = await assign(wide, '3', '--rows', '2', '--warm', wide);
    expect(JSON.parse(rectangle.stdout)).toMatchObject({ objective: 12, rows: 2, columns: 3, warm: false });
    expect(rectangle.stderr).toMatch(/^note: .*--warm/);
  });

  it.each([
    ['abc', '2'],
    ['0', '2'],
    ['-5', '2'],
    ['', '2'],
    ['2', '0'],
    ['2', '1.5'],
  ])('refuses N = %j with --rows %s by name', async (n, rows) => {
    const { code, stdout, stderr } = await assign('--rows', rows, '--', matrix('any.bin', [1, 2, 3, 4]), n);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(JSON.parse(stderr)).toMatchObject({ code: 'invalid-argument', field: n === '2' ? '--rows' : 'N' });
  });

  it('refuses a device at once', async () => {
    const { code, stderr } = await assign('/dev/zero', '2');
    expect(code).toBe(2);
    expect(JSON.parse(stderr)).toMatchObject({ field: '/dev/zero', got: '0 bytes' });
  });
});
