/** Every function and class that the world may import takes no option that it does not have: misspelt, it would silently be its default. */
import { afterAll, expect, test } from 'vitest';
import * as edge from '../../src/edge/index.ts';
import { GradientWorkers } from '../../src/gradient/workers/pool.ts';
import * as api from '../../src/index.ts';
import { networks, quadrants } from '../transfer/networks.ts';

const compute = await api.openCompute();
afterAll(() => compute[Symbol.dispose]());

const { core, engine } = compute;
const graph = networks.mlp;
const data = quadrants(20, 1);
const state = api.initialise(core, graph, { seed: 1 });
const source = api.trajectoryFromStates(graph, [{ label: 'start', state }, { label: 'end', state }]);
const spec = api.derivePermutationSpec(graph);
const layout = api.parameterLayout(graph);
const matrix = { rows: 2, columns: 2, data: Float64Array.of(1, 2, 3, 5) };
const bytes = new Uint8Array(8);
const content = { graph, checkpoints: [{ label: 'start', state }] };
const bucket = { get: () => Promise.resolve(null) };
const training = { graph, data, seed: 1, epochs: 1 };
const transferring = { source, target: state, data, method: 'naive', seed: 1 } as const;
const store = { load: async () => [], save: async () => undefined };
const history = (): api.GradientHistory => new api.GradientHistory(core, spec, { budgetBytes: 1e6 });
const image = { name: 'set', images: bytes, labels: new Uint8Array(2), channels: 1, height: 2, width: 2 };
const request = async (options: object): Promise<unknown> => {
  const form = new FormData();
  for (const name of ['bundle', 'target', 'images', 'labels']) form.set(name, new Blob([bytes]), name);
  form.set('options', new Blob([JSON.stringify(options)]), 'options.json');
  const answer = await edge.createTransferHandler()(new Request('http://localhost/', { method: 'POST', body: form }));
  const { field, expected, got } = (await answer.json()) as { readonly field: string; readonly expected: string; readonly got: string };
  throw new api.InvalidArgumentError({ field, expected, got });
};

/** What each is called with, given options with the misspelt one among them, and the option that was meant. */
type Row = readonly [call: (options: never) => unknown, misspelt: string, meant: string];

