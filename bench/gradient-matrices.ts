/**
 * The matrices that assignment is for: similarities of hidden units as whole transfers of MLPs meet them, caught where
 * the solver opens them. Kept under build/, because the widest transfer takes a minute; delete the folder to make them anew.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CoreKernels } from '../src/core/kernels.ts';
import { generateTaskPair } from '../src/data/generated.ts';
import { openCompute, train, transfer } from '../src/index.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset } from '../src/model/presets.ts';

/** From the root of the repository, where npm runs scripts: this file itself runs bundled, from elsewhere. */
const folder = join('build', 'bench', 'gradient-matrices');

export const gradientSteps = [1, 3, 10] as const;
const STEPS = 10;

const pathOf = (width: number, step: number): string => join(folder, `mlp-${width}-step-${step}.bin`);

/** The similarity [width, width] at a step of ten of an FGMT transfer on generated images, as bench:transfer runs it. */
export async function gradientMatrix(width: number, step: number): Promise<Float32Array> {
  const path = pathOf(width, step);
  if (!existsSync(path)) await saveMatrices(width);
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** Runs the transfer of one width and saves the first similarity of each of the steps. */
async function saveMatrices(width: number): Promise<void> {
  mkdirSync(folder, { recursive: true });
  console.error(`saving gradient matrices of an MLP of ${width} hidden units to ${folder}`);
  using compute = await openCompute();
  const { before } = generateTaskPair(compute.core, { seed: 1, trainCount: 4000, testCount: 1 });
  const data = before.train;
  const graph = preset('mlp', { input: [data.channels, data.height, data.width], classes: data.classes, widths: [width] });
  const source = await train({ graph, data, seed: 1, epochs: 2, checkpointEpochs: [], compute });
  const target = initialise(compute.core, graph, { seed: 2 });
  let step = 1;
  const saved = new Set<number>();
  const { core } = compute;
  const { kernels } = core;
  const assignmentOpen: CoreKernels['assignmentOpen'] = (scratchPtr, matrixPtr, rows, ...rest) => {
    if (!saved.has(step) && gradientSteps.some((wanted) => wanted === step)) {
      saved.add(step);
      writeFileSync(pathOf(width, step), core.u8(matrixPtr, rows * rows * 4));
    }
    kernels.assignmentOpen(scratchPtr, matrixPtr, rows, ...rest);
  };
  Object.defineProperty(core, 'kernels', { value: { ...kernels, assignmentOpen } });
  await transfer({
    source: source.trajectory, target, data, method: 'fgmt', steps: STEPS, seed: 3, compute,
    onProgress: ({ done }) => {
      step = done + 1;
    },
  });
}
