/** Help in narrow terminals: no line is wider, and an example is still one command. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { commandHelp } from '../../src/cli/command.ts';
import { commands } from '../../src/cli/commands.ts';

describe.each(commands.map((command) => [command.name, command] as const))('the help of %s', (_name, command) => {
  const linesAt = (columns: number): string[] => commandHelp(command, columns).split('\n');
  const examplesOf = (lines: readonly string[]): string[] =>
    lines.slice(lines.indexOf('Examples') + 1, lines.indexOf(Object.keys(command.options).length > 0 ? 'Options' : 'Everywhere'));

  it.each([50, 80])('has examples that fit %d columns', (columns) => {
    for (const line of examplesOf(linesAt(columns))) expect(line.length).toBeLessThan(columns);
  });

  it('has in them, for a shell, the commands of a wide one', () => {
    const script = examplesOf(linesAt(50)).join('\n');
    // A shell joins the lines; `trajport` prints the words that it was given.
    const said = execFileSync('sh', ['-c', `trajport() { printf '%s ' trajport "$@"; echo; }\n${script}`], { encoding: 'utf8' });
    const wanted = command.examples.flatMap(({ run }) => run.split(' && '));
    expect(said.trimEnd().split('\n').map((line) => line.trimEnd())).toEqual(wanted);
  });
});
