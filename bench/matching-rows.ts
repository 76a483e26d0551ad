/** What each bench of matching prints with --json, as rows of one kind: ours, its peer's figure from the same run, the bar, the verdict. */
import { formatBytes } from '../src/report/text.ts';

export interface MatchingRow {
  readonly row: string;
  readonly ours: string;
  readonly peer: string;
  /** Peer over ours, or the share that the bar is about. */
  readonly figure: string;
  readonly bar: string;
  /** Undefined where the row has no bar; null where there was no peer to compare with. */
  readonly pass: boolean | null | undefined;
}

type Line = Readonly<Record<string, unknown>>;

const number = (line: Line, key: string): number | undefined => (typeof line[key] === 'number' ? line[key] : undefined);
const text = (line: Line, key: string): string => String(line[key] ?? '');
const times = (value: number | undefined): string => (value === undefined ? '' : `${value < 10 ? value.toFixed(2) : value.toFixed(1)} ×`);
const time = (ms: number | undefined): string =>
  ms === undefined ? '' : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms < 10 ? 3 : 1)} ms`;
const verdict = (line: Line): boolean | null | undefined => line['pass'] as boolean | null | undefined;
const percent = (share: number | undefined): string => (share === undefined ? '' : `${(100 * share).toFixed(3)} %`);
const bytesOf = (line: Line, key: string): string => formatBytes(number(line, key) ?? NaN);

/** The rows of one line; none of a machine's description. */
export function rowsOf(line: Line): readonly MatchingRow[] {
  if (line['bench'] === 'product') return productRows(line);
  if ('matrices' in line) return [campaignRow(line)];
  if ('nanosecondsAnElement' in line) return [curveRow(line)];
  if ('matrix' in line) return [assignmentRow(line)];
  if (line['bench'] === 'matching-solve' && 'speedup' in line) return [solveRow(line)];
  if (line['bench'] === 'history-budget') return [historyRow(line)];
  if (line['bench'] === 'alternatives') return [alternativeRow(line)];
  if (line['bench'] === 'official') return [officialRow(line)];
  return [];
}

function assignmentRow(line: Line): MatchingRow {
  const warm = text(line, 'matrix').startsWith('warm');
  return {
    row: `${text(line, 'matrix')}, n ${text(line, 'n')}`,
    ours: time(number(line, 'milliseconds')),
    peer: `${time(number(line, 'peerMilliseconds'))} ${warm ? 'cold' : 'scipy'}`,
    figure: times(number(line, 'ratio')),
    bar: `≥ ${times(number(line, 'bar'))}`,
    pass: verdict(line),
  };
}

function curveRow(line: Line): MatchingRow {
  return {
    row: `${text(line, 'matrix')}, n ${text(line, 'n')}`,
    ours: time(number(line, 'milliseconds')),
    peer: `${bytesOf(line, 'matrixBytes')} + ${bytesOf(line, 'scratchBytes')}`,
    figure: `${(number(line, 'nanosecondsAnElement') ?? NaN).toFixed(2)} ns/element`,
    bar: '',
    pass: undefined,
  };
}

function campaignRow(line: Line): MatchingRow {
  return {
    row: `${text(line, 'matrices')} matrices, ${text(line, 'integral')} of integers`,
    ours: `certificate ${(number(line, 'largestCertificate') ?? NaN).toExponential(1)}`,
    peer: 'scipy',
    figure: `gap ${(number(line, 'largestGap') ?? NaN).toExponential(1)}`,
    bar: '≤ 1e-12, integers 0',
    pass: verdict(line),
  };
}

/** The bars stand here as in bench/product.ts, which judges; a row of it has up to four of them. */
function productRows(line: Line): readonly MatchingRow[] {
  const named = `${text(line, 'form')} ${text(line, 'size')}²`;
  const figures: readonly (readonly [key: string, peer: string, bar: number | undefined])[] = [
    ['againstStock', 'stock tfjs-wasm NN', 1.2],
    ['againstOpenblas', 'OpenBLAS, SSE', 1],
    ['bunAgainstOpenblas', 'Bun: OpenBLAS, SSE', 1],
    ['denoAgainstNode', 'Deno: Node', 0.8],
    ['twoThreads', 'one thread', 1.9],
    ['relaxed', 'relaxed: strict', undefined],
    ['denoRelaxed', 'Deno, relaxed: strict', undefined],
    ['bunRelaxed', 'Bun, relaxed: strict', undefined],
  ];
  const gflops = number(line, 'gflops');
  return figures.flatMap(([key, peer, bar]) => {
    const ratio = number(line, key);
    if (ratio === undefined) return [];
    const same = bar === undefined || line['sameBytes'] === true;
    return [
      {
        row: named,
        ours: gflops === undefined ? '' : `${gflops.toFixed(1)} GFLOP/s`,
        peer: same ? peer : `${peer}, OTHER BYTES`,
        figure: times(ratio),
        bar: bar === undefined ? '' : `≥ ${times(bar)}`,
        pass: bar === undefined ? undefined : ratio >= bar && same,
      },
    ];
  });
}

function solveRow(line: Line): MatchingRow {
  return {
    row: `${text(line, 'case')}, ${text(line, 'pairs')} pairs, ${text(line, 'mode')}`,
    ours: time(number(line, 'oursMs')),
    peer: `${time(number(line, 'straightforwardMs'))} straightforward`,
    figure: times(number(line, 'speedup')),
    bar: `≥ ${times(number(line, 'bar'))}`,
    pass: verdict(line),
  };
}

function historyRow(line: Line): MatchingRow {
  return {
    row: `${text(line, 'network')}, ${text(line, 'pairs')} pairs in ${bytesOf(line, 'budgetBytes')}`,
    ours: bytesOf(line, 'bytes'),
    peer: `${bytesOf(line, 'exactBytes')} exact`,
    figure: `${percent(number(line, 'loss'))} lost`,
    bar: '≤ 0.5 %',
    pass: verdict(line),
  };
}

function alternativeRow(line: Line): MatchingRow {
  const accuracy = `${percent(number(line, 'accuracy'))} (naive ${percent(number(line, 'naiveAccuracy'))})`;
  return {
    row: `${text(line, 'network')}, ${text(line, 'solver')}`,
    ours: `${time(number(line, 'solveCpuMs'))}, transfer ${time(number(line, 'transferCpuMs'))}`,
    peer: accuracy,
    figure: `objective ${(number(line, 'objectiveRatio') ?? NaN).toFixed(4)}`,
    bar: '',
    pass: verdict(line),
  };
}

function officialRow(line: Line): MatchingRow {
  return {
    row: `${text(line, 'network')}, ${text(line, 'method')}`,
    ours: time(number(line, 'cpuMs')),
    peer: `${time(number(line, 'peerCpuMs'))} PyTorch`,
    figure: times(number(line, 'speedup')),
    bar: `≥ ${times(number(line, 'bar'))}`,
    pass: verdict(line),
  };
}
