/**
 * npm run -s leak [-- --n 1000] [--json]: transfers in one process, exit status 1 where one leaves something behind
 * or less of the WebAssembly heap is free than before.
 */
import { parseArgs } from 'node:util';
import { transferManyTimes } from './leak.ts';

const { values: options } = parseArgs({ options: { n: { type: 'string', default: '1000' }, json: { type: 'boolean', default: false } } });
const transfers = Number(options.n);
if (!Number.isInteger(transfers) || transfers < 1) {
  console.error(`--n: expected an integer ≥ 1, got ${options.n}`);
  process.exit(2);
}
try {
  const result = await transferManyTimes(transfers);
  if (options.json) console.log(JSON.stringify({ ...result, pass: true }));
  else
    console.log(
      `${transfers} transfers after ${result.warmUp}: no tensor or allocation left, ${result.freeBytes} bytes of the WebAssembly heap ` +
      `free throughout, JavaScript heap ${result.jsDriftBytes} bytes more`,
    );
} catch (error) {
  if (options.json) console.log(JSON.stringify({ transfers, pass: false, error: String(error) }));
  else console.error(String(error));
  process.exitCode = 1;
}
