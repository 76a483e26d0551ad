/** Runs test/portable in every runtime. A runtime that is not here is skipped in plain sight; in CI that is a failure. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PortableReport } from '../portable/suite.ts';
import { registry } from '../portable/suite.ts';
import { hostStatus, hosts, requireAllHosts, runInHost } from './launch.ts';
import type { Host } from './launch.ts';
import { root } from './root.ts';

const runtimeNames = {
  node20: 'node',
  node22: 'node',
  node24: 'node',
  deno: 'deno',
  bun: 'bun',
  workerd: 'workerd',
  chromium: 'browser',
} as const;
const reports = new Map<Host, PortableReport>();

describe.each(hosts)('%s', (host) => {
  const status = hostStatus(host);
  if (!status.available) {
    const title = `SKIPPED: ${host} is not here: ${status.reason}`;
    if (requireAllHosts) it(title, () => expect.unreachable(title));
    else {
      process.stderr.write(`${title}\n`);
      it.skip(title, () => undefined);
    }
    return;
  }

  beforeAll(async () => {
    reports.set(host, (await runInHost(host, join(root, 'test', 'portable', 'suite.ts'), null)) as PortableReport);
  });

  it('is the runtime it claims to be', () => {
    const { name, version } = reports.get(host)?.runtime ?? { name: 'none', version: '' };
    expect(name).toBe(runtimeNames[host]);
    // Browsers freeze the minor version in what they tell pages; workerd tells none.
    if (host === 'chromium') expect(version.split('.')[0]).toBe(status.version.split('.')[0]);
    else if (host !== 'workerd') expect(version).toBe(status.version);
  });

  it.each(registry.map((test) => test.name))('%s', (name) => {
    const result = reports.get(host)?.results.find((candidate) => candidate.name === name);
    expect(result).toEqual({ name });
  });
});

describe('the same bytes in every runtime', () => {
  const labels = new Set<string>();
  beforeAll(() => {
    for (const report of reports.values()) for (const label of Object.keys(report.fingerprints)) labels.add(label);
  });
  it('of every fingerprint', () => {
    expect(labels.size).toBeGreaterThan(0);
    for (const label of labels) {
      const byHash = new Map<string | undefined, Host[]>();
      for (const [host, report] of reports) {
        const hash = report.fingerprints[label];
        byHash.set(hash, [...(byHash.get(hash) ?? []), host]);
      }
      expect([...byHash.values()], `${label}: groups of runtimes that agree`).toEqual([[...reports.keys()]]);
    }
  });
});

afterAll(() => {
  const ran = [...reports.keys()].map((host) => {
    const status = hostStatus(host);
    return `${host} ${status.available ? status.version : ''}`;
  });
  process.stderr.write(`portable suite ran in: ${ran.join(', ') || 'no runtime'}\n`);
});
