/** The progress line at every width. */
import { expect, it } from 'vitest';
import { formatProgress } from '../../src/report/progress.ts';
import { displayWidth } from '../../src/report/text.ts';

const record = { label: 'GMT', done: 3, total: 12, elapsedMs: 3000, detail: { accuracy: 0.81234, step: 4 } };

it('says how far, what and how long still', () => {
  expect(formatProgress(record, 120)).toBe('GMT  █████··············· 3/12 · accuracy 0.812 · step 4 · 9.0 s left');
});

it('in a narrow terminal keeps the count and the time, not the bar', () => {
  expect(formatProgress(record, 60)).toBe('GMT  ██······ 3/12 · accuracy 0.812 · step 4 · 9.0 s left');
  expect(formatProgress(record, 40)).toBe('GMT  ██······ 3/12 · 9.0 s left');
  expect(formatProgress(record, 24)).toBe('GMT  3/12 · 9.0 s left');
});

it('never exceeds the line, nor the bar its end', () => {
  for (const columns of [1, 10, 40, 61]) expect(displayWidth(formatProgress(record, columns))).toBeLessThanOrEqual(columns);
  expect(formatProgress({ ...record, done: 99 }, 200)).toContain('████████████████████ 99/12');
  expect(formatProgress({ ...record, done: 0, total: 0 }, 200)).toContain('···················· 0/0');
});
