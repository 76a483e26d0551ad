/**
 * `npm run -s bench:matching -- [--json] [--list] [--only PATTERN] [BENCH…]`: every figure that matching is judged by, each beside its
 * peer's from the same run, with bar and verdict: linear sum assignment against scipy, the matrix product against stock tfjs-wasm and
 * OpenBLAS, whole solves against the straightforward loop, histories under a byte budget, the alternatives to coordinate descent, and whole
 * transfers against the official algorithm in PyTorch.
 *
 * It runs piece by piece, each in a process of its own so that none warms or fills the heap of another. `--list` names the pieces and
 * says how long each takes, a BENCH chooses some (`product official`), and so does a PATTERN of their names (`--only 'product: 4096'`).
 * A piece that crashes is told from one that falls short, and the rest still runs. The exit status is 1 when any does either.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { formatTable } from '../src/report/table.ts';
import { machine } from './measure.ts';
import { rowsOf, type MatchingRow } from './matching-rows.ts';

interface Piece {
  /** `bench: part`. */
  readonly name: string;
  readonly file: string;
  readonly arguments: readonly string[];
  /** On two idle cores of the machine that the documents quote. */
  readonly minutes: number;
}

const piece = (name: string, minutes: number, file: string, ...words: string[]): Piece => ({ name, file, arguments: words, minutes });
/** The assignments of one size, without the kinds, which come in every size. */
const table = (...sizes: number[]): string => `^(?!kind).* (${sizes.join('|')})$`;

const pieces: readonly Piece[] = [
  piece('assignment: 128 and 256', 0.3, 'assignment', '--only', table(128, 256)),
  piece('assignment: 1024', 0.5, 'assignment', '--only', table(1024)),
  piece('assignment: 4096', 5, 'assignment', '--only', table(4096)),
  piece('assignment: kinds', 8, 'assignment', '--full', '--only', '^kind'),
  piece('assignment: warm start', 0.3, 'assignment', '--only', '^warm'),
  piece('assignment: curve', 0.5, 'assignment', '--curve'),
  piece('assignment: exactness', 1, 'assignment-campaign'),
  piece('product: 64 to 1024', 1, 'product', '64', '128', '256', '512', '1024'),
  piece('product: 2048', 1, 'product', '2048'),
  ...['NN', 'NT'].map((form) => piece(`product: 4096 ${form}`, 1.8, 'product', '4096', form)),
  piece('product: threads', 0.4, 'product', 'threads'),
  piece('product: relaxed', 0.3, 'product', 'relaxed'),
  piece('solve: conv8', 2, 'matching-solve', 'conv8', '--all'),
  piece('solve: resnet18', 10, 'matching-solve', 'resnet18'),
  piece('solve: mlp-4096', 1, 'matching-solve', 'mlp-4096'),
  piece('history: conv8', 2, 'history-budget', 'conv8'),
  piece('history: resnet18', 9, 'history-budget', 'resnet18'),
  ...['mlp-256-256', 'small-conv-32', 'resnet-small-32'].map((name) => piece(`alternatives: ${name}`, 4, 'alternatives', name)),
  ...(
    [
      ['mlp-512', 0.5, 0.6, 0.6],
      ['mlp-512-mnist', 0.5, 0.6, 0.6],
      ['small-conv-32', 0.6, 1, 1],
      ['small-conv-32-mnist', 0.9, 1.5, 1.5],
      ['conv8-half', 3, 8, 8],
      ['mlp-4096', 6, 20, 20],
    ] as const
  ).flatMap(([name, ...minutes]) =>
    (['fgmt', 'gmt', 'gmt-fixed'] as const).map((method, i) =>
      piece(`official: ${name} ${method}`, minutes[i] as number, 'official', name, '--method', method),
    ),
  ),
];

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean', default: false }, list: { type: 'boolean', default: false }, only: { type: 'string' } },
  allowPositionals: true,
});
const benches = [...new Set(pieces.map(({ name }) => benchOf(name)))];
for (const word of positionals) if (!benches.includes(word)) throw new Error(`no bench ${word}; there are ${benches.join(', ')}`);
const chosen = pieces.filter(
  ({ name }) =>
    (positionals.length === 0 || positionals.includes(benchOf(name))) && (values.only === undefined || new RegExp(values.only).test(name)),
);
if (chosen.length === 0) throw new Error(`no piece matches; there are ${pieces.map(({ name }) => name).join(', ')}`);

