/** Every command, for tests that walk their options: `main.ts`, which lists them, runs when it is imported. */
import type { Command } from '../../src/cli/command.ts';
import { convertCommand } from '../../src/cli/commands/convert.ts';
import { demo } from '../../src/cli/commands/demo.ts';
import { download } from '../../src/cli/commands/download.ts';
import { evaluateCommand } from '../../src/cli/commands/evaluate.ts';
import { inspect } from '../../src/cli/commands/inspect.ts';
import { packCommand } from '../../src/cli/commands/pack.ts';
import { planCommand } from '../../src/cli/commands/plan.ts';
import { trainCommand } from '../../src/cli/commands/train.ts';
import { transferCommand } from '../../src/cli/commands/transfer.ts';
import { verifyCommand } from '../../src/cli/commands/verify.ts';

export const commands: readonly Command[] = [
  demo, trainCommand, transferCommand, evaluateCommand, inspect, verifyCommand, planCommand, packCommand, convertCommand, download,
];
