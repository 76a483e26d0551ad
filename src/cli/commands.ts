/** Every command, in the order of the overview; apart from main.ts, which runs when it is imported. */
import type { Command } from './command.ts';
import { convertCommand } from './commands/convert.ts';
import { demo } from './commands/demo.ts';
import { download } from './commands/download.ts';
import { evaluateCommand } from './commands/evaluate.ts';
import { inspect } from './commands/inspect.ts';
import { packCommand } from './commands/pack.ts';
import { planCommand } from './commands/plan.ts';
import { trainCommand } from './commands/train.ts';
import { transferCommand } from './commands/transfer.ts';
import { verifyCommand } from './commands/verify.ts';

export const commands: readonly Command[] = [
  demo, trainCommand, transferCommand, evaluateCommand, inspect, verifyCommand, planCommand, packCommand, convertCommand, download,
];
