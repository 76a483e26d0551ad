// The commands `train` and `transfer` in this process, as the command line runs them, with everything they say kept.
import process from 'node:process';
import { parseArguments } from '../../src/cli/arguments.ts';
import { claimsOf } from '../../src/cli/claims.node.ts';
import { globalOptionsOf } from '../../src/cli/command.ts';
import type { Command } from '../../src/cli/command.ts';
import { trainCommand } from '../../src/cli/commands/train.ts';
import { transferCommand } from '../../src/cli/commands/transfer.ts';
import { removeLeftovers } from '../../src/cli/leftovers.node.ts';
import { Output } from '../../src/cli/output.ts';
import type { Compute } from '../../src/index.ts';

const commands = { train: trainCommand as Command, transfer: transferCommand as Command };

export interface Outcome {
  /** What it threw; undefined where it came to its end. */
  readonly error: unknown;
  readonly warnings: string;
}

/** Runs one command line in `directory` to its end, and then does what the end of a process does. */
export async function runHere(
  [name, ...argv]: readonly string[],
  directory: string,
  compute: Compute,
  signal = new AbortController().signal,
): Promise<Outcome> {
  const command = commands[name as keyof typeof commands];
  const { values, positionals } = parseArguments(argv, { ...command.options, ...globalOptionsOf(command) });
  let warnings = '';
  const silent = { write: () => true };
  const output = new Output({
    stdout: silent,
    stderr: { write: (text) => (warnings += text) },
    json: true,
    quiet: true,
    identical: true,
    environment: {},
    now: () => 0,
  });
  const back = process.cwd();
  process.chdir(directory);
  try {
    using claims = claimsOf(command, values, positionals);
    await command.run({ ...claims, output, signal, compute: async () => compute, whenInterrupted: () => {} }, values as never, positionals);
    return { error: undefined, warnings };
  } catch (error) {
    return { error, warnings };
  } finally {
    process.chdir(directory);
    removeLeftovers();
    process.chdir(back);
  }
}
