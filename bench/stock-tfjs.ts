/**
 * Stock tfjs-backend-wasm as published, in the same process: the yardstick of bench/gradient.ts. Bundled with tfjs-core
 * and all its gradients, which tfjs-core does not register by itself.
 */
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import type * as Core from '@tensorflow/tfjs-core';

export type StockTfjs = typeof Core & { setWasmPaths(folder: string): void };

export async function openStockTfjs(): Promise<StockTfjs> {
  const outfile = join(process.cwd(), 'build', 'stock-tfjs', `${process.pid}.cjs`);
  mkdirSync(dirname(outfile), { recursive: true });
  await build({
    stdin: {
      contents:
        "export * from '@tensorflow/tfjs-core'; export { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'; import " +
        "'@tensorflow/tfjs-core/dist/register_all_gradients';",
      resolveDir: process.cwd(),
    },
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    mainFields: ['module', 'main'],
    logLevel: 'error',
  });
  const require = createRequire(import.meta.url);
  const tf = require(outfile) as StockTfjs;
  tf.setWasmPaths(`${join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist')}/`);
  await tf.setBackend('wasm');
  await tf.ready();
  if (tf.getBackend() !== 'wasm') throw new Error('stock tfjs-backend-wasm did not load');
  return tf;
}
