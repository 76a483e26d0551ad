// `npm test [-- VITEST ARGUMENTS]`: installs what is missing, builds, checks the types, runs every test.
// TRAJPORT_REQUIRE_ALL_HOSTS=1 and TRAJPORT_REQUIRE_SHARED=1 (CI) turn an absent runtime or an absent ../shared, and
// every skipped test, into a failure.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBuilt, ensureHosts, ensureInstalled, root, run } from './setup.mjs';

const requireHosts = process.env.TRAJPORT_REQUIRE_ALL_HOSTS === '1';
const requireShared = process.env.TRAJPORT_REQUIRE_SHARED === '1';
const args = process.argv.slice(2);

ensureInstalled('check');
if (!ensureHosts() && requireHosts) process.exit(1);
await ensureBuilt();

if (!existsSync(join(root, '..', 'shared'))) {
  console.error('WARNING: ../shared is not there; the tests against its reference cases and hostile files are skipped');
  if (requireShared) process.exit(1);
}

const tool = (...path) => join(root, 'node_modules', ...path);
if (run(process.execPath, [tool('typescript', 'bin', 'tsc'), '--noEmit']) !== 0) process.exit(1);

mkdirSync(join(root, 'build'), { recursive: true });
const report = join(root, 'build', 'vitest.json');
rmSync(report, { force: true });
let status = run(process.execPath, [
  tool('vitest', 'vitest.mjs'), 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...args,
]);
if (!existsSync(report)) process.exit(status || 1);

const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
const skippedTests = numPendingTests + numTodoTests;
for (const file of testResults) {
  for (const { status: how, fullName } of file.assertionResults) {
    if (how !== 'passed' && how !== 'failed') console.error(`skipped: ${fullName}`);
  }
}
if (skippedTests > 0 && requireHosts && requireShared && args.length === 0) {
  console.error('Skipped tests count as failures here');
  status ||= 1;
}
const summary = `${numPassedTests} passed, ${numFailedTests} failed${skippedTests > 0 ? `, ${skippedTests} skipped` : ''}`;
writeFileSync(join(root, 'build', 'test-summary.txt'), `${summary}\n`);
console.log(summary);
process.exit(status);
