/** The portable suite: every file of it, and the entry that the launcher runs in each host. */
import './adapter.ts';
import './assignment.ts';
import './bundle.ts';
import './codings.ts';
import './core.ts';
import './foreign.ts';
import './gradient.ts';
import './matching.ts';
import './matmul.ts';
import './random.ts';
import './relaxed.ts';
import './safetensors.ts';
import './transfer.ts';
import { fingerprints, runAll } from './harness.ts';
import type { PortableResult } from './harness.ts';
import { detectRuntime } from './runtime.ts';
import type { Runtime } from './runtime.ts';

export { registry } from './harness.ts';

export interface PortableReport {
  readonly runtime: Runtime;
  readonly results: readonly PortableResult[];
  readonly fingerprints: Readonly<Record<string, string>>;
}

export async function run(): Promise<PortableReport> {
  const results = await runAll();
  return { runtime: detectRuntime(), results, fingerprints };
}
