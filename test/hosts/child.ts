/** A child process of a host: killed for sure, and its last words kept for the message when it crashes. */
import { spawn } from 'node:child_process';
import type { ChildProcess, SpawnOptions } from 'node:child_process';

export interface Child {
  readonly process: ChildProcess;
  /** Resolves with a description once the process has ended. */
  readonly ended: Promise<string>;
  kill(): Promise<void>;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export function startChild(binary: string, args: readonly string[], options: SpawnOptions): Child {
  const child = spawn(binary, args, options);
  running.add(child);
  let words = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-4000);
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => {
      running.delete(child);
      resolve(`does not start: ${error.message}`);
    });
    child.once('close', (status, signal) => {
      running.delete(child);
      resolve(`ended with ${signal ?? `exit status ${status}`}${words === '' ? '' : `\n${words.trimEnd()}`}`);
    });
  });
  return {
    process: child,
    ended,
    async kill() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await ended;
    },
  };
}