/** By the names that are imported; several rows where options stand within options, or where what comes back takes some. */
const rows: Readonly<Record<string, readonly Row[]>> = {
  train: [
    [(options: object) => api.train({ ...training, ...options }), 'learningrate', 'learningRate'],
    [
      (options: object) => api.train({ ...training, loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0, ...options } }),
      'loss.labelSmothing',
      'labelSmoothing',
    ],
    [
      (options: object) => api.train({ ...training, optimiser: { kind: 'sgd', momentum: 0.9, weightDecay: 0, ...options } }),
      'optimiser.wieghtDecay',
      'weightDecay',
    ],
    [(options: object) => api.train({ ...training, resume: { store, ...options } }), 'resume.onContinu', 'onContinue'],
  ],
  transfer: [
    [(options: object) => api.transfer({ ...transferring, ...options }), 'stepz', 'steps'],
    [
      (options: object) => api.transfer({ ...transferring, loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0, ...options } }),
      'loss.labelsmoothing',
      'labelSmoothing',
    ],
    [(options: object) => api.transfer({ ...transferring, resume: { store, ...options } }), 'resume.oncontinue', 'onContinue'],
  ],
  evaluate: [[(options: object) => api.evaluate({ graph, state, data, ...options }), 'batchSise', 'batchSize']],
  evaluateEnsemble: [[(options: object) => api.evaluateEnsemble({ graph, states: [state], data, ...options }), 'batchSise', 'batchSize']],
  predict: [[(options: object) => api.predict({ graph, state, data, ...options }), 'batchSise', 'batchSize']],
  verify: [[(options: object) => api.verify({ graph, state, ...options }), 'sead', 'seed']],
  plan: [[(options: object) => api.plan({ graph, method: 'gmt', ...options }), 'batchsPerStep', 'batchesPerStep']],
  openCompute: [
    [(options: object) => api.openCompute(options), 'heapLimit', 'heapLimitBytes'],
    [(options: object) => api.openCompute({ wasm: options }), 'wasm.kore', 'core'],
    [(options: object) => engine.compile(graph, options), 'microbatch', 'microBatch'],
    [
      (options: object) => engine.compile(graph, { loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0, ...options } }),
      'options.loss.labelSmothing',
      'labelSmoothing',
    ],
    [
      (options: object) => engine.compile(graph).trainer(state, { kind: 'sgd', momentum: 0, weightDecay: 0, ...options }),
      'optimiser.momentun',
      'momentum',
    ],
  ],
  openCore: [
    [(options: object) => api.openCore(options), 'arithmetics', 'arithmetic'],
    [(options: object) => api.openCore({ wasm: options }), 'wasm.tjfs', 'tfjs'],
  ],
  openGradientWorkers: [
    [(options: object) => api.openGradientWorkers([new EventTarget() as never], options), 'kore', 'core'],
    [
      (options: object) => api.openGradientWorkers([new EventTarget() as never], { core: options }),
      'core.heaplimitBytes',
      'heapLimitBytes',
    ],
    [(options: object) => api.openGradientWorkers([new EventTarget() as never], { core: { wasm: options } }), 'core.wasm.relax', 'relaxed'],
    [(options: object) => new GradientWorkers([], 'strict').gradients(graph, [], options), 'microbatch', 'microBatch'],
  ],
  openBundle: [[(options: object) => api.openBundle(bytes, options), 'inflatedByts', 'inflatedBytes']],
  writeBundle: [[(options: object) => api.writeBundle(content, options), 'codin', 'coding']],
  writeBundleTo: [[(options: object) => api.writeBundleTo(() => undefined, content, options), 'keyframeEvery', 'keyFrameEvery']],
  openR2: [[(options: object) => api.openR2(bucket, 'key', options), 'idleMS', 'idleMs']],
  readForeign: [[(options: object) => api.readForeign({ name: 'x.npz', bytes }, options), 'readbeside', 'readBeside']],
  writeForeign: [[(options: object) => api.writeForeign(new Map(), { format: 'npz', name: 'x.npz', ...options }), 'dtyp', 'dtype']],
  mapNames: [
    [(options: object) => api.mapNames(new Map(), layout, [], options), 'convension', 'convention'],
    [(options: object) => api.mapNames(new Map(), layout, [{ from: 'a', to: 'b', ...options }]), 'rules[0].tranpose', 'transpose'],
  ],
  stateFromForeign: [
    [
      (options: object) =>
        api.stateFromForeign(
          graph,
          { tensors: new Map(), metadata: new Map(), convention: 'pytorch' },
          [{ from: 'a', to: 'b', ...options }],
          'x',
        ),
      'rules[0].veiw',
      'view',
    ],
    [
      (options: object) => api.stateFromForeign(
        graph, { tensors: new Map(), metadata: new Map(), convention: 'pytorch' }, [], 'x', options,
      ),
      'zerohead',
      'zeroHead',
    ],
  ],
  renameTensors: [
    [(options: object) => api.renameTensors(new Map(), 'pytorch', [{ from: 'a', to: 'b', ...options }]), 'rules[0].shap', 'shape'],
  ],
  parseNameRules: [
    [
      (options: object) => api.parseNameRules(new TextEncoder().encode(JSON.stringify([{ from: 'a', to: 'b', ...options }]))),
      'rules[0].transposed',
      'transpose',
    ],
  ],
  sequential: [[(options: object) => api.sequential([4], [{ op: 'residual', body: [], ...options }]), 'shortcuts', 'shortcut']],
  GraphBuilder: [
    [(options: object) => new api.GraphBuilder([4]).chain('input', [{ op: 'residual', body: [], ...options }]), 'shorcut', 'shortcut'],
  ],
  preset: [[(options: object) => api.preset('mlp', { input: [4], classes: 2, ...options }), 'widhts', 'widths']],
  initialise: [[(options: object) => api.initialise(core, graph, { seed: 1, ...options }), 'shceme', 'scheme']],
  imageSet: [[(options: object) => api.imageSet({ ...image, ...options }), 'clases', 'classes']],
  sequenceSet: [
    [(options: object) => api.sequenceSet({ name: 'set', sequences: [[1]], labels: [0], length: 2, ...options }), 'paddin', 'padding'],
  ],
  sequenceSetFromJsonLines: [
    [(options: object) => api.sequenceSetFromJsonLines({ name: 'set', bytes, length: 2, ...options }), 'clases', 'classes'],
  ],
  tokenSet: [[(options: object) => api.tokenSet({ name: 'set', tokens: bytes, length: 2, ...options }), 'vocabularly', 'vocabulary']],
  generateTaskPair: [[(options: object) => api.generateTaskPair(core, { seed: 1, ...options }), 'traincount', 'trainCount']],
  imageSetFromArray: [[
    (options: object) => api.imageSetFromArray({ name: 'set', shape: [1, 1, 1], images: bytes, labels: bytes, ...options }),
    'clases',
    'classes',
  ]],
  imageSetFromIdx: [
    [(options: object) => api.imageSetFromIdx({ name: 'set', images: bytes, labels: bytes, ...options }), 'clases', 'classes'],
    [
      (options: object) =>
        api.imageSetFromIdx({ name: 'set', images: bytes, labels: bytes, limitBytes: { images: 8, labels: 8, ...options } }),
      'limitBytes.lables',
      'labels',
    ],
    [
      (options: object) =>
        api.imageSetFromIdx({ name: 'set', images: bytes, labels: bytes, fileNames: { images: 'a', labels: 'b', ...options } }),
      'fileNames.image',
      'images',
    ],
  ],
  imageSetFromCifar: [
    [(options: object) => api.imageSetFromCifar({ name: 'set', files: [bytes], format: 'cifar10', ...options }), 'fileName', 'fileNames'],
  ],
  linearSumAssignment: [[(options: object) => api.linearSumAssignment(core, matrix, options), 'maximise', 'maximize']],
  linearSumAssignmentAsync: [[(options: object) => api.linearSumAssignmentAsync(core, matrix, options), 'maximise', 'maximize']],
  GradientHistory: [[(options: object) => new api.GradientHistory(core, spec, { budgetBytes: 1e6, ...options }), 'normalize', 'normalise']],
  ...Object.fromEntries(
    api.solverNames.map((name): [string, readonly Row[]] => [
      `matchingSolvers.${name}`,
      [
        [
          (options: object) => api.matchingSolvers[name](history(), { start: api.identityPermutations(spec), seed: 1, ...options }),
          'maxSweep',
          'maxSweeps',
        ],
      ],
    ]),
  ),
  stateFromAdapter: [
    [
      (options: object) => {
        const base = { tensors: new Map(), metadata: new Map(), convention: 'pytorch' as const };
        return api.stateFromAdapter(graph, base, { names: [], factors: [], whole: [] }, [], 'adapter', options);
      },
      'signl',
      'signal',
    ],
  ],
  portAdapter: [
    [
      (options: object) => {
        const base = { tensors: new Map(), metadata: new Map(), convention: 'pytorch' as const };
        const adapter = { names: [], factors: [], whole: [] };
        const result = { state, permutations: api.identityPermutations(spec), chosenStep: 0, steps: [] };
        return api.portAdapter({ graph, adapter, base, target: state, result, ...options });
      },
      'rulez',
      'rules',
    ],
  ],
  createTransferHandler: [
    [(options: object) => edge.createTransferHandler(options), 'maxBundlebytes', 'maxBundleBytes'],
    [(options: object) => edge.createTransferHandler({ wasm: options }), 'wasm.tfj', 'tfjs'],
    [request, 'options.stepz', 'steps'],
  ],
};

