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
type Loose = (...args: readonly unknown[]) => unknown;
const { transfer, train, plan, verify, evaluate, generateTaskPair, preset, imageSetFromIdx } = api as unknown as Readonly<Record<string, Loose>>;

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
  ['imageSetFromIdx without a name', imageSetFromIdx, [{ images: new Uint8Array(8), labels: new Uint8Array(8) }], 'fields', /without name/],
])('%s', async (_, call, args, field, message) => {
  const error = await (async () => call?.(...args))().then(() => undefined, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(api.InvalidArgumentError);
  expect(error).toMatchObject({ field, message: expect.stringMatching(message) });
});
