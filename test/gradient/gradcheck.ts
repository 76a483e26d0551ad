/**
 * npm run -s gradcheck -- [NAME…] [--json]: the largest relative error of every operation's and preset's gradients
 * against central differences in f64 and against tfjs's cpu backend in f64; its error as a whole over that of tfjs in
 * f32. Exit status 1 when one is above its bound. NAME: part of a case's name.
 */
import { openCore } from '../../src/core/core.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { checkGradients, gradientCases } from './checks.ts';
import { openReferences } from './tfjs-reference.ts';

const words = process.argv.slice(2);
const json = words.includes('--json');
const names = words.filter((word) => word !== '--json');
const cases = gradientCases.filter(({ name }) => names.length === 0 || names.some((wanted) => name.includes(wanted)));
if (cases.length === 0) {
  console.error(`no case is called like ${names.join(', ')}; there are: ${gradientCases.map(({ name }) => name).join(' · ')}`);
  process.exit(2);
}

const references = await openReferences();
using core = await openCore();
using engine = openGradientEngine(core);
const show = (error: number | null): string => (error === null ? '—' : error.toExponential(1)).padStart(11);
if (!json) console.log(`${'case'.padEnd(58)}differences   tfjs f64  ratio     logits      bound  worst tensor`);
let failed = 0;
for (const test of cases) {
  const check = checkGradients(engine, references, test);
  if (!check.pass) failed++;
  if (json) console.log(JSON.stringify(check));
  else {
    const verdict = check.pass ? '' : '   ABOVE ITS BOUND';
    const ratio = (check.ratio === null ? '—' : check.ratio.toFixed(2)).padStart(7);
    console.log(
      `${check.name.padEnd(58)}${show(check.differences)}${show(check.tfjs64)}${ratio}${show(check.logits)}${show(check.bound)}  ` +
      `${check.worst}${verdict}`,
    );
  }
}
process.exitCode = failed > 0 ? 1 : 0;
