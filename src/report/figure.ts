/**
 * The figure of a transfer as one self-contained SVG: accuracy before any training on the left, accuracy against
 * onward iterations on the right. No script, no external font or file; its own light and dark colours.
 */
import { mean } from './statistics.ts';
import { textWidth, wrapText } from './text-width.ts';

interface FigureMethod {
  /** Stable key, which picks the colour. */
  readonly method: 'naive' | 'fgmt' | 'gmt' | 'oracle' | 'scratch';
  readonly label: string;
  /** Accuracy 0..1 of each draw (pair of networks), per evaluated iteration; `accuracies[draw][i]` belongs to `iterations[i]`. */
  readonly accuracies: readonly (readonly number[])[];
}

export interface TransferFigure {
  readonly title: string;
  readonly subtitle: string;
  readonly iterations: readonly number[];
  readonly methods: readonly FigureMethod[];
  /** The network whose fine-tune is carried over: a line in both panels. */
  readonly reference?: { readonly label: string; readonly accuracy: number };
  readonly footnote?: string;
}

const WIDTH = 960;
const MARGIN = 28;
/** With one line of subtitle and one of footnote. */
const HEIGHT = 440;
const LINE = 18;
const left = { x0: 132, x1: 440, y0: 108, y1: 366 };
const right = { x0: 512, y0: 108, y1: 366 };
/** From the end of a curve to its label. */
const LABEL_GAP = 20;

const style = `
  .trajport { font-family: system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; font-size: 13px;
    --paper: #ffffff; --ink: #1c2128; --faint: #656d76; --grid: #e4e7eb; --edge: #d5d9de;
    --naive: #8b949e; --fgmt: #0969da; --gmt: #d1570a; --oracle: #1a7f4b; --scratch: #8a63b8; }
  @media (prefers-color-scheme: dark) { .trajport { --paper: #0f141a; --ink: #e6edf3; --faint: #9aa5b1; --grid: #232b34; --edge: #303a45;
    --naive: #8b949e; --fgmt: #58a6ff; --gmt: #ff9d4d; --oracle: #3fb97f; --scratch: #b392e0; } }
  .paper { fill: var(--paper); stroke: var(--edge); } text { fill: var(--ink); } .faint { fill: var(--faint); }
  .title { font-size: 17px; font-weight: 600; } .panel { font-weight: 600; } .small { font-size: 12px; }
  .grid { stroke: var(--grid); } .axis { stroke: var(--faint); } .reference { stroke: var(--ink); stroke-dasharray: 5 4; }
  .draw { fill: var(--paper); stroke: var(--ink); stroke-opacity: .75; } .curve { fill: none; stroke-width: 2.25; stroke-linejoin: round; }
  .number { font-variant-numeric: tabular-nums; }
  ${(['naive', 'fgmt', 'gmt', 'oracle', 'scratch'] as const)
    .map((key) => `.fill-${key} { fill: var(--${key}); } .line-${key} { stroke: var(--${key}); }`)
    .join(' ')}`;

/** Renders the figure. Any text may hold any character. */
export function transferFigure(figure: TransferFigure): string {
  const description = figure.methods
    .map(({ label, accuracies }) => `${label}: ${meansOf(accuracies).map((share) => percent(share)).join(', ')} %`)
    .join('; ');
  const subtitle = wrapText(figure.subtitle, WIDTH - 2 * MARGIN, 13);
  const footnote = wrapText(figure.footnote ?? '', WIDTH - 2 * MARGIN, 12);
  const shift = (subtitle.length - 1) * LINE;
  const height = HEIGHT + shift + (footnote.length - 1) * LINE;
  return `<svg xmlns="http://www.w3.org/2000/svg" class="trajport" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title description">
<title id="title">${escape(figure.title)}</title>
<desc id="description">Test accuracy at onward iterations ${figure.iterations.join(', ')}. ${escape(description)}.</desc>
<style>${style}
</style>
<rect class="paper" x=".5" y=".5" width="${WIDTH - 1}" height="${height - 1}" rx="10"/>
<text class="title" x="${MARGIN}" y="38">${escape(figure.title)}</text>
${paragraph('faint', 60, subtitle)}
<g transform="translate(0 ${shift})">
${barPanel(figure)}
${curvePanel(figure)}
</g>
${figure.footnote === undefined ? '' : paragraph('faint small', HEIGHT + shift - 18, footnote)}
</svg>
`;
}

