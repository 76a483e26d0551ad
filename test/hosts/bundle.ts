/** Bundles an entry and the driver of a host into what that host loads. */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import type { Plugin } from 'esbuild';
import type { Host } from './hosts.ts';
import { root } from './root.ts';

export interface HostBundle {
  /** One ES module. */
  readonly code: string;
  /** workerd only: the static WebAssembly modules it imports, by specifier (`./core.wasm`). */
  readonly wasm: ReadonlyMap<string, Uint8Array>;
}

const drivers = { workerd: 'workerd.ts', chromium: 'page.ts' } as const;

/**
 * @param entry absolute path of a file that exports `run(input): Promise<output>`. It may import anything of src/;
 *   `#wasm` becomes static modules in workerd and inlined bytes elsewhere.
 */
export async function bundleForHost(host: Host, entry: string, options: { readonly minify?: boolean } = {}): Promise<HostBundle> {
  const driver = host === 'workerd' || host === 'chromium' ? drivers[host] : 'process.ts';
  return bundleModule(host, join(root, 'test', 'hosts', 'drivers', driver), { ...options, entry });
}

/** Bundles a module that brings its own surface (a Worker's default export, say) for a host. */
export async function bundleModule(
  host: Host,
  file: string,
  options: { readonly entry?: string; readonly minify?: boolean } = {},
): Promise<HostBundle> {
  const wasm = new Map<string, Uint8Array>();
  const plugin: Plugin = {
    name: 'host',
    setup(pipeline) {
      pipeline.onResolve({ filter: /^trajport:entry$/ }, () => ({ path: options.entry ?? file }));
      pipeline.onResolve({ filter: /\.wasm$/ }, (args) => {
        const specifier = `./${basename(args.path)}`;
        wasm.set(specifier, readFileSync(join(args.resolveDir, args.path)));
        return { path: specifier, external: true };
      });
    },
  };
  const result = await build({
    // Not that of a folder of its own (examples/worker), which knows nothing of src.
    tsconfig: join(root, 'tsconfig.json'),
    absWorkingDir: root,
    entryPoints: [file],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    target: 'es2022',
    conditions: host === 'workerd' ? ['workerd'] : [],
    external: ['node:*', 'cloudflare:*'],
    keepNames: options.minify !== true,
    minify: options.minify === true,
    // The entry may stand outside the tree (a scratch file of a test); its packages are ours all the same.
    nodePaths: [join(root, 'node_modules')],
    plugins: [plugin],
    logLevel: 'silent',
  });
  const output = result.outputFiles[0];
  if (output === undefined) throw new Error(`esbuild gave no output for ${file}`);
  return { code: output.text, wasm };
}
