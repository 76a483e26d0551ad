/**
 * `npm run -s identity`: the whole way in every runtime, one SHA-256 a network, compared with the committed one.
 *   --json            one JSON object a line: runtime, version, network, sha256, milliseconds, pass
 *   --host NAME, --network NAME   only these (may be repeated)
 *   --update          write what Node 20 gives to test/identity/expected.json; the others must still agree with it
 * Exit status 1 when a hash differs, a run fails, or (TRAJPORT_REQUIRE_ALL_HOSTS=1) a runtime is absent.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { hostStatus, hosts, isHost, openHost, requireAllHosts } from '../hosts/launch.ts';
import type { Host, HostSession } from '../hosts/launch.ts';
import { root } from '../hosts/root.ts';
import type { IdentityResult } from './job.ts';
import { networks } from './networks.ts';

const expectedFile = join(root, 'test', 'identity', 'expected.json');

interface Line {
  readonly runtime: Host;
  readonly version: string | null;
  readonly network: string;
  readonly sha256: string | null;
  readonly milliseconds: number | null;
  readonly pass: boolean;
  /** Why there is no hash, or where the first difference is. */
  readonly note?: string;
}

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    update: { type: 'boolean', default: false },
    host: { type: 'string', multiple: true },
    network: { type: 'string', multiple: true },
  },
});
const chosenHosts = options.host?.map(requireHost) ?? hosts;
const chosenNetworks = options.network ?? networks;
const expected = JSON.parse(readFileSync(expectedFile, 'utf8')) as Record<string, IdentityResult>;
let failed = false;

if (!options.json) console.log(row('runtime', 'version', 'network', 'ms', 'SHA-256'));
for (const host of chosenHosts) {
  const status = hostStatus(host);
  if (!status.available) {
    for (const network of chosenNetworks) {
      report({
        runtime: host,
        version: null,
        network,
        sha256: null,
        milliseconds: null,
        pass: !requireAllHosts,
        note: `SKIPPED: ${status.reason}`,
      });
    }
    continue;
  }
  let session: HostSession | undefined;
  try {
    for (const network of chosenNetworks) {
      const line = { runtime: host, version: status.version, network };
      try {
        session ??= await openHost(host, join(root, 'test', 'identity', 'job.ts'), { timeoutMs: 300_000 });
        const started = performance.now();
        const result = (await session.call({ network })) as IdentityResult;
        const milliseconds = Math.round(performance.now() - started);
        if (options.update && host === chosenHosts[0]) expected[network] = result;
        const note = firstDifference(result, expected[network]);
        report({ ...line, sha256: result.sha256, milliseconds, pass: note === undefined, ...(note === undefined ? {} : { note }) });
      } catch (thrown) {
        report({ ...line, sha256: null, milliseconds: null, pass: false, note: String(thrown) });
      }
    }
  } finally {
    await session?.close();
  }
}
if (options.update) writeFileSync(expectedFile, `${JSON.stringify(expected, null, 2)}\n`);
if (failed) {
  console.error('Not identical. If the change is meant: npm run -s identity -- --update, and say why in the commit.');
  process.exitCode = 1;
}

function report(line: Line): void {
  if (!line.pass) failed = true;
  if (options.json) {
    console.log(JSON.stringify(line));
  } else {
    console.log(row(line.runtime, line.version ?? '–', line.network, String(line.milliseconds ?? '–'), line.sha256 ?? '–'));
    if (line.note !== undefined) console.log(`    ${line.note}`);
  }
}

function firstDifference(got: IdentityResult, wanted: IdentityResult | undefined): string | undefined {
  if (wanted === undefined) return 'no committed value';
  if (got.sha256 === wanted.sha256) return undefined;
  const part = Object.keys(got.parts).find((name) => got.parts[name] !== wanted.parts[name]);
  return `differs from the committed value, first in: ${part ?? 'the set of parts'}`;
}

function requireHost(name: string): Host {
  if (isHost(name)) return name;
  console.error(`--host: expected one of ${hosts.join(', ')}, got ${name}`);
  process.exit(2);
}

function row(...cells: [string, string, string, string, string]): string {
  const [runtime, version, network, ms, sha256] = cells;
  return `${runtime.padEnd(9)} ${version.padEnd(14)} ${network.padEnd(7)} ${ms.padStart(6)}  ${sha256}`;
}
