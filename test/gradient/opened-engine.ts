/** What the tests of a file share: one engine, closed behind them, and what its kernels give. */
import { afterAll } from 'vitest';
import type { Tensor } from '#tfjs';
import { openCore, type Core } from '../../src/core/core.ts';
import { openGradientEngine, type GradientEngine } from '../../src/gradient/engine.ts';
import { run, type Attributes } from '../../src/gradient/kernels/support.ts';

export async function openedEngine(): Promise<{ readonly core: Core; readonly gradients: GradientEngine }> {
  const core = await openCore();
  const gradients = openGradientEngine(core);
  afterAll(() => {
    gradients[Symbol.dispose]();
    core[Symbol.dispose]();
  });
  return { core, gradients };
}

/** The output of one kernel call. */
export function outputOf(kernel: string, inputs: { [name: string]: Tensor }, attrs: Attributes): Float32Array {
  const result = run(kernel, inputs, attrs);
  const values = result.dataSync<'float32'>();
  result.dispose();
  return values;
}
