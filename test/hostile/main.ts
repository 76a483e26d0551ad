/**
 * npm run -s hostile -- INDEX.tsv --runtime node|deno|bun|workerd [--json]
 * Reads every file of the index in that runtime; a line a file; exit status 1 when a verdict, the time or the memory
 * falls short, 2 when the call itself is wrong.
 */
import { parseArgs } from 'node:util';
import { formatTable } from '../../src/report/table.ts';
import { type Host, hostStatus, isHost } from '../hosts/launch.ts';
import { type Judgement, judge } from './judge.ts';

function hostOf(runtime: string): Host {
  if (isHost(runtime)) return runtime;
  // `node` is the one that runs this, where it is of a known line.
  const own = `node${process.versions.node.split('.')[0]}`;
  if (runtime === 'node') return isHost(own) ? own : 'node24';
  throw new Error(`--runtime: expected node, node20, node22, node24, deno, bun, workerd or chromium, got ${JSON.stringify(runtime)}`);
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { runtime: { type: 'string', default: 'node' }, json: { type: 'boolean', default: false } },
  });
  if (positionals.length !== 1) throw new Error('usage: hostile INDEX.tsv [--runtime node|deno|bun|workerd] [--json]');
  const host = hostOf(values.runtime);
  const status = hostStatus(host);
  if (!status.available) throw new Error(`${host} is not here: ${status.reason}`);
  const print = ({ message, ...line }: Judgement): void =>
    console.log(JSON.stringify({ runtime: values.runtime, ...line, ...(line.pass ? {} : { message }) }));
  const results = await judge(positionals[0] as string, host, values.json ? print : undefined);
  const failed = results.filter(({ pass }) => !pass);
  if (!values.json) {
    const rows = results.map(({ path, class: kind, verdict, error, milliseconds, megabytes, pass }) => [
      path,
      kind,
      `${verdict}${error === undefined ? '' : ` (${error})`}`,
      milliseconds.toFixed(1),
      megabytes === null ? '?' : megabytes.toFixed(1),
      pass ? 'ok' : 'FAILED',
    ]);
    const columns = ['file', 'class', 'verdict', 'ms', 'MB', ''].map((title, i) => ({
      title,
      align: i === 3 || i === 4 ? ('right' as const) : ('left' as const),
    }));
    process.stdout.write(formatTable(columns, rows));
    for (const { path, message } of failed) console.log(`${path}: ${message ?? 'accepted'}`);
    console.log(`${results.length - failed.length} passed, ${failed.length} failed`);
  }
  return failed.length === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exit(2);
  },
);
