/** Calls as JavaScript can make them, without what types demand: each refusal is typed and names what is missing. */
import { afterAll, expect, test } from 'vitest';
import * as api from '../../src/index.ts';
import { GradientWorkers } from '../../src/gradient/workers/pool.ts';
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
const planned = { graph, method: 'fgmt' } as const;
const spec = api.derivePermutationSpec(graph);
const start = api.identityPermutations(spec);
const matrix = { rows: 2, columns: 2, data: Float64Array.of(1, 2, 3, 5) };
const history = (...options: readonly unknown[]): unknown => new api.GradientHistory(compute.core, spec, options[0] as never);
const closed = new GradientWorkers([], 'strict');
closed[Symbol.dispose]();
type Loose = (...args: readonly unknown[]) => unknown;
const {
  transfer, train, plan, verify, evaluate, generateTaskPair, preset, imageSetFromIdx, stateFromSafetensors, parameterLayout,
  outputClasses, openBundle, linearSumAssignment, historySize, initialise: init,
} = api as unknown as Readonly<Record<string, Loose>>;

test.each<[string, Loose | undefined, readonly unknown[], string, RegExp]>([
  ['transfer()', transfer, [], 'source', /openBundle\(\).*got undefined/],
  ['transfer({})', transfer, [{}], 'source', /got undefined/],
  ['transfer of a state', transfer, [{ source: state }], 'source', /got Object without graph, checkpoints, readCheckpoint/],
  ['transfer without a target', transfer, [{ source }], 'target', /weights/],
  ['transfer with tensors for a target', transfer, [{ source, target: state.parameters }], 'target', /got Map without parameters, buffers/],
  ['transfer to the result of a training', transfer, [{ source, target: { state } }], 'target', /buffers: its `state` has/],
  ['transfer to a promise', transfer, [{ source, target: Promise.resolve(state) }], 'target', /got a Promise \(is `await` missing\?\)$/],
  ['transfer with data of both parts', transfer, [{ source, target: state, data: { train: data } }], 'data', /its `train` has them/],
  ['transfer with a promise of data', transfer, [{ source, target: state, data: Promise.resolve(data) }], 'data', /got a Promise \(/],
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
  // One forward pass, or none: nothing would be asked of its workers.
  [
    'evaluate with a closed pool', evaluate, [{ graph, state, data, compute, workers: closed }], 'workers',
    /an open pool, got a closed one/,
  ],
  ['transfer with a closed pool', transfer, [{ ...job, compute, workers: closed }], 'workers', /an open pool, got a closed one/],
  ['train with a closed pool', train, [{ ...training, compute, workers: closed }], 'workers', /an open pool, got a closed one/],
  ['generateTaskPair(undefined)', generateTaskPair, [undefined, {}], 'core', /openCore\(\)/],
  ['generateTaskPair(core, {})', generateTaskPair, [compute.core, {}], 'options', /without seed/],
  ['preset(name)', preset, ['mlp'], 'options', /input, classes/],
  ['preset of no such name', preset, ['nope', {}], 'preset', /one of mlp, .*got "nope"$/],
  ['preset of a name written otherwise', preset, ['ResNet-18', {}], 'preset', /got "ResNet-18" \(did you mean resnet18\?\)$/],
  ['parameterLayout()', parameterLayout, [], 'graph', /preset\(\).*got undefined/],
  ['outputClasses of a name', outputClasses, ['mlp'], 'graph', /got "mlp"/],
  [
    'stateFromSafetensors of an ArrayBuffer',
    stateFromSafetensors,
    [api.parameterLayout(graph), new ArrayBuffer(64)],
    'safetensors',
    /new Uint8Array\(buffer\).*got ArrayBuffer/,
  ],
  [
    'stateFromSafetensors of a graph that is none',
    stateFromSafetensors,
    [undefined, new Uint8Array(64)],
    'layout',
    /parameterLayout\(graph\)/,
  ],
  ['trajectoryFromStates of options', api.trajectoryFromStates as unknown as Loose, [{ graph, checkpoints: [] }], 'checkpoints', /a list/],
  ['trajectoryFromStates of states', api.trajectoryFromStates as unknown as Loose, [graph, [state]], 'checkpoints[0]', /label/],
  ['trajectoryFromStates of none', api.trajectoryFromStates as unknown as Loose, [graph, []], 'checkpoints', /at least 2, .*got 0/],
  [
    'trajectoryFromStates of one', api.trajectoryFromStates as unknown as Loose, [graph, [{ label: 'end', state }]],
    'checkpoints', /at least 2, .*got 1/,
  ],
  ['openBundle of a path', openBundle, ['fine-tune.zip'], 'source', /got "fine-tune.zip" \(an address is new URL/],
  ['an option of another job', transfer, [{ ...job, iterations: 3 }], 'iterations', /one that it does not have \(there are steps, /],
  ['a word for the direction', linearSumAssignment, [compute.core, matrix, { maximize: 'no' }], 'maximize', /true or false, got "no"/],
  ['a number for certify', linearSumAssignment, [compute.core, matrix, { certify: 1 }], 'certify', /true or false, got 1/],
  ['an assignment of nothing', linearSumAssignment, [compute.core], 'similarity', /an object with rows, columns, data, got undefined/],
  ['an assignment of a list', linearSumAssignment, [compute.core, [[1]]], 'similarity', /without rows, columns, data/],
  [
    'an assignment with null for options',
    linearSumAssignment,
    [compute.core, matrix, null],
    'options',
    /the options of linearSumAssignment, got null/,
  ],
  [
    'half a warm start',
    linearSumAssignment,
    [compute.core, matrix, { warmStart: { rows: new Float64Array(2) } }],
    'warmStart',
    /without columns/,
  ],
  ['a history of −1 pairs', historySize, [spec, -1], 'pairs', /an integer ≥ 0, got -1/],
  ['a history of half a pair', historySize, [spec, 0.5], 'pairs', /an integer ≥ 0, got 0.5/],
  ['a group for a list of them in historySize', historySize, [spec, 1, 'linear1'], 'frozenGroups', /a list, got "linear1"/],
  ['a history without options', history, [], 'options', /the options of GradientHistory, got undefined/],
  [
    'a group for a list of them in a history',
    history,
    [{ budgetBytes: 1e6, frozenGroups: 'linear1' }],
    'frozenGroups',
    /a list, got "linear1"/,
  ],
  ...api.solverNames.flatMap((name): [string, Loose, readonly unknown[], string, RegExp][] => [
    [
      `${name} without options`,
      api.matchingSolvers[name] as Loose,
      [history({ budgetBytes: 1e6 })],
      'options',
      /the options of a solver, got undefined/,
    ],
    [`${name} without a seed`, api.matchingSolvers[name] as Loose, [history({ budgetBytes: 1e6 }), { start }], 'options', /without seed/],
  ]),
  ['initialise without a seed', init, [compute.core, graph], 'options', /the options of initialise, got undefined/],
  ['initialise with a word for a seed', init, [compute.core, graph, { seed: 'x' }], 'seed', /an integer ≥ 0, got "x"/],
  ['a plan with −5 sweeps', plan, [{ ...planned, sweeps: -5 }], 'sweeps', /an integer in \[1, 10000\], got -5/],
  ['a plan with a word for sweeps', plan, [{ ...planned, sweeps: 'x' }], 'sweeps', /got "x"/],
  ['a plan at a rate of 0', plan, [{ ...planned, flopsPerSecond: 0 }], 'flopsPerSecond', /a finite number ≥ 1, got 0/],
  ['a plan at a rate below 0', plan, [{ ...planned, flopsPerSecond: -1 }], 'flopsPerSecond', /a finite number ≥ 1, got -1/],
  [
    'a plan that skips what is not there', plan, [{ ...planned, skipParameters: ['linear9'] }], 'skipParameters',
    /a parameter of the network .*got "linear9"/,
  ],
  ['a plan for half an image', plan, [{ ...planned, images: 1.5 }], 'images', /an integer in .*got 1.5/],
  ['a plan for no image', plan, [{ ...planned, images: 0 }], 'images', /an integer in .*got 0/],
  ['a plan for a heap that is no number', plan, [{ ...planned, heapLimitBytes: NaN }], 'heapLimitBytes', /an integer ≥ 0, got NaN/],
  [
    'a plan for checkpoints that are no number',
    plan,
    [{ ...planned, checkpoints: NaN, trajectory: 'real' }],
    'checkpoints',
    /an integer in .*got NaN/,
  ],
  [
    'the checkpoint of an epoch that the training does not end',
    train,
    [{ graph, data, seed: 1, iterations: 3, batchSize: 16, checkpointEpochs: [1, 2] }],
    'checkpointEpochs',
    /at most 1, the whole epochs of this training, got 2/,
  ],
  [
    'more epochs than a bundle has checkpoints',
    train,
    [{ graph, data, seed: 1, iterations: 20_000, batchSize: 16 }],
    'checkpointEpochs',
    /at most 10000 checkpoints are kept in all, got 10001, one for the end of each epoch/,
  ],
  [
    'more iterations than a bundle has checkpoints',
    train,
    [{ graph, data, seed: 1, iterations: 20_000, batchSize: 16, checkpointEpochs: [1], checkpointIterations: Array.from({ length: 9999 }, (_, i) => i + 1) }],
    'checkpointEpochs',
    /at most 10000 checkpoints are kept in all, got 10001$/,
  ],
  ['a group for a list of them', transfer, [{ ...job, frozenGroups: 'linear1' }], 'frozenGroups', /a list, got "linear1"/],
  ['a list of numbers for names', transfer, [{ ...job, skipParameters: [1] }], 'skipParameters[0]', /a string, got 1/],
  ['a word for epochs', train, [{ ...training, checkpointEpochs: 'all' }], 'checkpointEpochs', /a list, got "all"/],
  ['half an epoch', train, [{ ...training, checkpointEpochs: [1, 1.5] }], 'checkpointEpochs[1]', /an integer ≥ 1, got 1.5/],
  [
    'the iteration before the first',
    train,
    [{ ...training, checkpointIterations: [0] }],
    'checkpointIterations[0]',
    /an integer ≥ 1, got 0/,
  ],
  ['a number for iterations', train, [{ ...training, evaluateAt: 5 }], 'evaluateAt', /a list, got 5/],
  [
    'an evaluation after the end',
    train,
    [{ ...training, evaluateAt: [1, 2] }],
    'evaluateAt',
    /at most 1, the iterations of this training, got 2/,
  ],
  ['a word for a flag', transfer, [{ ...job, normalise: 'no' }], 'normalise', /true or false, got "no"/],
  ['an optimiser by its name', train, [{ ...training, optimiser: 'sgd' }], 'optimiser', /an object with a kind: sgd, adamw, got "sgd"/],
  [
    'an optimiser that there is not',
    train,
    [{ ...training, optimiser: { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } }],
    'optimiser.kind',
    /one of sgd, adamw, got "adam"/,
  ],
  [
    'a setting that an optimiser lacks',
    train,
    [{ ...training, optimiser: { kind: 'sgd', momentum: 0.9, weightDecay: 0, nesterov: true } }],
    'optimiser.nesterov',
    /an option of sgd, got one that it does not have \(there are kind, momentum, weightDecay\)/,
  ],
  [
    'a setting of another optimiser',
    train,
    [{ ...training, optimiser: { kind: 'sgd', momentum: 0.9, weightDecay: 0, beta1: 0.9 } }],
    'optimiser.beta1',
    /an option of sgd/,
  ],
  [
    'an unknown scheme beside weights',
    train,
    [{ ...training, initial: state, initialScheme: 'xavier' }],
    'initialScheme',
    /one of pytorch/,
  ],
  ['a signal that is none', transfer, [{ ...job, signal: 'x' }], 'signal', /an AbortSignal/],
  ['a null signal', train, [{ graph, data, seed: 1, epochs: 1, signal: null }], 'signal', /got null/],
  ['progress that is no function', train, [{ graph, data, seed: 1, epochs: 1, onProgress: 'x' }], 'onProgress', /a function, got "x"/],
  ['imageSetFromIdx without a name', imageSetFromIdx, [{ images: new Uint8Array(8), labels: new Uint8Array(8) }], 'fields', /without name/],
])('%s', async (_, call, args, field, message) => {
  const error = await (async () => call?.(...args))().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(api.InvalidArgumentError);
  expect(error).toMatchObject({ field, message: expect.stringMatching(message) });
});

test.each([
  ['whose checkpoints a bundle just holds', { iterations: 19_998 }],
  // A list of its epochs' rates had more elements than an array may have.
  ['of more epochs than anything could list', { iterations: 2 ** 45, learningRateSchedule: 'cosine', checkpointEpochs: [] }],
] as const)('a training %s begins', async (_, choices) => {
  const controller = new AbortController();
  const done: number[] = [];
  const onProgress = (event: api.TrainEvent): void => {
    if (done.push(event.done) > 2) controller.abort(new Error('enough'));
  };
  const { signal } = controller;
  const begun = api.train({ graph, data, seed: 1, batchSize: 16, ...choices, compute, signal, onProgress });
  await expect(begun).rejects.toThrow('enough');
  expect(done.slice(0, 3)).toEqual([0, 1, 2]);
});

test('an option that is undefined is as good as none, whatever its name', () => {
  expect(api.plan({ graph, method: 'fgmt', ...({ stepz: undefined } as object) }).steps).toBe(10);
});

test.each<[string, (lists: object) => Promise<api.TrainResult | api.TransferResult>, Readonly<Record<string, unknown[]>>]>([
  [
    'train',
    (lists) => api.train({ ...training, batchSize: 4, compute, ...lists }),
    { evaluateAt: [3], checkpointIterations: [4], checkpointEpochs: [1] },
  ],
  [
    'transfer',
    (lists) => api.transfer({ ...job, method: 'fgmt', steps: 2, stopRule: 'last', compute, ...lists }),
    { frozenGroups: ['linear2'], skipParameters: ['linear1'] },
  ],
])(
  'lists among the options of %s stay the caller’s: they are not frozen, and changing them during the job changes nothing',
  async (_, run, lists) => {
    const { record } = await run(lists);
    expect(Object.values(lists).filter(Object.isFrozen)).toEqual([]);
    const cleared = structuredClone(lists);
    const onProgress = () => Object.values(cleared).forEach((list) => list.splice(0));
    expect((await run({ ...cleared, onProgress })).record).toEqual(record);
  },
);

test('the order in which a caller lists names and places, and what is listed twice, is not in records and resume points', async () => {
  const outcomes = await Promise.all(['as listed', 'otherwise'].map(async (_, otherwise) => {
    const listed = <T>(list: readonly T[]): readonly T[] => (otherwise ? [...list.toReversed(), list[0] as T] : list);
    const points: Uint8Array[] = [];
    const resume = { store: { load: async () => [], save: async (point: Uint8Array) => void points.push(point) } };
    return { listed, points, resume };
  }));
  const records: unknown[] = [];
  for (const { listed, resume } of outcomes) {
    const names = { frozenGroups: listed(['linear1', 'linear2']), skipParameters: listed(['linear1', 'linear1.bias', 'linear3.weight']) };
    const places = { checkpointEpochs: listed([1, 2]), checkpointIterations: listed([3, 4]), evaluateAt: listed([2, 10]) };
    const ported = await api.transfer({ ...job, method: 'fgmt', steps: 2, stopRule: 'last', compute, resume, ...names });
    const trained = await api.train({ ...training, epochs: 2, batchSize: 4, compute, resume, ...places });
    expect(ported.record.settings).toMatchObject({
      frozenGroups: ['linear1', 'linear2'],
      skipParameters: ['linear1', 'linear1.bias', 'linear3.weight'],
    });
    expect(trained.record.settings).toMatchObject({ checkpointEpochs: [1, 2], checkpointIterations: [3, 4], evaluateAt: [2, 10] });
    records.push([ported.record, trained.record]);
  }
  expect(records[1]).toEqual(records[0]);
  const [first, second] = outcomes.map(({ points }) => points);
  expect(first?.length).toBeGreaterThan(2);
  expect(second).toEqual(first);
});
