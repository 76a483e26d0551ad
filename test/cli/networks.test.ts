/** Options of networks by name against what each network reads of them. */
import { expect, it } from 'vitest';
import { takenBy } from '../../src/cli/networks.ts';
import { preset, presetNames } from '../../src/model/presets.ts';
import type { PresetOptions } from '../../src/model/presets.ts';

it.each(presetNames)('%s takes the options that it reads, and no other', (name) => {
  const read = new Set<PropertyKey>();
  const given: PresetOptions = { input: name === 'gpt2' ? [16] : [3, 32, 32], classes: 10 };
  preset(name, new Proxy(given, { get: (target, option: keyof PresetOptions) => (read.add(option), target[option]) }));
  const taken = Object.entries(takenBy).filter(([, names]) => names.test(name)).map(([option]) => (option === 'no-bias' ? 'bias' : option));
  expect(taken.toSorted()).toEqual(
    ['activation', 'bias', 'depth', 'heads', 'patch', 'stem', 'width', 'widths'].filter((option) => read.has(option)),
  );
});
