/** Nobody but our programs calls kernels: one that none of them calls is dead. */
import { expect, it } from 'vitest';
import { getKernelsForBackend } from '#tfjs';
import { gradientCases, randomBatch, randomState } from './checks.ts';
import { openedEngine } from './opened-engine.ts';

const { gradients } = await openedEngine();

it('every registered kernel is called by the gradient or the evaluation of some case', () => {
  const called = new Set<string>();
  const registered = getKernelsForBackend('wasm');
  for (const kernel of registered) {
    const { kernelName, kernelFunc } = kernel;
    kernel.kernelFunc = (call) => {
      called.add(kernelName);
      return kernelFunc(call);
    };
  }
  for (const { graph, count, loss } of gradientCases.filter(({ kind }) => kind === 'operation')) {
    using network = gradients.compile(graph, loss === undefined ? {} : { loss });
    const [state, batch] = [randomState(graph, 1), randomBatch(graph, count, 2)];
    network.gradient(state, [batch]);
    network.evaluate(state, [batch]);
  }
  expect([...called].toSorted()).toEqual(registered.map(({ kernelName }) => kernelName).toSorted());
});
