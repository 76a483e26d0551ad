/** What goes to stdout and stderr: text or records, colour, the progress line. */
import { describe, expect, it } from 'vitest';
import { Output } from '../../src/cli/output.ts';

function harness(
  options: { tty?: boolean; json?: boolean; quiet?: boolean; identical?: boolean; environment?: Record<string, string> } = {},
) {
  const stdout: string[] = [];
  const stderr: string[] = [];
  let time = 0;
  const sink = (lines: string[]) => ({ write: (text: string) => lines.push(text), isTTY: options.tty === true, columns: 60 });
  const output = new Output({
    stdout: sink(stdout),
    stderr: sink(stderr),
    json: options.json === true,
    quiet: options.quiet === true,
    identical: options.identical !== false,
    environment: options.environment ?? {},
    now: () => time,
  });
  return { output, stdout, stderr, wait: (ms: number) => void (time += ms) };
}

describe('output', () => {
  it('with --json prints one object a line on stdout and nothing else there', () => {
    const { output, stdout, stderr } = harness({ json: true, tty: true });
    output.text('for people');
    output.progress('GMT', 1, 10, {});
    output.warn('a remark');
    output.record({ event: 'result', text: 'a\nb' });
    expect(stdout.join('')).toBe('{"event":"result","text":"a\\nb"}\n');
    expect(stderr.join('')).toContain('a remark');
  });

  it('says of every result and hash that others may get another one, where that is so', () => {
    const machine = harness({ json: true, identical: false });
    machine.output.record({ event: 'result', sha256: 'ab' });
    machine.output.record({ event: 'step', step: 1 });
    expect(machine.stdout.join('')).toBe('{"event":"result","sha256":"ab","identical":false}\n{"event":"step","step":1}\n');
    const [person, strict] = [harness({ identical: false }), harness()];
    for (const { output } of [person, strict]) output.hash('weights', 'ab');
    expect(person.stdout).toEqual(['weights sha256 ab (relaxed SIMD: may differ elsewhere)\n']);
    expect(strict.stdout).toEqual(['weights sha256 ab\n']);
  });

  it('without --json prints text and no records', () => {
    const { output, stdout } = harness();
    output.record({ event: 'result' });
    output.text('line');
    expect(stdout).toEqual(['line\n']);
  });

  it('colours only a terminal that allows it', () => {
    expect(harness({ tty: true }).output.style('bold', 'x')).toBe('\u001b[1mx\u001b[0m');
    expect(harness().output.style('bold', 'x')).toBe('x');
    expect(harness({ tty: true, environment: { NO_COLOR: '1' } }).output.style('bold', 'x')).toBe('x');
    expect(harness({ tty: true, environment: { NO_COLOR: '' } }).output.style('bold', 'x')).not.toBe('x');
    expect(harness({ tty: true, environment: { TERM: 'dumb' } }).output.style('bold', 'x')).toBe('x');
    // Deno without --allow-env.
    const refusing = new Proxy({}, { get: () => { throw new Error('Requires env access'); } });
    const { output, stderr } = harness({ tty: true, environment: refusing });
    output.error('x');
    expect(stderr).toEqual(['error: x\n']);
  });

  it('draws progress only where a person watches, not too often, and wipes it before text', () => {
    const { output, stdout, stderr, wait } = harness({ tty: true });
    output.progress('GMT', 1, 10, {});
    wait(10);
    output.progress('GMT', 2, 10, {});
    expect(stderr).toHaveLength(1);
    wait(100);
    output.progress('GMT', 3, 10, {});
    expect(stderr).toHaveLength(2);
    output.progress('GMT', 10, 10, {});
    expect(stderr).toHaveLength(3);
    output.text('done');
    expect(stderr.at(-1)).toBe('\r\u001b[2K');
    expect(stdout).toEqual(['done\n']);
    const quiet = harness({ tty: true, quiet: true });
    quiet.output.progress('GMT', 1, 10, {});
    expect(quiet.stderr).toEqual([]);
  });

  it('calls what is held out as a person would, in a log and on a terminal', () => {
    const log = harness();
    for (const done of [0, 1]) {
      log.output.progress('GMT', done, 10, { heldOut: 0.875, objective: 2 });
      log.wait(40_000);
    }
    expect(log.stderr).toEqual(['GMT  1/10 · held-out accuracy 0.875 · objective 2 · 6 min 00 s left\n']);
    const terminal = harness({ tty: true });
    terminal.output.progress('GMT', 1, 10, { heldOut: 0.875 });
    expect(terminal.stderr.join('')).toContain('1/10 · held-out accuracy 0.875');
  });

  it('logs a line of each tenth, none of what takes seconds, and one of a tenth that takes long', () => {
    const { output, stderr, wait } = harness();
    for (let done = 0; done <= 100; done++, wait(90)) output.progress('quick', done, 100, {});
    expect(stderr).toEqual([]);
    for (let done = 0; done <= 100; done++, wait(1_000)) output.progress('GMT', done, 100, { loss: 0.5 });
    expect(stderr.map((line) => /^GMT  (\d+)\/100 · loss 0.500/.exec(line)?.[1])).toEqual([
      '10', '20', '30', '40', '50', '60', '70', '80', '90', '100',
    ]);
    expect(stderr[4]).toBe('GMT  50/100 · loss 0.500 · 50.0 s left\n');
    stderr.splice(0);
    for (let done = 0; done < 10; done++, wait(10_000)) output.progress('slow', done, 1000, {});
    expect(stderr).toEqual([1, 4, 7].map((done) => `slow  ${done}/1000 · 2 h ${done < 7 ? 46 : 45} min left\n`));
    const quiet = harness({ quiet: true });
    quiet.output.progress('GMT', 0, 10, {});
    quiet.wait(60_000);
    quiet.output.progress('GMT', 5, 10, {});
    expect(quiet.stderr).toEqual([]);
  });

  it('passes no control characters of names on to a terminal or a file, but line ends and its own styles', () => {
    const evil = 'w\u001b]0;pwned\u0007\u009b2J\u202e\r';
    for (const tty of [true, false]) {
      const { output, stdout, stderr, wait } = harness({ tty });
      output.text(`${output.style('bold', evil)}\n${evil}`);
      output.warn(evil);
      output.error(`${evil}\n  ${evil}`);
      wait(100);
      output.progress(evil, 1, 10, { file: evil });
      output.clearProgress();
      const safe = 'w\ufffd]0;pwned\ufffd\ufffd2J\ufffd\ufffd';
      expect(stdout.join('')).toBe(tty ? `\u001b[1m${safe}\u001b[0m\n${safe}\n` : `${safe}\n${safe}\n`);
      const ours = ['\r\u001b[2K', '\u001b[0m', '\u001b[31m', '\u001b[33m'];
      const said = ours.reduce((text, escape) => text.replaceAll(escape, ''), stderr.join(''));
      expect(said).toContain(`note: ${safe}\nerror: ${safe}\n  ${safe}\n`);
      expect(said.replaceAll('\n', '')).not.toMatch(/\p{Control}/u);
    }
    const hidden = harness({ tty: false });
    hidden.output.text('\u001b[1mnot ours');
    expect(hidden.stdout).toEqual(['\ufffd[1mnot ours\n']);
  });
});
