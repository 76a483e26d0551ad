/** Tells the runtime by what it can and cannot do, so that a suite cannot pass in another one than it claims. */

export interface Runtime {
  readonly name: 'node' | 'deno' | 'bun' | 'workerd' | 'browser';
  /** As the runtime itself says; workerd does not say. */
  readonly version: string;
}

interface Globals {
  readonly process?: { readonly versions?: Record<string, string | undefined>; readonly release?: { readonly name?: string } };
  readonly Deno?: { readonly version: { readonly deno: string } };
  readonly Bun?: { readonly version: string };
  readonly WebSocketPair?: unknown;
  readonly document?: { readonly nodeType: number };
  readonly navigator?: { readonly userAgent: string };
}

export function detectRuntime(): Runtime {
  const g = globalThis as unknown as Globals;
  const found: Runtime[] = [];
  if (g.Deno !== undefined) found.push({ name: 'deno', version: g.Deno.version.deno });
  if (g.Bun !== undefined) found.push({ name: 'bun', version: g.Bun.version });
  // workerd: its own WebSocketPair, and no compiling of WebAssembly from bytes.
  if (g.WebSocketPair !== undefined) found.push({ name: 'workerd', version: '' });
  if (g.document?.nodeType === 9)
    found.push({ name: 'browser', version: /Chrom(?:e|ium)\/([\d.]+)/.exec(g.navigator?.userAgent ?? '')?.[1] ?? '' });
  // Deno, Bun and workerd imitate `process`, so Node is what has it and is none of them.
  const node = g.process?.versions?.['node'];
  if (found.length === 0 && node !== undefined && g.process?.release?.name === 'node') found.push({ name: 'node', version: node });
  const [runtime] = found;
  if (runtime === undefined || found.length > 1) throw new Error(`which runtime is this? ${JSON.stringify(found)}`);
  return runtime;
}
