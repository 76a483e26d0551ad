/**
 * `npm run -s realdata -- [--json] [CASE…]`: the real-data cases of REFERENCE.md at full size, against its figures.
 * Status 1 where one falls short; without ../shared/data it says so and ends with status 0, or 1 where CI requires it.
 */
import process from 'node:process';
import { parseArgs } from 'node:util';
import { methodLabels } from '../../src/experiments/port-fine-tune.ts';
import { openCompute } from '../../src/index.ts';
import { formatTable } from '../../src/report/table.ts';
import { fullSize, heldOutPercent, realDataCases, runCase, sharedData, testPercent } from './cases.ts';
import type { CaseResult } from './cases.ts';

const { values, positionals } = parseArgs({ options: { json: { type: 'boolean', default: false } }, allowPositionals: true });
const chosen = positionals.length === 0 ? realDataCases : realDataCases.filter((name) => positionals.includes(name));
if (chosen.length < positionals.length) throw new Error(`cases are ${realDataCases.join(', ')}`);

const data = sharedData(process.cwd());
if (data === undefined) {
  console.error(
    'SKIPPED: ../shared/data with mnist and fashion-mnist is not there; ' +
      'node dist/cli.js download mnist fashion-mnist --to ../shared/data makes it',
  );
  process.exit(process.env['TRAJPORT_REQUIRE_SHARED'] === '1' ? 1 : 0);
}
using compute = await openCompute();
let passed = true;
for (const name of chosen) {
  const watched = process.stderr.isTTY === true;
  const result = await runCase(name, data, fullSize, compute, (text) => watched && process.stderr.write(`\r\u001b[2K${text}`));
  if (watched) process.stderr.write('\r\u001b[2K');
  passed &&= result.checks.every((check) => check.passed);
  if (values.json) printJson(result);
  else printText(result);
}
process.exitCode = passed ? 0 : 1;

function printJson({ name, outcomes, checks }: CaseResult): void {
  for (const { seed, rows, reference } of outcomes) {
    for (const { method, accuracies, gradients, milliseconds, chosenStep, result } of rows) {
      console.log(
        JSON.stringify({
          event: 'method',
          case: name,
          seed,
          method,
          test: accuracies,
          heldOutLast: result?.steps.at(-1)?.heldOut?.accuracy ?? null,
          chosenStep,
          gradients,
          milliseconds,
          sha256: result?.record.sha256 ?? null,
          reference,
        }),
      );
    }
  }
  for (const check of checks)
    console.log(JSON.stringify({ event: 'check', case: name, check: check.name, got: check.got, bound: check.bound, pass: check.passed }));
}

function printText({ name, outcomes, checks }: CaseResult): void {
  const numeric = (title: string) => ({ title, align: 'right' }) as const;
  console.log(
    `${name}: MLP 784-512-10, ${fullSize.trainCount} images, ${fullSize.epochs} epochs, T = 10 cosine, ${outcomes.length} pairs; ` +
    `accuracy in %`,
  );
  console.log(
    formatTable(
      [
        { title: 'method' },
        numeric('held-out, last step'),
        numeric('kept step'),
        numeric('test, before training'),
        numeric('after 10'),
        numeric('after 20'),
        numeric('after 50'),
      ],
      (['scratch', 'naive', 'fgmt', 'gmt', 'oracle'] as const).map((method) => [
        methodLabels[method],
        ...(method === 'scratch'
          ? ['', '']
          : (['last', 'kept'] as const).map((which) => heldOutPercent(outcomes, method, which).toFixed(1))),
        ...[0, 1, 2, 3].map((n) => testPercent(outcomes, method, n).toFixed(1)),
      ]),
    ),
  );
  for (const { name: what, got, bound, passed: fine } of checks)
    console.log(`  ${fine ? 'pass' : 'FAIL'}  ${what}: ${got.toFixed(1)} (${bound})`);
  console.log('');
}