if (values.list)
  for (const { name, minutes } of chosen)
    console.log(values.json ? JSON.stringify({ piece: name, minutes }) : `${name.padEnd(36)} ${minutes} min`);
else await runAll();

interface Outcome {
  readonly piece: string;
  readonly seconds: number;
  readonly verdict: 'pass' | 'falls short' | 'no peer' | 'FAILED';
  readonly short: number;
  readonly reason?: string;
}

async function runAll(): Promise<void> {
  const total = chosen.reduce((sum, { minutes }) => sum + minutes, 0);
  console.error(`${chosen.length} pieces, about ${Math.ceil(total)} minutes on two idle cores; --list says which, --only chooses`);
  if (values.json) console.log(JSON.stringify({ bench: 'machine', ...machine() }));
  else console.log(Object.entries(machine()).map(([key, value]) => `${key} ${value}`).join(' · '));
  const outcomes: Outcome[] = [];
  for (const one of chosen) {
    const outcome = await runPiece(one);
    outcomes.push(outcome);
    if (values.json) console.log(JSON.stringify({ bench: 'matching', ...outcome }));
  }
  process.exitCode = outcomes.every(({ verdict }) => verdict === 'pass') ? 0 : 1;
  if (values.json) return;
  const right = (title: string) => ({ title, align: 'right' }) as const;
  console.log(
    `\n${formatTable(
      [{ title: 'piece' }, right('time'), { title: 'verdict' }],
      outcomes.map(({ piece: name, seconds, verdict, short, reason }) => [
        name,
        `${seconds.toFixed(0)} s`,
        short > 0 ? `${short} rows fall short` : reason === undefined ? verdict : `${verdict}: ${reason}`,
      ]),
    )}`,
  );
}

/** Runs a piece and prints its rows. */
async function runPiece({ name, file, arguments: words }: Piece): Promise<Outcome> {
  console.error(`\n${name}`);
  const start = performance.now();
  // The campaign prints nothing but JSON, and takes no such option.
  const json = file === 'assignment-campaign' ? [] : ['--json'];
  const child = spawn(process.execPath, ['scripts/run.mjs', `bench/${file}.ts`, ...json, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  // As it comes, for whoever watches; the last of it says why a child ended.
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (more: string) => {
    process.stderr.write(more);
    said = (said + more).slice(-4000);
  });
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(signal === null ? (code === 0 ? '' : `exit status ${code}`) : `ended by ${signal}`));
  });
  const rows: MatchingRow[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue;
    if (values.json) console.log(line);
    rows.push(...rowsOf(JSON.parse(line) as Record<string, unknown>));
  }
  const end = await ended;
  if (!values.json && rows.length > 0) console.log(rowsTable(rows));
  const short = rows.filter(({ pass }) => pass === false).length;
  const outcome = { piece: name, seconds: (performance.now() - start) / 1000, short };
  // A bench that falls short ends with 1, and so does one that threw; only the former has rows that say so.
  if (rows.length === 0 || (end !== '' && short === 0) || (end !== '' && end !== 'exit status 1')) {
    return { ...outcome, verdict: 'FAILED', reason: `${end === '' ? 'no rows' : end}${lastError(said)}` };
  }
  if (short > 0) return { ...outcome, verdict: 'falls short' };
  return { ...outcome, verdict: rows.some(({ pass }) => pass === null) ? 'no peer' : 'pass' };
}

function rowsTable(rows: readonly MatchingRow[]): string {
  const right = (title: string) => ({ title, align: 'right' }) as const;
  return formatTable(
    [{ title: 'row' }, right('ours'), right('peer'), right('figure'), right('bar'), { title: '' }],
    rows.map(({ row, ours, peer, figure, bar, pass }) => [
      row,
      ours,
      peer,
      figure,
      bar,
      pass === undefined ? '' : pass === null ? 'no peer' : pass ? 'pass' : 'FALLS SHORT',
    ]),
  );
}

/** The line of a stack that says what went wrong. */
function lastError(said: string): string {
  const line = said.split('\n').findLast((one) => /Error|error:|cannot|not found/i.test(one) && !one.trimStart().startsWith('at '));
  return line === undefined ? '' : ` (${line.trim().slice(0, 160)})`;
}

function benchOf(name: string): string {
  return name.slice(0, name.indexOf(':'));
}
