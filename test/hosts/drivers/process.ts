/** Runs the entry in Node, Deno or Bun: a request a line on stdin, a marked response a line on stdout. */
import { answer } from '../wire.ts';
import { run } from 'trajport:entry';

// stdout carries responses only; what the entry prints goes to stderr, which the launcher shows when a host crashes.
console.log = console.info = console.debug = (...items: unknown[]) => console.error(...items);

let buffered = '';
process.stdin.setEncoding('utf8');
for await (const chunk of process.stdin) {
  buffered += chunk as string;
  for (let end = buffered.indexOf('\n'); end >= 0; end = buffered.indexOf('\n')) {
    const line = buffered.slice(0, end);
    buffered = buffered.slice(end + 1);
    process.stdout.write(`trajport ${await answer(run, line)}\n`);
  }
}
