// npm run -s conformance -- DIR… [--json] [--draws N]: replays reference cases with our engine, a line a run; exit code 1
// when anything falls short, 2 for a bad call.
import { parseArgs } from 'node:util';
import { openCompute } from '../../src/transfer/compute.ts';
import { conformance, type ReportLine } from './report.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false }, draws: { type: 'string', default: '12' } },
});
const draws = Number(values.draws);
if (positionals.length === 0 || !Number.isInteger(draws) || draws < 0) {
  console.error('usage: npm run -s conformance -- DIR… [--json] [--draws N]   (N = 0 leaves out draws of our own)');
  process.exit(2);
}

function text(line: ReportLine): string {
  const figure = (name: string, value: number | undefined): string => (value === undefined ? '' : `${name} ${value.toExponential(1)}`);
  const accuracy = (values_: readonly number[] | undefined): string => values_?.at(-1)?.toFixed(2) ?? '';
  return [
    line.pass ? 'pass' : 'FAIL',
    line.case.padEnd(12),
    line.run.padEnd(20),
    figure('gradient', line.gradientError),
    line.knifeEdges === undefined
      ? ''
      : `(${line.knifeEdges.length} on a max-pool tie: ${line.knifeEdges.map(({ error }) => error.toExponential(1)).join(', ')})`,
    figure('A', line.similarityError),
    figure('parameter', line.parameterError),
    figure('objective', line.objectiveError),
    figure('loss', line.lossError),
    line.accuracies === undefined ? '' : `accuracy ${accuracy(line.accuracies.ours)} (theirs ${accuracy(line.accuracies.theirs)})`,
    line.freeRunning === undefined
      ? ''
      : `free ${accuracy(line.freeRunning.accuracies.ours)}, same permutations ${line.freeRunning.agreement}`,
    line.ownDraws === undefined
      ? ''
      : `draws ${line.ownDraws.mean.toFixed(1)} ± ${line.ownDraws.standardDeviation.toFixed(1)} (theirs ` +
        `${line.ownDraws.theirs.final_mean.toFixed(1)} ± ${line.ownDraws.theirs.final_std.toFixed(1)})`,
    ...line.failures,
  ]
    .filter((part) => part !== '')
    .join('  ');
}

using compute = await openCompute();
let failed = 0;
for await (const line of conformance(compute, positionals, { draws })) {
  if (!line.pass) failed++;
  console.log(values.json ? JSON.stringify(line) : text(line));
}
process.exitCode = failed === 0 ? 0 : 1;
