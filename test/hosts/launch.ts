/**
 * Runs a piece of code in any of the promised runtimes: the one launcher behind the portable suite, the identity
 * command, the hostile command and the Worker example.
 *
 *     const output = await runInHost('deno', '/path/of/entry.ts', { some: 'input' });   // entry.ts exports run(input)
 */
import { rmSync } from 'node:fs';
import { bundleForHost } from './bundle.ts';
import { hostStatus } from './hosts.ts';
import type { Host } from './hosts.ts';
import { HostFailure } from './failure.ts';
import type { Transport } from './failure.ts';
import { startPage } from './page-host.ts';
import { startProcess } from './process-host.ts';
import { READY, decode, encode } from './wire.ts';
import type { WireResponse, WireValue } from './wire.ts';
import { startWorkerd } from './workerd-host.ts';

export { availableHosts, hosts, hostStatus, isHost, requireAllHosts } from './hosts.ts';
export type { Host, HostStatus } from './hosts.ts';
export { HostFailure } from './failure.ts';
export type { WireError, WireValue } from './wire.ts';

/** A host that has not loaded the entry by then will not (cold start of Chromium on a busy machine: about 3 s). */
const START_TIMEOUT_MS = 60_000;

export interface HostOptions {
  /** Milliseconds for one call before the host is killed and `HostFailure` of kind `timeout` thrown. Default 120 000. */
  readonly timeoutMs?: number;
}

/** A running host that answers calls one after another. After a timeout or a crash the next call starts it afresh. */
export interface HostSession extends AsyncDisposable {
  readonly host: Host;
  readonly version: string;
  /** Its scratch folder, gone when the session is closed. */
  readonly folder: string | undefined;
  /** Milliseconds from the start of the process until the entry was loaded, the last time. */
  readonly startMs: number;
  /** @throws HostFailure of kind `threw`, `timeout` or `crash`. */
  call(input: WireValue, options?: HostOptions): Promise<unknown>;
  close(): Promise<void>;
}

/**
 * @param entry absolute path of a TypeScript or JavaScript file that exports `run(input): Promise<output>`; input and
 *   output are JSON, Uint8Arrays, NaN and infinities.
 * @throws HostFailure of kind `absent` when the host is not installed.
 */
export async function openHost(host: Host, entry: string, options: HostOptions = {}): Promise<HostSession> {
  const status = hostStatus(host);
  if (!status.available) throw new HostFailure(host, 'absent', status.reason);
  const bundle = await bundleForHost(host, entry);
  let transport: Transport | undefined;
  let startMs = 0;
  let nextId = READY + 1;

  const exchange = async (to: Transport, id: number, input: WireValue, timeoutMs: number): Promise<WireResponse> => {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new HostFailure(host, 'timeout', `no answer within ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return decode(await Promise.race([to.send(encode({ id, input })), timeout])) as WireResponse;
    } catch (cause) {
      await stop();
      throw cause;
    } finally {
      clearTimeout(timer);
    }
  };
  const start = async (): Promise<Transport> => {
    const startedAt = performance.now();
    const launch = host === 'workerd' ? startWorkerd : host === 'chromium' ? startPage : startProcess;
    transport = await launch(host, status.binary, bundle);
    await exchange(transport, READY, null, START_TIMEOUT_MS);
    startMs = performance.now() - startedAt;
    return transport;
  };
  const stop = async (): Promise<void> => {
    const stopping = transport;
    transport = undefined;
    if (stopping === undefined) return;
    await stopping.kill();
    rmSync(stopping.folder, { recursive: true, force: true, maxRetries: 5 });
  };

  await start();
  return {
    host,
    version: status.version,
    get folder() {
      return transport?.folder;
    },
    get startMs() {
      return startMs;
    },
    async call(input, callOptions = {}) {
      const timeoutMs = callOptions.timeoutMs ?? options.timeoutMs ?? 120_000;
      const response = await exchange(transport ?? (await start()), nextId++, input, timeoutMs);
      if ('error' in response) throw new HostFailure(host, 'threw', response.error.message, response.error);
      return response.output;
    },
    close: stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** One call in a host that is started and stopped for it. */
export async function runInHost(host: Host, entry: string, input: WireValue, options: HostOptions = {}): Promise<unknown> {
  const session = await openHost(host, entry, options);
  try {
    return await session.call(input);
  } finally {
    await session.close();
  }
}
