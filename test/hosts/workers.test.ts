/** Gradients in workers: one SHA-256 without, with one, two and three, in every runtime that has workers. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundleModule } from './bundle.ts';
import type { WorkersReport } from './fixtures/gradient-workers.ts';
import { hostStatus, hosts, requireAllHosts, runInHost } from './launch.ts';
import { root } from './root.ts';

const fixtures = join(root, 'test', 'hosts', 'fixtures');
const seen = new Map<string, string>();

describe.each(hosts.filter((host) => host !== 'workerd'))('%s', (host) => {
  const { available } = hostStatus(host);
  it.skipIf(!available && !requireAllHosts)('gives the same bytes without workers, with one, two and three', async () => {
    const node = host.startsWith('node');
    const { code } = await bundleModule(host, join(fixtures, `gradient-worker.${node ? 'node' : 'web'}.ts`));
    const { startsRows, hashes, errors } = (await runInHost(host, join(fixtures, 'gradient-workers.ts'), { code, node })) as WorkersReport;
    expect(startsRows).toBe(true);
    expect(Object.keys(hashes)).toEqual([
      'conv in micro-batches',
      'mlp in factors',
      'language model',
      'resnet',
      'transfer',
      'training',
      'after errors',
    ]);
    for (const [name, own] of Object.entries(hashes)) {
      const expected = seen.get(name) ?? own[0];
      seen.set(name, expected as string);
      expect(own.length, name).toBeGreaterThanOrEqual(3);
      expect(own, name).toEqual(own.map(() => expected));
    }
    expect(errors[0]).toMatch(/^InvalidArgumentError: batch.labels\[0\]: expected a class below 5/);
    expect(errors[1]).toMatch(/^InvalidArgumentError: options.factored\[0\]: /);
    expect(errors[2]).toMatch(/^InvalidArgumentError: message to workers\[1\]: expected plain records/);
    expect(errors[3]).toMatch(/^InvalidArgumentError: workers\[1\]: expected a Worker of this runtime/);
    expect(errors[4]).toMatch(/^InvalidArgumentError: workers: expected an open pool/);
  });
});
