/**
 * Verification by function: a randomly permuted network must compute the same as the original while its weights moved.
 * That proves a permutation spec on the very weights it will be used on (π-equivalence).
 */
import { requireInteger } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import type { Batch } from '../data/batch.ts';
import { isIdentity, permuteTensors, randomPermutations, smallestMove } from '../matching/permutation.ts';
import type { Permutations } from '../matching/permutation.ts';
import type { ModelGraph } from '../model/graph.ts';
import { labelsPerInput, outputClasses } from '../model/graph.ts';
import { lintPermutationSpec } from '../model/permutation-lint.ts';
import type { SpecProblem } from '../model/permutation-lint.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { fillUniform, streams } from '../tensor/random.ts';
import { elementCount, getTensor } from '../tensor/tensor.ts';
import type { NamedTensors, NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import type { Compute } from './compute.ts';
import { requireParts, requireState } from './inputs.ts';

/** What to check, and on how many inputs. */
export interface VerifyOptions {
  readonly graph: ModelGraph;
  readonly state: NetworkState;
  /** Draws the permutation and the inputs. Default 1. */
  readonly seed?: number;
  /** Random inputs to compare outputs on. Default 16. */
  readonly inputs?: number;
  readonly compute?: Compute;
}

/** Whether a network computes the same function with its units permuted, and by how far it does not. */
export interface Verification {
  readonly passed: boolean;
  /** What is wrong with the permutation spec itself; empty when it is sound. */
  readonly problems: readonly SpecProblem[];
  /** Permutation groups and the units in them. */
  readonly groups: readonly { readonly id: string; readonly size: number }[];
  /** Share of the parameters' elements whose value changed under the permutation, 0 to 1. */
  readonly movedFraction: number;
  /** Largest |difference| of an output, in evaluation mode. */
  readonly largestOutputDifference: number;
  /** |Difference| of the mean loss in training mode, which uses batch statistics. */
  readonly trainingLossDifference: number;
  /** Largest |output|, the scale of the differences. */
  readonly largestOutput: number;
  /** Largest difference ÷ largest output that passes: f32 sums in another order. */
  readonly tolerance: number;
}

const optionNames: OptionNames<VerifyOptions> = { graph: true, state: true, seed: true, inputs: true, compute: true };

/** Sums of a few thousand f32 terms in another order differ by about 1e-6 of their scale; deep nets by ten times that. */
const RELATIVE_TOLERANCE = 1e-4;

/**
 * Checks a network's permutation spec: permutes all units that may move at random, and compares outputs and a training-mode loss with
 * those of the network as it was, on random inputs.
 * @throws InvalidArgumentError, NotFiniteError for a state that does not fit the graph.
 */
export async function verify(options: VerifyOptions): Promise<Verification> {
  requireParts(options, { graph: 'graph', state: 'state' });
  requireOptions('verify', options, optionNames);
  const { graph, state } = options;
  const seed = requireInteger('seed', options.seed ?? 1, 0);
  const count = requireInteger('inputs', options.inputs ?? 16, 1, 4096);
  requireState('state', graph, state);
  const { core, engine } = await useCompute(options.compute);
  const spec = derivePermutationSpec(graph);
  const problems = lintPermutationSpec(graph, spec);
  const permutations = movingPermutations(spec, seed);
  const permuted: NetworkState = {
    parameters: permuteTensors(spec, state.parameters, permutations),
    buffers: permuteTensors(spec, state.buffers, permutations),
  };

  const drawn = new Float32Array(count * elementCount(graph.input));
  fillUniform(core, drawn, [-1, 1], { seed, stream: streams.permutation, index: 1 });
  const { vocabulary, padding } = graph;
  const inputs =
    vocabulary === undefined
      ? drawn
      : Int32Array.from(drawn, (value, i) => {
          const token = Math.min(vocabulary - 1, Math.floor(0.5 * (value + 1) * vocabulary));
          // The first of a sequence is none of the padding, which alone would be no input.
          return token === padding && i % elementCount(graph.input) === 0 ? (token + 1) % vocabulary : token;
        });
  const classes = outputClasses(graph);
  const labels = Int32Array.from({ length: count * labelsPerInput(graph) }, (_, row) => row % classes);
  const batch: Batch = { inputs, labels, count };
  using network = engine.compile(graph);
  const before = network.logits(state, batch);
  const after = network.logits(permuted, batch);
  const [lossBefore, lossAfter] = [state, permuted].map((side) => network.gradient(side, [batch]).losses[0] as number);

  let largestOutputDifference = 0;
  let largestOutput = 0;
  for (let i = 0; i < before.length; i++) {
    largestOutputDifference = Math.max(largestOutputDifference, Math.abs((before[i] as number) - (after[i] as number)));
    largestOutput = Math.max(largestOutput, Math.abs(before[i] as number));
  }
  const trainingLossDifference = Math.abs((lossBefore as number) - (lossAfter as number));
  const movedFraction = changedFraction(state.parameters, permuted.parameters);
  const tolerance = RELATIVE_TOLERANCE * Math.max(largestOutput, 1e-30);
  return {
    passed:
      problems.length === 0 &&
      (spec.groups.every((group) => smallestMove(group) === undefined) || movedFraction > 0) &&
      largestOutputDifference <= tolerance &&
      trainingLossDifference <= RELATIVE_TOLERANCE * Math.max(1, lossBefore as number),
    problems,
    groups: spec.groups.map(({ id, size }) => ({ id, size })),
    movedFraction,
    largestOutputDifference,
    trainingLossDifference,
    largestOutput,
    tolerance,
  };
}

/** Random, but never the identity of a group that has another: one draw in two is, for groups of two units. */
function movingPermutations(spec: PermutationSpec, seed: number): Permutations {
  const drawn = randomPermutations(spec, seed);
  return new Map(spec.groups.map((group): [string, Int32Array] => {
    const perm = drawn.get(group.id) as Int32Array;
    return [group.id, isIdentity(perm) ? (smallestMove(group) ?? perm) : perm];
  }));
}

function changedFraction(before: NamedTensors, after: NamedTensors): number {
  let changed = 0;
  let total = 0;
  for (const [name, { data }] of before) {
    const other = getTensor(after, name).data;
    for (let i = 0; i < data.length; i++) if (data[i] !== other[i]) changed++;
    total += data.length;
  }
  return total === 0 ? 0 : changed / total;
}
