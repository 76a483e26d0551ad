/** The SVG figure: well-formed, bars in proportion, labels apart, no NaN. */
import { describe, expect, it } from 'vitest';
import { transferFigure, type TransferFigure } from '../../src/report/figure.ts';
import { dejaVuWidth } from './dejavu.ts';

const figure: TransferFigure = {
  title: 'A fine-tune carried over',
  subtitle: 'MLP <784> & "more"',
  iterations: [0, 10, 20, 50],
  methods: [
    { method: 'scratch', label: 'From scratch', accuracies: [[0.07, 0.65, 0.73, 0.78]] },
    { method: 'naive', label: 'Naive', accuracies: [[0.42, 0.8, 0.81, 0.845], [0.4, 0.78, 0.8, 0.84]] },
    { method: 'gmt', label: 'GMT', accuracies: [[0.83, 0.842, 0.842, 0.853]] },
  ],
  reference: { label: 'v1 fine-tuned', accuracy: 0.86 },
};

/** Every opened element is closed in order: what an XML parser would refuse, without one. */
function expectWellFormed(svg: string): void {
  const open: string[] = [];
  for (const [, closing, name, selfClosing] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (closing === '/') expect(open.pop()).toBe(name);
    else if (selfClosing !== '/') open.push(name as string);
  }
  expect(open).toEqual([]);
  expect(svg.replace(/&(amp|lt|gt|quot);/g, '')).not.toContain('&');
}

describe('figure', () => {
  it('is well-formed, self-contained and escapes what it is given', () => {
    const svg = transferFigure(figure);
    expectWellFormed(svg);
    expect(svg).toContain('MLP &lt;784&gt; &amp; &quot;more&quot;');
    expect(svg.replace('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|url\(|<script|href/);
    expect(transferFigure({ ...figure, title: 'a\u0000\ud800b' })).toContain('a\ufffd\ufffdb');
  });

  it('draws bars in proportion to the mean of the draws', () => {
    const width = (method: string): number =>
      Number(new RegExp(`<rect class="fill-${method}"[^>]* width="([\\d.]+)"`).exec(transferFigure(figure))?.[1]);
    expect(width('gmt') / width('naive')).toBeCloseTo(0.83 / 0.41, 2);
    expect(transferFigure(figure).match(/class="draw"/g)).toHaveLength(2);
  });

  it('writes every mean of the last iteration once, at places that do not overlap', () => {
    const crowded = { ...figure, methods: figure.methods.map((m) => ({ ...m, accuracies: [[0.5, 0.8, 0.8, 0.8]] })) };
    const places = [...transferFigure(crowded).matchAll(/<text x="[\d.]+" y="([\d.]+)" class="fill-/g)].map((match) => Number(match[1]));
    expect(places).toHaveLength(3);
    const sorted = places.toSorted((a, b) => a - b);
    for (let i = 1; i < sorted.length; i++) expect((sorted[i] as number) - (sorted[i - 1] as number)).toBeGreaterThanOrEqual(17);
  });

  it('keeps every text inside the frame, in a font as wide as DejaVu Sans', () => {
    const subtitle =
      'MLP 1×28×28 → 512-10 · 407,050 parameters · a-folder-with-a-long-name → another-folder-with-a-long-name · mean of 2 pairs of ' +
      'networks';
    const footnote =
      'Test accuracy, never chosen on. From scratch: v2 trained on the new task without a port. Dots: single pairs. Made by: trajport ' +
      'demo, settings in record.json';
    const svg = transferFigure({ ...figure, subtitle, footnote });
    const [, width, height] = (/viewBox="0 0 (\d+) (\d+)"/.exec(svg) ?? []).map(Number) as [number, number, number];
    const lines = [...svg.matchAll(/<text class="(title|faint|faint small)" x="28" y="(\d+)">([^<]*)</g)].map(([, name, y, text]) => ({
      name,
      y: Number(y),
      text: text as string,
    }));
    const ends = lines.map(
      ({ name, text }) => 28 + dejaVuWidth(text, name === 'title' ? 17 : name === 'faint' ? 13 : 12, name === 'title' ? 'bold' : 'normal'),
    );
    expect(Math.max(...ends)).toBeLessThanOrEqual(width - 28);
    const read = (name: string): string => lines.filter((line) => line.name === name).map(({ text }) => text).join(' ');
    expect([read('faint'), read('faint small')]).toEqual([subtitle, footnote]);
    expect(lines.at(-1)?.y).toBeLessThan(height - 10);

    const labels = [...svg.matchAll(/<text x="([\d.]+)"[^>]* class="fill-\w+"[^>]*>([^<]*)<tspan class="number">([\d.]+)/g)];
    expect(labels.map(([, , label]) => label?.trim())).toEqual(figure.methods.map(({ label }) => label));
    for (const [, x, label, value] of labels)
      expect(Number(x) + dejaVuWidth(`${label}${value}`, 13, 'bold')).toBeLessThanOrEqual(width - 28);
  });

  it('has no number that is not one, whatever is missing', () => {
    const bare = transferFigure({ title: '', subtitle: '', iterations: [0], methods: [{ method: 'gmt', label: 'GMT', accuracies: [] }] });
    for (const svg of [bare, transferFigure(figure)]) expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });
});
