// The files of ../shared/hostile in every runtime that is here: each its verdict, within a second and 96 MB, and the
// same contents everywhere; what is accepted holds what Python's zipfile, NumPy and a plain safetensors reader find.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Host, hostStatus } from '../hosts/launch.ts';
import { shared } from '../bundle/support.ts';
import { type Judgement, judge, parseIndex } from './judge.ts';

const index = join(shared ?? '', 'hostile', 'INDEX.tsv');
const hosts: readonly Host[] = ['node20', 'deno', 'bun', 'workerd'];

test('an index is parsed strictly', () => {
  expect(parseIndex('path\tclass\na.zip\taccept\twhat\n')).toEqual([{ path: 'a.zip', class: 'accept' }]);
  expect(() => parseIndex('path\tclass\na.zip\tmaybe\n')).toThrow(/line 2/);
});

describe.skipIf(shared === undefined)('../shared/hostile (skipped where it is absent)', () => {
  const judgements = new Map<Host, Judgement[]>();
  beforeAll(async () => {
    for (const host of hosts) if (hostStatus(host).available) judgements.set(host, await judge(index, host));
  }, 300_000);

  test.each(hosts)('%s', (host) => {
    const status = hostStatus(host);
    if (!status.available) return console.log(`SKIPPED ${host}: ${status.reason}`);
    const lines = judgements.get(host) as Judgement[];
    expect(lines.length).toBeGreaterThan(100);
    // Time and memory are the command's to judge: a loaded machine must not fail a test.
    expect(lines.filter(({ verdict, class: kind }) => (kind === 'accept') !== (verdict === 'accepted') && kind !== 'policy')).toEqual([]);
    expect(lines.filter(({ verdict }) => verdict === 'hang' || verdict === 'crash')).toEqual([]);
    expect(lines.filter(({ verdict, class: kind }) => kind === 'unsupported' && verdict !== 'unsupported')).toEqual([]);
  });

  test('the same everywhere', () => {
    const essence = (lines: readonly Judgement[]) =>
      lines.map(({ path, verdict, error, contents }) => ({ path, verdict, error, contents }));
    const [first, ...others] = [...judgements.values()].map(essence);
    for (const other of others) expect(other).toEqual(first);
  });

  test('our choices where either is defensible', () => {
    const policy = judgements.get('node20')?.filter(({ class: kind }) => kind === 'policy').map(({ path, error }) => [path, error]);
    expect(policy).toEqual([
      // The specification says that a header MUST begin with {.
      ['safetensors/hf-policy-leading-ws.safetensors', 'MalformedFileError'],
      // 2^60 is no exact number here, and whether a shape overflows must not depend on where its zero stands.
      ['safetensors/shape-zero-times-huge.safetensors', 'MalformedFileError'],
      // Metadata is an object of strings, or absent.
      ['safetensors/meta-null.safetensors', 'MalformedFileError'],
      ['safetensors/name-1MB.safetensors', 'LimitError'],
    ]);
  });

  const numpy = (() => {
    try {
      return execFileSync('python3', ['-c', 'import numpy; print("ok")'], { stdio: 'pipe' }).toString().trim() === 'ok';
    } catch {
      return false;
    }
  })();
  test.skipIf(!numpy)('contents are what Python finds (skipped where there is no NumPy)', () => {
    const accepted = judgements.get('node20')?.filter(({ verdict }) => verdict === 'accepted') as Judgement[];
    const script = readFileSync(join(import.meta.dirname, 'contents.py'), 'utf8');
    const printed = execFileSync('python3', ['-c', script, ...accepted.map(({ path }) => join(shared ?? '', 'hostile', path))]).toString();
    expect(Object.fromEntries(accepted.map(({ path, contents }, i) => [path, [contents, printed.split('\n')[i]]]))).toEqual(
      Object.fromEntries(accepted.map(({ path, contents }) => [path, [contents, contents]])));
  });
});
