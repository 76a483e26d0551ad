// Runs the demo with its defaults and puts what it found into README.md and docs/figure.svg:
// node scripts/readme.mjs [--check]. With --check nothing is written, and accuracies that differ end with status 1.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBuilt, ensureInstalled, root } from './setup.mjs';

const START = '<!-- figures:demo -->';
const END = '<!-- /figures:demo -->';
const labels = {
  scratch: 'From scratch (v2 fine-tuned without a port)',
  naive: 'Naive',
  fgmt: '**FGMT**',
  gmt: '**GMT**',
  oracle: 'Oracle (needs a truly fine-tuned v2)',
};

ensureInstalled('run');
await ensureBuilt();
const folder = mkdtempSync(join(tmpdir(), 'trajport-readme-'));
const { status, stdout } = spawnSync(process.execPath, [join(root, 'dist', 'cli.js'), 'demo', '--json', '--out-dir', folder], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});
if (status !== 0) process.exit(status ?? 1);
const result = JSON.parse(stdout.trimEnd().split('\n').at(-1));
const { pairs } = JSON.parse(readFileSync(join(folder, 'record.json'), 'utf8'));
const figure = readFileSync(join(folder, 'transfer.svg'), 'utf8');
rmSync(folder, { recursive: true });

const iterations = Object.keys(result.methods[0].test);
const percent = (share) => (share * 100).toFixed(1);
const mean = (key) => percent(pairs.reduce((sum, { reference }) => sum + reference[key], 0) / pairs.length);
const table = [
  `| test accuracy, %, mean of ${result.pairs} pairs | ` +
  `${iterations.map((n) => (n === '0' ? 'before training' : `after ${n} iterations`)).join(' | ')} | gradients |`,
  `|---|${iterations.map(() => '---:').join('|')}|---:|`,
  ...result.methods.map(
    ({ method, test, gradients }) =>
      `| ${labels[method]} | ${iterations.map((n) => percent(test[n])).join(' | ')} | ${method === 'scratch' ? '–' : gradients} |`,
  ),
  '',
  `A true fine-tune reaches ${mean('v1FineTuned')} (v1) and ${mean('v2FineTuned')} (v2). The accuracies come out the same to the last ` +
  `digit on every machine and runtime.`,
].join('\n');

const path = join(root, 'README.md');
const readme = readFileSync(path, 'utf8');
const [before, rest] = readme.split(START);
const [old, after] = rest.split(END);
if (process.argv.includes('--check')) {
  const same = old.trim() === table && readFileSync(join(root, 'docs', 'figure.svg'), 'utf8') === figure;
  console.log(
    same
      ? 'README.md and docs/figure.svg are what the demo gives'
      : 'README.md or docs/figure.svg is not what the demo gives: node scripts/readme.mjs',
  );
  process.exit(same ? 0 : 1);
}
writeFileSync(path, `${before}${START}\n${table}\n${END}${after}`);
writeFileSync(join(root, 'docs', 'figure.svg'), figure);
console.log(`${table}\n${(result.elapsedMs / 1000).toFixed(0)} s on ${cpus()[0]?.model ?? 'an unknown CPU'}`);
