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
    const report = (await runInHost(host, join(fixtures, 'gradient-workers.ts'), { code, node })) as WorkersReport;
    const { startsRows, batches, hashes, errors } = report;
    expect(startsRows).toBe(true);
    // Of three pools and two rules: three steps of four batches; three pieces of steps 0 to 3, and of the source where labels are not
    // looked at. Five pieces of an evaluation. The rest are the errors'.
    expect(batches).toEqual({ batchStatistics: 3 * 2 * 3 * 4 + 2, evaluations: 3 * (4 + 5) * 3 + 3 * 5 + 3 });
    expect(Object.keys(hashes)).toEqual([
      'conv in micro-batches',
      'mlp in factors',
      'language model',
      'resnet',
      'transfer',
      'batch norms, held-out',
      'batch norms, label-free',
      'evaluation',
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
    expect(errors[4]).toMatch(/^InvalidArgumentError: batch.labels\[0\]: expected a class below 5/);
    expect(errors[5]).toMatch(/^InvalidArgumentError: options.factored\[0\]: /);
    expect(errors[6]).toMatch(/^InvalidArgumentError: workers: expected an open pool/);
    expect(errors[7]).toMatch(/^KernelError: workers\[\d\]: expected a worker that answers, got the end of its pool/);
  });
});
