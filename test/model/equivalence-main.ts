/**
 * `npm run -s equivalence [-- --json] [NAME…]`: for every preset at small size and the networks of `combinations.ts`,
 * the lint of its permutation spec and π-equivalence in f64, in evaluation and in training mode. `-- --random N [--seed
 * S]`: for N random networks instead. Exit status 1 when something falls short.
 */
import { parseArgs } from 'node:util';
import type { ModelGraph } from '../../src/model/graph.ts';
import { lintPermutationSpec } from '../../src/model/permutation-lint.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset, presetNames, type PresetName } from '../../src/model/presets.ts';
import { combinations } from './combinations.ts';
import { measureEquivalence, smallOptions } from './equivalence.ts';
import { randomGraph } from './random-graphs.ts';

const LARGEST_DIFFERENCE = 1e-11;
const LEAST_MOVED = 0.5;

const { values, positionals: asked } = parseArgs({
  allowPositionals: true, options: { json: { type: 'boolean' }, random: { type: 'string' }, seed: { type: 'string', default: '0' } },
});
const names = [...presetNames, ...Object.keys(combinations)];
const unknown = asked.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  console.error(`no network ${unknown.join(', ')}; there are ${names.join(', ')}`);
  process.exit(2);
}
const [count, seed] = [Number(values.random ?? 0), Number(values.seed)];
if (![count, seed].every((number) => Number.isSafeInteger(number) && number >= 0)) {
  console.error('--random and --seed take whole numbers');
  process.exit(2);
}

/** A line for each mode; of networks that pass only where `all` are asked for. @param leastMoved share of the parameters. */
function judge(name: string, graph: ModelGraph, leastMoved: number, all: boolean): boolean {
  const spec = derivePermutationSpec(graph);
  const problems = lintPermutationSpec(graph, spec);
  let passes = true;
  for (const training of [false, true]) {
    const { difference, moved, movingGroups } = measureEquivalence(graph, spec, 4, training);
    const pass = problems.length === 0 && difference <= LARGEST_DIFFERENCE && moved >= leastMoved && movingGroups === spec.groups.length;
    const mode = training ? 'training' : 'evaluation';
    passes &&= pass;
    if (pass && !all) continue;
    if (values.json === true)
      console.log(JSON.stringify({ preset: name, mode, groups: spec.groups.length, problems, difference, moved, pass }));
    else {
      const figures =
        `${String(spec.groups.length).padStart(3)} groups  difference ${difference.toExponential(1)}  moved ${(100 * moved).toFixed(1)} %`;
      console.log(`${name.padEnd(28)} ${mode.padEnd(10)} ${figures}  ${pass ? 'ok' : 'FAILS'}`);
    }
  }
  for (const { subject, problem } of values.json === true ? [] : problems) console.log(`  ${subject}: ${problem}`);
  return passes;
}

function judgeRandom(): boolean {
  let sound = 0;
  // Input, output and what is tied to them may be most of a random network.
  for (let number = seed; number < seed + count; number++) if (judge(`random ${number}`, randomGraph(number), 0, false)) sound++;
  const figures = { random: count, seed, sound, pass: sound === count };
  console.log(values.json === true ? JSON.stringify(figures) : `${sound} of ${count} random networks from seed ${seed} are sound`);
  return figures.pass;
}

const passes =
  values.random === undefined
    ? (asked.length > 0 ? asked : names).map((name) =>
        judge(name, combinations[name]?.graph ?? preset(name as PresetName, smallOptions(name as PresetName)), LEAST_MOVED, true),
      )
    : [judgeRandom()];
if (passes.includes(false)) process.exitCode = 1;
