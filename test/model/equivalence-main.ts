/**
 * `npm run -s equivalence [-- --json] [NAME…]`: for every preset at small size and the networks of `combinations.ts`, the lint of its permutation spec and
 * π-equivalence in f64, in evaluation and in training mode. Exit status 1 when something falls short.
 */
import { lintPermutationSpec } from '../../src/model/permutation-lint.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset, presetNames, type PresetName } from '../../src/model/presets.ts';
import { combinations } from './combinations.ts';
import { measureEquivalence, smallOptions } from './equivalence.ts';

const LARGEST_DIFFERENCE = 1e-11;
const LEAST_MOVED = 0.5;

const names = [...presetNames, ...Object.keys(combinations)];
const json = process.argv.includes('--json');
const asked = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const unknown = asked.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  console.error(`no network ${unknown.join(', ')}; there are ${names.join(', ')}`);
  process.exit(2);
}

for (const name of asked.length > 0 ? asked : names) {
  const graph = combinations[name]?.graph ?? preset(name as PresetName, smallOptions(name as PresetName));
  const spec = derivePermutationSpec(graph);
  const problems = lintPermutationSpec(graph, spec);
  for (const training of [false, true]) {
    const { difference, moved, movingGroups } = measureEquivalence(graph, spec, 4, training);
    const pass = problems.length === 0 && difference <= LARGEST_DIFFERENCE && moved >= LEAST_MOVED && movingGroups === spec.groups.length;
    const mode = training ? 'training' : 'evaluation';
    if (!pass) process.exitCode = 1;
    if (json) console.log(JSON.stringify({ preset: name, mode, groups: spec.groups.length, problems, difference, moved, pass }));
    else {
      const figures = `${String(spec.groups.length).padStart(3)} groups  difference ${difference.toExponential(1)}  moved ${(100 * moved).toFixed(1)} %`;
      console.log(`${name.padEnd(27)} ${mode.padEnd(10)} ${figures}  ${pass ? 'ok' : 'FAILS'}`);
    }
  }
  for (const { subject, problem } of json ? [] : problems) console.log(`  ${subject}: ${problem}`);
}
