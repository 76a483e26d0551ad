/** Calls as JavaScript can make them, without what types demand: each refusal is typed and names what is missing. */
import { afterAll, expect, test } from 'vitest';
import * as api from '../../src/index.ts';
import { initialise } from '../../src/model/initialise.ts';
import { networks, quadrants } from './networks.ts';

const compute = await api.openCompute();
afterAll(() => compute[Symbol.dispose]());

const graph = networks.mlp;
const data = quadrants(20, 1);
const state = initialise(compute.core, graph, { seed: 1 });
const source = api.trajectoryFromStates(graph, [{ label: 'start', state }, { label: 'end', state }]);
const job = { source, target: state, data, method: 'naive', seed: 1 } as const;
const training = { graph, data, seed: 1, epochs: 1 };
type Loose = (...args: readonly unknown[]) => unknown;
const { transfer, train, plan, verify, evaluate, generateTaskPair, preset, imageSetFromIdx, stateFromSafetensors, parameterLayout, outputClasses, openBundle } = api as unknown as Readonly<Record<string, Loose>>;

test.each<[string, Loose | undefined, readonly unknown[], string, RegExp]>([
  ['transfer()', transfer, [], 'source', /openBundle\(\).*got undefined/],
  ['transfer({})', transfer, [{}], 'source', /got undefined/],
  ['transfer of a state', transfer, [{ source: state }], 'source', /got Object without graph, checkpoints, readCheckpoint/],
  ['transfer without a target', transfer, [{ source }], 'target', /weights/],
  ['transfer with tensors for a target', transfer, [{ source, target: state.parameters }], 'target', /got Map without parameters, buffers/],
  ['transfer without data', transfer, [{ source, target: state }], 'data', /a data set/],
  ['transfer without a method', transfer, [{ source, target: state, data }], 'method', /one of naive/],
  ['transfer without a seed', transfer, [{ source, target: state, data, method: 'gmt' }], 'seed', /integer/],
  ['train()', train, [], 'graph', /preset\(\)/],
  ['train(null)', train, [null], 'graph', /preset\(\)/],
  ['train without data', train, [{ graph }], 'data', /a data set/],
  ['plan()', plan, [], 'graph', /a network/],
  ['verify({ graph })', verify, [{ graph }], 'state', /weights/],
  ['evaluate({ graph })', evaluate, [{ graph }], 'state', /weights/],
  ['evaluate({ graph, state })', evaluate, [{ graph, state }], 'data', /a data set/],
  ['generateTaskPair(undefined)', generateTaskPair, [undefined, {}], 'core', /openCore\(\)/],
  ['generateTaskPair(core, {})', generateTaskPair, [compute.core, {}], 'options', /without seed/],
  ['preset(name)', preset, ['mlp'], 'options', /input, classes/],
  ['preset of no such name', preset, ['nope', {}], 'preset', /one of mlp, .*got "nope"/],
  ['parameterLayout()', parameterLayout, [], 'graph', /preset\(\).*got undefined/],
  ['outputClasses of a name', outputClasses, ['mlp'], 'graph', /got "mlp"/],
  ['stateFromSafetensors of an ArrayBuffer', stateFromSafetensors, [api.parameterLayout(graph), new ArrayBuffer(64)], 'safetensors', /new Uint8Array\(buffer\).*got ArrayBuffer/],
  ['stateFromSafetensors of a graph that is none', stateFromSafetensors, [undefined, new Uint8Array(64)], 'layout', /parameterLayout\(graph\)/],
  ['openBundle of a path', openBundle, ['fine-tune.zip'], 'source', /got "fine-tune.zip" \(an address is new URL/],
  ['a misspelt option of transfer', transfer, [{ ...job, stepz: 3 }], 'stepz', /an option of transfer, got one that it does not have \(did you mean steps\?\)/],
  ['an option of another job', transfer, [{ ...job, iterations: 3 }], 'iterations', /one that it does not have \(there are steps, /],
  ['a misspelt option of train', train, [{ graph, data, seed: 1, epochs: 1, learningrate: 0.1 }], 'learningrate', /did you mean learningRate\?/],
  ['a misspelt option of plan', plan, [{ graph, method: 'gmt', batchsPerStep: 3 }], 'batchsPerStep', /did you mean batchesPerStep\?/],
  ['a misspelt option of evaluate', evaluate, [{ graph, state, data, batchSise: 3 }], 'batchSise', /did you mean batchSize\?/],
  ['a misspelt option of verify', verify, [{ graph, state, sead: 3 }], 'sead', /did you mean seed\?/],
  ['a group for a list of them', transfer, [{ ...job, frozenGroups: 'linear1' }], 'frozenGroups', /a list, got "linear1"/],
  ['a list of numbers for names', transfer, [{ ...job, skipParameters: [1] }], 'skipParameters[0]', /a string, got 1/],
  ['a word for epochs', train, [{ ...training, checkpointEpochs: 'all' }], 'checkpointEpochs', /a list, got "all"/],
  ['half an epoch', train, [{ ...training, checkpointEpochs: [1, 1.5] }], 'checkpointEpochs[1]', /an integer ≥ 1, got 1.5/],
  ['the iteration before the first', train, [{ ...training, checkpointIterations: [0] }], 'checkpointIterations[0]', /an integer ≥ 1, got 0/],
  ['a number for iterations', train, [{ ...training, evaluateAt: 5 }], 'evaluateAt', /a list, got 5/],
  ['an evaluation after the end', train, [{ ...training, evaluateAt: [1, 2] }], 'evaluateAt', /at most 1, the iterations of this training, got 2/],
  ['a word for a flag', transfer, [{ ...job, normalise: 'no' }], 'normalise', /true or false, got "no"/],
  ['an optimiser by its name', train, [{ ...training, optimiser: 'sgd' }], 'optimiser', /an object with a kind: sgd, adamw, got "sgd"/],
  ['an optimiser that there is not', train, [{ ...training, optimiser: { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } }], 'optimiser.kind', /one of sgd, adamw, got "adam"/],
  ['a setting that an optimiser lacks', train, [{ ...training, optimiser: { kind: 'sgd', momentum: 0.9, weightDecay: 0, nesterov: true } }], 'optimiser.nesterov', /no such setting of sgd \(there are momentum, weightDecay\)/],
  ['a setting of another optimiser', train, [{ ...training, optimiser: { kind: 'sgd', momentum: 0.9, weightDecay: 0, beta1: 0.9 } }], 'optimiser.beta1', /no such setting of sgd/],
  ['an unknown scheme beside weights', train, [{ ...training, initial: state, initialScheme: 'xavier' }], 'initialScheme', /one of pytorch/],
  ['a signal that is none', transfer, [{ ...job, signal: 'x' }], 'signal', /an AbortSignal/],
  ['a null signal', train, [{ graph, data, seed: 1, epochs: 1, signal: null }], 'signal', /got null/],
  ['progress that is no function', train, [{ graph, data, seed: 1, epochs: 1, onProgress: 'x' }], 'onProgress', /a function, got "x"/],
  ['imageSetFromIdx without a name', imageSetFromIdx, [{ images: new Uint8Array(8), labels: new Uint8Array(8) }], 'fields', /without name/],
])('%s', async (_, call, args, field, message) => {
  const error = await (async () => call?.(...args))().then(() => undefined, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(api.InvalidArgumentError);
  expect(error).toMatchObject({ field, message: expect.stringMatching(message) });
});

test('an option that is undefined is as good as none, whatever its name', () => {
  expect(api.plan({ graph, method: 'fgmt', ...({ stepz: undefined } as object) }).steps).toBe(10);
});

test.each<[string, (lists: object) => Promise<api.TrainResult | api.TransferResult>, Readonly<Record<string, unknown[]>>]>([
  ['train', (lists) => api.train({ ...training, batchSize: 4, compute, ...lists }), { evaluateAt: [3], checkpointIterations: [4], checkpointEpochs: [1] }],
  ['transfer', (lists) => api.transfer({ ...job, method: 'fgmt', steps: 2, stopRule: 'last', compute, ...lists }), { frozenGroups: ['linear2'], skipParameters: ['linear1'] }],
])('lists among the options of %s stay the caller’s: they are not frozen, and changing them during the job changes nothing', async (_, run, lists) => {
  const { record } = await run(lists);
  expect(Object.values(lists).filter(Object.isFrozen)).toEqual([]);
  const cleared = structuredClone(lists);
  const onProgress = () => Object.values(cleared).forEach((list) => list.splice(0));
  expect((await run({ ...cleared, onProgress })).record).toEqual(record);
});
