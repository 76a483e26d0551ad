/** Node, Deno and Bun: a child process that reads requests on stdin. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HostBundle } from './bundle.ts';
import { startChild } from './child.ts';
import { HostFailure } from './failure.ts';
import type { Transport } from './failure.ts';
import type { Host } from './hosts.ts';

const MARK = 'trajport ';

export async function startProcess(host: Host, binary: string, bundle: HostBundle): Promise<Transport> {
  const folder = mkdtempSync(join(tmpdir(), `trajport-${host}-`));
  const file = join(folder, 'entry.mjs');
  writeFileSync(file, bundle.code);
  // Deno gets no permission at all: what runs here needs no files, no network and no environment.
  const args = host === 'deno' ? ['run', '--no-config', '--no-lock', '--no-remote', '--no-prompt', file] : [file];
  const child = startChild(binary, args, {
    cwd: folder,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: folder, DENO_NO_UPDATE_CHECK: '1', DENO_DIR: join(folder, 'deno'), NO_COLOR: '1' },
  });
  const { stdin, stdout } = child.process;
  if (stdin === null || stdout === null) throw new Error('stdio was asked to be piped');
  stdin.on('error', () => undefined); // a crash is reported by `ended`

  let buffered = '';
  let deliver: ((text: string) => void) | undefined;
  stdout.setEncoding('utf8').on('data', (text: string) => {
    buffered += text;
    for (let end = buffered.indexOf('\n'); end >= 0; end = buffered.indexOf('\n')) {
      const line = buffered.slice(0, end);
      buffered = buffered.slice(end + 1);
      if (line.startsWith(MARK)) deliver?.(line.slice(MARK.length));
    }
  });
  return {
    folder,
    kill: child.kill,
    send(requestText) {
      const answered = new Promise<string>((resolve) => {
        deliver = resolve;
      });
      stdin.write(`${requestText}\n`);
      const crashed = child.ended.then((how) => Promise.reject(new HostFailure(host, 'crash', how)));
      return Promise.race([answered, crashed]);
    },
  };
}
