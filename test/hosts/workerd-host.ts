/** workerd itself, without a simulator around it: the entry and its WebAssembly are static modules of one worker. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { HostBundle } from './bundle.ts';
import { startChild } from './child.ts';
import { HostFailure } from './failure.ts';
import type { Transport } from './failure.ts';
import type { Host } from './hosts.ts';
import { root } from './root.ts';

/** The behaviour that a deployed Worker has: date and flags of the example. */
const settings = readFileSync(join(root, 'examples', 'worker', 'wrangler.toml'), 'utf8');
const COMPATIBILITY_DATE = /^compatibility_date = "(.*)"$/m.exec(settings)?.[1];
const COMPATIBILITY_FLAGS = /^compatibility_flags = (\[.*\])$/m.exec(settings)?.[1];

export async function startWorkerd(host: Host, binary: string, bundle: HostBundle): Promise<Transport> {
  const server = await serveWorker(host, binary, bundle);
  return {
    folder: server.folder,
    kill: server.kill,
    async send(requestText) {
      const crashed = server.ended.then((how) => Promise.reject(new HostFailure(host, 'crash', how)));
      const answered = fetch(server.url, { method: 'POST', body: requestText }).then(async (response) => {
        const text = await response.text();
        // An exception outside `answer` (the module failed to load, the isolate ran out of memory) is a bare 500.
        if (!response.ok) throw new HostFailure(host, 'crash', `HTTP ${response.status} ${text}`);
        return text;
      });
      return Promise.race([answered, crashed]);
    },
  };
}

export interface WorkerServer {
  readonly url: string;
  readonly folder: string;
  readonly ended: Promise<string>;
  kill(): Promise<void>;
}

/**
 * Serves a bundled Worker on a free port of the loopback address.
 * @param r2 address of a server that answers for the R2 bucket bound as `BUCKET`.
 */
export async function serveWorker(host: Host, binary: string, bundle: HostBundle, r2?: string): Promise<WorkerServer> {
  const folder = mkdtempSync(join(tmpdir(), `trajport-${host}-`));
  writeFileSync(join(folder, 'entry.mjs'), bundle.code);
  const modules = ['(name = "entry.mjs", esModule = embed "entry.mjs")'];
  for (const [specifier, bytes] of bundle.wasm) {
    const name = basename(specifier);
    writeFileSync(join(folder, name), bytes);
    modules.push(`(name = "${name}", wasm = embed "${name}")`);
  }
  writeFileSync(
    join(folder, 'config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (
    modules = [${modules.join(', ')}],
    compatibilityDate = "${COMPATIBILITY_DATE}", compatibilityFlags = ${COMPATIBILITY_FLAGS},${r2 === undefined
      ? ''
      : '\n    bindings = [(name = "BUCKET", r2Bucket = "r2")],'}
  ))${r2 === undefined ? '' : `, (name = "r2", external = (address = "${r2}", http = ()))`}],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
`,
  );
  const child = startChild(binary, ['serve', 'config.capnp', '--control-fd=3'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] },
  });
  const control = child.process.stdio[3] as Readable;
  const listening = new Promise<number>((resolve) => {
    let text = '';
    control.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      for (const line of text.split('\n')) {
        const port = /"event":"listen".*"port":(\d+)/.exec(line)?.[1];
        if (port !== undefined) resolve(Number(port));
      }
    });
  });
  const failed = child.ended.then((how) => Promise.reject(new HostFailure(host, 'crash', how)));
  const port = await Promise.race([listening, failed]);
  return { url: `http://127.0.0.1:${port}/`, folder, ended: child.ended, kill: child.kill };
}
