/** Headless Chromium: a page served from a loopback server, which it asks for work and posts results to. */
import { mkdtempSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HostBundle } from './bundle.ts';
import { startChild } from './child.ts';
import { HostFailure } from './failure.ts';
import type { Transport } from './failure.ts';
import type { Host } from './hosts.ts';

const PAGE = '<!doctype html><meta charset="utf-8"><title>trajport</title><script type="module" src="/entry.mjs"></script>';

export async function startPage(host: Host, binary: string, bundle: HostBundle): Promise<Transport> {
  const folder = mkdtempSync(join(tmpdir(), `trajport-${host}-`));
  let waiting: ServerResponse | undefined; // the page's open question for work
  let queued: string | undefined;
  let deliver: ((text: string) => void) | undefined;

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    switch (request.url) {
      case '/':
        response.setHeader('content-type', 'text/html').end(PAGE);
        return;
      case '/entry.mjs':
        response.setHeader('content-type', 'text/javascript').end(bundle.code);
        return;
      case '/next':
        request.resume();
        if (queued === undefined) waiting = response;
        else response.end(queued);
        queued = undefined;
        return;
      case '/response': {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        response.end();
        deliver?.(Buffer.concat(chunks).toString('utf8'));
        return;
      }
      default:
        response.statusCode = 404;
        response.end();
    }
  };
  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const child = startChild(
    binary,
    [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-hang-monitor', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', '--mute-audio',
      `--user-data-dir=${join(folder, 'profile')}`, `http://127.0.0.1:${port}/`,
    ],
    { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  return {
    folder,
    async kill() {
      await child.kill();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
    send(requestText) {
      const answered = new Promise<string>((resolve) => {
        deliver = resolve;
      });
      if (waiting === undefined) queued = requestText;
      else waiting.end(requestText);
      waiting = undefined;
      const crashed = child.ended.then((how) => Promise.reject(new HostFailure(host, 'crash', how)));
      return Promise.race([answered, crashed]);
    },
  };
}
