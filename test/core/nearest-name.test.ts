/** The name that was probably meant: few edits, swapped neighbours, beginnings. */
import { describe, expect, it } from 'vitest';
import { nearestName } from '../../src/core/nearest-name.ts';

describe('nearest name', () => {
  it('takes few edits, swapped neighbours and beginnings', () => {
    const names = ['train', 'transfer', 'evaluate', 'inspect', 'verify', 'plan', 'demo', 'download'];
    expect(nearestName('trian', names)).toBe('train');
    expect(nearestName('trans', names)).toBe('transfer');
    expect(nearestName('eval', names)).toBe('evaluate');
    expect(nearestName('INSPECT', names)).toBe('inspect');
    expect(nearestName('heapLimit', ['heapLimitBytes', 'arithmetic'])).toBe('heapLimitBytes');
    expect(nearestName('zzz', names)).toBeUndefined();
    expect(nearestName('', names)).toBeUndefined();
    expect(nearestName('x'.repeat(100_000), names)).toBeUndefined();
  });
});