function paragraph(name: string, y: number, lines: readonly string[]): string {
  return lines.map((text, i) => `<text class="${name}" x="${MARGIN}" y="${y + i * LINE}">${escape(text)}</text>`).join('\n');
}

/** Horizontal bars: mean accuracy before training, one dot a draw where there are several. */
function barPanel({ methods, reference }: TransferFigure): string {
  const { x0, x1, y0, y1 } = left;
  const scale = (share: number): number => x0 + share * (x1 - x0);
  const slot = (y1 - y0) / methods.length;
  const height = Math.min(30, slot * 0.62);
  const parts = [`<text class="panel" x="${MARGIN}" y="${y0 - 18}">Test accuracy before any training, %</text>`];
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(
      line('grid', scale(tick), y0, scale(tick), y1),
      `<text class="faint small number" x="${n(scale(tick))}" y="${y1 + 18}" text-anchor="middle">${tick * 100}</text>`,
    );
  }
  methods.forEach(({ method, label, accuracies }, i) => {
    const middle = y0 + slot * (i + 0.5);
    const draws = accuracies.map((curve) => curve[0] ?? 0);
    const average = mean(draws);
    parts.push(
      `<text x="${x0 - 10}" y="${n(middle + 4.5)}" text-anchor="end">${escape(label)}</text>`,
      `<rect class="fill-${method}" x="${x0}" y="${n(middle - height / 2)}" width="${n(Math.max(1, scale(average) - x0))}" ` +
      `height="${n(height)}" rx="3"/>`,
    );
    if (draws.length > 1) {
      for (const draw of draws) parts.push(`<circle class="draw" cx="${n(scale(draw))}" cy="${n(middle)}" r="3.2"/>`);
    }
    const end = Math.max(average, ...draws);
    // Inside the bar where there is room: outside, the value of a good method would lie under the reference line.
    parts.push(
      average > 0.25
        ? `<text class="number" x="${n(scale(Math.min(average, ...draws)) - 9)}" y="${n(middle + 4.5)}" text-anchor="end" style="fill: ` +
          `var(--paper); font-weight: 600">${percent(average)}</text>`
        : `<text class="number" x="${n(scale(end) + 8)}" y="${n(middle + 4.5)}" style="font-weight: 600">${percent(average)}</text>`,
    );
  });
  parts.push(line('axis', x0, y0, x0, y1));
  if (reference !== undefined) {
    const x = scale(reference.accuracy);
    parts.push(
      line('reference', x, y0 - 4, x, y1),
      `<text class="faint small" x="${n(x)}" y="${y1 + 36}" text-anchor="${reference.accuracy > 0.5 ? 'end' : 'start'}">┆ ` +
      `${escape(reference.label)} ${percent(reference.accuracy)}</text>`,
    );
  }
  return parts.join('\n');
}

