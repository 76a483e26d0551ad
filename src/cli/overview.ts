/** What `trajport` alone says. */
import { displayWidth, wrapWords } from '../report/text.ts';
import { helpWidth } from './command.ts';
import type { Command } from './command.ts';
import { exitCodes, exitMeanings } from './exit.ts';

export function overview(commands: readonly Command[], version: string, columns: number): string {
  const widest = Math.max(...commands.map(({ name }) => displayWidth(name)));
  const summaries = commands.map(
    ({ name, summary }) =>
      `  ${name.padEnd(widest + 2)}${wrapWords(summary, helpWidth(columns) - widest - 4).join(`\n${' '.repeat(widest + 4)}`)}`,
  );
  return `trajport ${version} · port a fine-tune from one base network to the next without retraining

Try it
  trajport demo                      # everything on generated data, about a minute, nothing to download

A fine-tune of your own, in four lines
  trajport train --data DATA_A --final v1.safetensors
  trajport train --data DATA_A --seed 2 --final v2.safetensors
  trajport train --data DATA_B --initial v1.safetensors --out fine-tune.zip
  trajport transfer fine-tune.zip --target v2.safetensors --zero-head --data DATA_B --out v2-ported.safetensors

Files of PyTorch, Hugging Face, Keras … instead of what train makes; back with transfer --like
  trajport pack v1.pth fine-tuned.pth --model resnet18 --input 3,224,224 --classes 37 --zero-head --out fine-tune.zip

Commands
${summaries.join('\n')}

  trajport COMMAND --help explains one with examples; every command takes --json.

Exit codes
${Object.entries(exitMeanings)
  .map(([name, meaning]) => `  ${String(exitCodes[name as keyof typeof exitCodes]).padEnd(5)}${meaning}`)
  .join('\n')}
`;
}
