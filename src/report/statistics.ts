/** What a table or a figure says about several draws of one number. */
import { formatPercent } from './text.ts';

/** Arithmetic mean; 0 of no values, so that an empty row of a figure draws nothing. */
export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Shares as `81.2 ± 0.4`: mean and sample standard deviation (n − 1) in percent; of one share, the share alone. */
export function formatSpread(shares: readonly number[]): string {
  const middle = mean(shares);
  if (shares.length <= 1) return formatPercent(middle);
  const variance = shares.reduce((sum, share) => sum + (share - middle) * (share - middle), 0) / (shares.length - 1);
  return `${formatPercent(middle)} ± ${formatPercent(Math.sqrt(variance))}`;
}
