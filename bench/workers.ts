/**
 * npm run -s bench:workers [-- --host NAME …] [--training | --transfer] [--json]
 *
 * A gradient of Conv8 at full width (128 images in micro-batches of 16) in two workers against one, in every runtime
 * that has workers; wall time, in turn, on a machine with at least two free cores; with --training four steps of its
 * training, optimiser and copies of the state included. Bars: 1.8 times as fast, and one SHA-256 in all. Beside it what
 * there is to reach: how much faster two whole ones are at once, which share nothing but the machine, than one after
 * the other. With --transfer an FGMT transfer of ResNet-18 of a fourth of its width, matching and all, without a bar of speed.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleModule } from '../test/hosts/bundle.ts';
import { hostStatus, hosts, runInHost } from '../test/hosts/launch.ts';
import { machine, median } from './measure.ts';
import type { WorkersMeasurement } from './workers-job.ts';

const BAR = 1.8;
const root = process.cwd();
const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    training: { type: 'boolean', default: false },
    transfer: { type: 'boolean', default: false },
    host: { type: 'string', multiple: true },
  },
});
const what = options.transfer ? 'transfer' : options.training ? 'training' : 'gradient';
const chosen = hosts.filter((host) => host !== 'workerd' && (options.host?.includes(host) ?? true));
let first: string | undefined;
let short = false;

if (options.json) console.log(JSON.stringify({ bench: 'machine', ...machine() }));
else console.log(Object.entries(machine()).map(([name, value]) => `${name} ${value}`).join(', '));
for (const host of chosen) {
  const status = hostStatus(host);
  if (!status.available) continue;
  const node = host.startsWith('node');
  const { code } = await bundleModule(host, join(root, 'test', 'hosts', 'fixtures', `gradient-worker.${node ? 'node' : 'web'}.ts`));
  const { oneMs, twoMs, bothMs, sha256 } = (await runInHost(host, join(root, 'bench', 'workers-job.ts'), {
    code,
    node,
    rounds: what === 'gradient' ? 3 : 2,
    what,
  })) as WorkersMeasurement;
  first ??= sha256[0];
  const ratio = median(oneMs.map((ms, i) => ms / (twoMs[i] as number)));
  const ceiling = median(oneMs.map((ms, i) => (2 * ms) / (bothMs[i] as number)));
  const same = sha256.every((hash) => hash === first);
  const pass = (what === 'transfer' || ratio >= BAR) && same;
  short ||= !pass;
  const record = {
    bench: 'workers', what, host, version: status.version, oneMs: median(oneMs),
    twoMs: median(twoMs), ratio, ...(what === 'transfer' ? {} : { bar: BAR, ceiling }), sameBytes: same, sha256: sha256[0], pass,
  };
  if (options.json) console.log(JSON.stringify(record));
  else
    console.log(
      `${host.padEnd(9)} one ${record.oneMs.toFixed(0)} ms  two ${record.twoMs.toFixed(0)} ms  ${ratio.toFixed(2)} ×` +
      `${what === 'transfer' ? '' : ` (bar ${BAR}, two at once ${ceiling.toFixed(2)})`}  bytes ${same ? 'equal' : 'DIFFER'}  ` +
      `${pass ? 'pass' : 'SHORT'}`,
    );
}
if (short) process.exitCode = 1;
