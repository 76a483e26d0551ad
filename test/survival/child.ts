// The command line as it is, in a process that can kill itself at any call on its files.
// node child.mjs '{"killAt":12,"half":true}' train --data …
import { readFileSync, writeSync } from 'node:fs';
import process from 'node:process';
import { replaceFileSystem } from '../../src/cli/file-system.node.ts';
import { changing, interposed } from './disk.ts';

/** What the process is to suffer. */
export interface Plan {
  /** The call, counted from 1, at which it is killed: before it, or with `half` of a write done. */
  readonly killAt?: number;
  readonly half?: boolean;
}

const [, , planText, ...argv] = process.argv;
const plan = JSON.parse(planText as string) as Plan;
const say = (event: object): void => void writeSync(1, `${JSON.stringify(event)}\n`);

const calls: string[] = [];
let pending: string | undefined;
replaceFileSystem((real) => {
  const die = (): never => {
    process.kill(process.pid, 'SIGKILL');
    for (;;);
  };
  const deadly = interposed(real, changing, (name, args) => {
    if (calls.push(name) !== plan.killAt) return undefined;
    if (plan.half !== true) return die();
    if (name !== 'write') return undefined;
    const [file, bytes, offset, length] = args as [number, Uint8Array, number, number];
    real.write(file, bytes, offset, length >> 1);
    return die();
  });
  return {
    ...deadly,
    rename: (from, to) => {
      deadly.rename(from, to);
      if (to.endsWith('.resume')) pending = to;
    },
    // A point counts once its directory is synced too.
    sync: (file) => {
      deadly.sync(file);
      if (pending === undefined) return;
      say({ event: 'committed', done: Number(/"done":"(\d+)"/.exec(readFileSync(pending).subarray(0, 4096).toString('latin1'))?.[1]) });
      pending = undefined;
    },
  };
});
process.on('exit', () => say({ event: 'calls', calls }));
process.argv = [process.argv[0] as string, 'trajport', ...argv];
await import('../../src/cli/main.ts');