/** What takes no options: numbers, names, arrays and what others of these made. */
const without: readonly string[] = [
  'isAdapter', 'readAdapter',
  'TrajectoryBundle', 'channelStatistics', 'closeSharedCompute', 'composePermutations', 'decodeResumePoint', 'derivePermutationSpec',
  'describeMisfits', 'detect',
  'flattenedInputs', 'graphFromLayersModel', 'historySize', 'identityPermutations', 'inferShapes', 'invertPermutations',
  'lintPermutationSpec', 'normalised', 'outputClasses',
  'normalisedAsRecorded', 'parameterLayout', 'parseGraph', 'permuteTensors', 'randomPermutations', 'readSafetensors', 'recordedRules',
  'requireFit',   'selectClasses', 'selectRows', 'serveGradients', 'splitRows', 'stateFromSafetensors', 'stateSha256', 'stateToForeign',
  'stateToSafetensors',
  'tiedWeights', 'tokensFromBytes', 'trajectoryFromStates', 'withFreshHead', 'withZeroHead', 'writableFormatOf', 'writeSafetensors',
];

test('every exported function and class is in the table, or known to take no options', () => {
  const exported = Object.entries({ ...api, ...edge }).flatMap(([name, value]: [string, unknown]) => {
    if (name === 'matchingSolvers') return Object.keys(value as object).map((solver) => `${name}.${solver}`);
    const isError = typeof value === 'function' && (value === api.TrajportError || value.prototype instanceof api.TrajportError);
    return typeof value === 'function' && !isError ? [name] : [];
  });
  expect(exported.toSorted()).toEqual([...Object.keys(rows), ...without].toSorted());
});

const cases = Object.entries(rows).flatMap(([name, own]) => own.map(([call, misspelt, meant]) => [name, misspelt, meant, call] as const));

test.each(cases)('%s refuses %s and names %s', async (_, misspelt, meant, call) => {
  const option = misspelt.slice(misspelt.lastIndexOf('.') + 1);
  const error = await (async () => call({ [option]: 1 } as never))().then(() => undefined, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(api.InvalidArgumentError);
  expect(error).toMatchObject({ field: misspelt, got: `one that it does not have (did you mean ${meant}?)` });
});
