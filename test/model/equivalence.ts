/**
 * π-equivalence by brute force: random parameters, a random permutation of every group, outputs before and after.
 * Permutes by the definition (view indices one by one), so it is independent of `src/matching`.
 */
import { parameterLayout, type ModelGraph } from '../../src/model/graph.ts';
import type { AxisSpec, PermutationGroup, PermutationSpec } from '../../src/model/permutation-spec.ts';
import type { PresetName, PresetOptions } from '../../src/model/presets.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { forward64 } from './forward.ts';

export interface Equivalence {
  /** Largest |difference| of an output, relative to the largest |output|. */
  readonly difference: number;
  /** Fraction of all parameters that changed. */
  readonly moved: number;
  /** Groups whose permutation alone changes some tensor. */
  readonly movingGroups: number;
}

function randomParameters(graph: ModelGraph, random: Random): Map<string, Float64Array> {
  const { parameters, buffers } = parameterLayout(graph);
  return new Map(
    [...parameters, ...buffers].map(({ name, shape, role, fanIn }) => {
      const scale = role === 'weight' ? Math.sqrt(6 / fanIn) : 1;
      // Scales and variances stay away from 0, so that no unit is dead by accident.
      const shift = role === 'scale' || role === 'running_variance' ? 1.5 : 0;
      return [name, Float64Array.from({ length: elementCount(shape) }, () => scale * (random.uniform() * 2 - 1) + shift)];
    }),
  );
}

/** permuted[i] = original[perm[i]] along every axis of the view that belongs to a group. */
function permuteByDefinition(
  spec: PermutationSpec,
  parameters: ReadonlyMap<string, Float64Array>,
  permutations: ReadonlyMap<string, Int32Array>,
): Map<string, Float64Array> {
  const result = new Map<string, Float64Array>();
  for (const [name, original] of parameters) {
    const { view, axes } = spec.tensors.get(name)!;
    result.set(
      name,
      original.map((_unused, flat) => {
        let rest = flat;
        let from = 0;
        let stride = 1;
        for (let axis = view.length - 1; axis >= 0; axis--) {
          const index = rest % view[axis]!;
          rest = Math.floor(rest / view[axis]!);
          from += permutedIndex(axes[axis] ?? null, index, permutations) * stride;
          stride *= view[axis]!;
        }
        return original[from]!;
      }),
    );
  }
  return result;
}

/** Which index of the original stands at `index` of the permuted axis; stretches of groups are looked through one by one. */
function permutedIndex(mover: AxisSpec, index: number, permutations: ReadonlyMap<string, Int32Array>): number {
  if (mover === null) return index;
  if (typeof mover === 'string') return permutations.get(mover)?.[index] ?? index;
  let start = 0;
  for (const { group, first, blocks, repeat, units } of mover.segments) {
    const size = blocks * repeat * units;
    if (index < start + size) {
      const within = index - start;
      const [block, copy, unit] = [Math.floor(within / (repeat * units)), Math.floor(within / units) % repeat, within % units];
      const perm = group === null ? undefined : permutations.get(group);
      if (perm === undefined) return index;
      const there = perm[first + block * units + unit]! - first;
      return start + (Math.floor(there / units) * repeat + copy) * units + (there % units);
    }
    start += size;
  }
  throw new Error(`index ${index} lies beyond the stretches`);
}

/** A random permutation of a group; one in blocks moves blocks, and units within them. */
function drawPermutation({ size, structure }: PermutationGroup, draw: (count: number) => ArrayLike<number>): Int32Array {
  if (structure === undefined) return Int32Array.from(draw(size));
  const { blocks, parts } = structure;
  const outer = draw(blocks);
  const perm: number[] = [];
  for (const part of parts) {
    const start = perm.length;
    for (let block = 0; block < blocks; block++) {
      const inner = draw(part);
      for (let unit = 0; unit < part; unit++) perm.push(start + outer[block]! * part + inner[unit]!);
    }
  }
  return Int32Array.from(perm);
}

