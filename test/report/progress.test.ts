/** The progress line at every width. */
import { expect, it } from 'vitest';
import { formatProgress, formatProgressForLog } from '../../src/report/progress.ts';
import { displayWidth } from '../../src/report/text.ts';

const record = { label: 'GMT', done: 3, total: 12, doneBefore: 0, elapsedMs: 3000, detail: { accuracy: 0.81234, step: 4 } };

it('says how far, what and how long still', () => {
  expect(formatProgress(record, 120)).toBe('GMT  █████··············· 3/12 · accuracy 0.812 · step 4 · 9.0 s left');
});

it('in a narrow terminal keeps the count and the time, not the bar', () => {
  expect(formatProgress(record, 60)).toBe('GMT  ██······ 3/12 · accuracy 0.812 · step 4 · 9.0 s left');
  expect(formatProgress(record, 40)).toBe('GMT  ██······ 3/12 · 9.0 s left');
  expect(formatProgress(record, 24)).toBe('GMT  3/12 · 9.0 s left');
});

it('cuts the label before the count', () => {
  const tuning = { ...record, label: 'fine-tuning v2 on B (for Oracle)', done: 2000, total: 2000 };
  expect(formatProgress(tuning, 39)).toBe('fine-tuning v2 on B (for Or…  2000/2000');
  expect(formatProgress({ ...tuning, done: 500 }, 39)).toBe('fine-tuning v2 …  500/2000 · 9.0 s left');
  expect(formatProgress(tuning, 11)).toBe('2000/2000');
});

it('estimates what is left by what was done since the clock began', () => {
  expect(formatProgress({ ...record, doneBefore: 1, done: 1, elapsedMs: 0 }, 24)).toBe('GMT  ▋······· 1/12');
  expect(formatProgress({ ...record, doneBefore: 6, done: 9 }, 24)).toBe('GMT  9/12 · 3.0 s left');
});

it('has no bar in a log', () => {
  expect(formatProgressForLog(record)).toBe('GMT  3/12 · accuracy 0.812 · step 4 · 9.0 s left');
});

it('never exceeds the line, nor the bar its end', () => {
  for (const columns of [1, 10, 40, 61]) expect(displayWidth(formatProgress(record, columns))).toBeLessThanOrEqual(columns);
  expect(formatProgress({ ...record, done: 99 }, 200)).toContain('████████████████████ 99/12');
  expect(formatProgress({ ...record, done: 0, total: 0 }, 200)).toContain('···················· 0/0');
});