/** Curves of mean accuracy against onward iterations, labelled at their ends. */
function curvePanel({ methods, iterations, reference }: TransferFigure): string {
  const { x0, y0, y1 } = right;
  const lastIteration = iterations.at(-1) ?? 1;
  const means = methods.map(({ accuracies }) => meansOf(accuracies));
  const values = means.map((curve) => percent(curve.at(-1) ?? 0));
  const widest = Math.max(0, ...methods.map(({ label }, m) => textWidth(`${label} ${values[m]}`, 13, 'bold')));
  const x1 = WIDTH - MARGIN - LABEL_GAP - Math.ceil(widest);
  const lowest = Math.min(...means.flat(), reference?.accuracy ?? 1);
  // The axis starts just below the lowest point, so that the band in which methods differ is not squeezed; ticks end at 100.
  const tick = lowest < 0.5 ? 2 : 1;
  const floor = Math.min(0.9, Math.max(0, (Math.floor((lowest * 10) / tick) * tick) / 10));
  const x = (iteration: number): number => x0 + (lastIteration > 0 ? iteration / lastIteration : 0) * (x1 - x0);
  const y = (share: number): number => y1 - ((share - floor) / (1 - floor)) * (y1 - y0);
  const parts = [`<text class="panel" x="${x0 - 38}" y="${y0 - 18}">…and while training onward, %</text>`];
  for (let tenth = Math.round(floor * 10); tenth <= 10; tenth += tick) {
    parts.push(
      line('grid', x0, y(tenth / 10), x1, y(tenth / 10)),
      `<text class="faint small number" x="${x0 - 9}" y="${n(y(tenth / 10) + 4)}" text-anchor="end">${tenth * 10}</text>`,
    );
  }
  for (const iteration of iterations) {
    parts.push(
      `<text class="faint small number" x="${n(x(iteration))}" y="${y1 + 18}" text-anchor="middle">${iteration}</text>`,
    );
  }
  parts.push(
    line('axis', x0, y1, x1, y1),
    `<text class="faint small" x="${n((x0 + x1) / 2)}" y="${y1 + 36}" text-anchor="middle">iterations of training onward</text>`,
  );
  if (reference !== undefined) parts.push(line('reference', x0, y(reference.accuracy), x1, y(reference.accuracy)));
  methods.forEach(({ method }, m) => {
    const points = (means[m] as number[]).map((share, i) => `${n(x(iterations[i] ?? 0))},${n(y(share))}`);
    parts.push(`<polyline class="curve line-${method}" points="${points.join(' ')}"/>`);
    for (const point of points) {
      const [cx, cy] = point.split(',');
      parts.push(`<circle class="fill-${method}" cx="${cx}" cy="${cy}" r="3.4"/>`);
    }
  });
  const ends = methods.map((_, m) => y((means[m] as number[]).at(-1) ?? floor));
  const places = spread(ends, 17, y0, y1);
  methods.forEach(({ method, label }, m) => {
    const end = ends[m] as number;
    const place = places[m] as number;
    parts.push(
      `<path class="line-${method}" fill="none" stroke-opacity=".6" d="M${x1 + 5} ${n(end)} L${x1 + 16} ${n(place)}"/>`,
      `<text x="${x1 + LABEL_GAP}" y="${n(place + 4.5)}" class="fill-${method}" style="font-weight: 600">${escape(label)} <tspan ` +
      `class="number">${values[m]}</tspan></text>`,
    );
  });
  return parts.join('\n');
}

/** Places as near as possible to `wanted`, at least `gap` apart, in the same order, within [low, high] where they fit. */
function spread(wanted: readonly number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, i) => i).toSorted((a, b) => (wanted[a] as number) - (wanted[b] as number) || a - b);
  const places = wanted.slice();
  let floor = low;
  for (const i of order) {
    places[i] = Math.max(wanted[i] as number, floor);
    floor = (places[i] as number) + gap;
  }
  let ceiling = high;
  for (const i of order.toReversed()) {
    places[i] = Math.min(places[i] as number, ceiling);
    ceiling = (places[i] as number) - gap;
  }
  return places;
}

/** Means over draws, per iteration. */
function meansOf(draws: readonly (readonly number[])[]): number[] {
  return (draws[0] ?? []).map((_, i) => mean(draws.map((curve) => curve[i] ?? 0)));
}

function percent(share: number): string {
  return (share * 100).toFixed(1);
}

/** A coordinate with at most two decimals. */
function n(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function line(name: string, x1: number, y1: number, x2: number, y2: number): string {
  return `<line class="${name}" x1="${n(x1)}" y1="${n(y1)}" x2="${n(x2)}" y2="${n(y2)}"/>`;
}

/** Text made fit for XML 1.0: markup escaped, characters that XML forbids replaced. */
function escape(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[character] as string);
}