export function measureEquivalence(graph: ModelGraph, spec: PermutationSpec, seed: number, training = false): Equivalence {
  const random = new Random(seed, streams.permutation);
  const parameters = randomParameters(graph, random);
  const permutations = new Map(spec.groups.map((group) => [group.id, drawPermutation(group, (count) => random.permutation(count))]));
  const permuted = permuteByDefinition(spec, parameters, permutations);
  let difference = 0;
  let largest = 0;
  for (let trial = 0; trial < 2; trial++) {
    const draw = (): number => (graph.vocabulary === undefined ? random.uniform() * 2 - 1 : random.below(graph.vocabulary));
    const drawn = Float64Array.from({ length: elementCount(graph.input) }, draw);
    // An input of nothing but padding is none.
    const { padding, vocabulary = 1 } = graph;
    const input = drawn.map((token, i) => (i === 0 && token === padding ? (token + 1) % vocabulary : token));
    const before = forward64(graph, parameters, input, 1, training);
    const after = forward64(graph, permuted, input, 1, training);
    for (const [i, value] of before.entries()) {
      difference = Math.max(difference, Math.abs(value - after[i]!));
      largest = Math.max(largest, Math.abs(value));
    }
  }
  let moved = 0;
  let total = 0;
  for (const [name, original] of parameters) {
    const other = permuted.get(name)!;
    total += original.length;
    for (const [i, value] of original.entries()) if (value !== other[i]) moved += 1;
  }
  const movingGroups = spec.groups.filter((group) => {
    const { id, members } = group;
    const reversed = new Map([[id, drawPermutation(group, (count) => Array.from({ length: count }, (_unused, i) => count - 1 - i))]]);
    const own = new Map(members.map(({ tensor }) => [tensor, parameters.get(tensor)!]));
    const alone = permuteByDefinition(spec, own, reversed);
    return [...own].some(([name, original]) => original.some((value, i) => value !== alone.get(name)![i]));
  }).length;
  // A network may have no parameters, and one behind a rectifier only zeros to give.
  return { difference: difference / Math.max(largest, Number.MIN_VALUE), moved: moved / Math.max(total, 1), movingGroups };
}

/** Sizes at which a plain forward pass takes milliseconds; VGG halves its image five times. */
export function smallOptions(name: PresetName): PresetOptions {
  if (name === 'mlp') return { input: [2, 9, 9], classes: 3, widths: [9, 7] };
  if (name.startsWith('vgg')) return { input: [1, 32, 32], classes: 3, width: 0.02 };
  if (name === 'gpt2') return { input: [7], classes: 11, width: 12, depth: 2, heads: 3, positions: 9 };
  if (/^(distil)?bert$/.test(name)) {
    const types = name === 'bert' ? { vocabulary: 5, separator: 3 } : { vocabulary: 11 };
    return { input: [7], classes: 3, width: 12, depth: 2, heads: 3, positions: 9, ...types };
  }
  if (name === 'vit') return { input: [2, 9, 9], classes: 3, width: 12, depth: 2, heads: 3 };
  if (name === 'mixer') return { input: [2, 9, 9], classes: 3, width: 12, depth: 2 };
  if (name === 'convnext') return { input: [2, 32, 32], classes: 3, width: 2, blocks: [1, 1, 2, 1] };
  if (name.startsWith('conv')) return { input: [2, 9, 9], classes: 3, width: 0.08 };
  if (/^(mobilenet|efficientnet)/.test(name)) return { input: [2, 16, 16], classes: 3, width: 0.1, stem: 'cifar' };
  if (name === 'small-conv' || name === 'resnet-small') return { input: [2, 8, 8], classes: 3, width: 2 };
  return { input: [2, 8, 8], classes: 3, width: 2, stem: 'cifar' };
}
