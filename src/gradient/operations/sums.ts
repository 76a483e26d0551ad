/** Sums over rows, in f64. */
import type { Core } from '../../core/core.ts';

/** to [columns] (f32) += Σ over the rows of x [rows, columns]. */
export function addColumnSums(core: Core, xPtr: number, rows: number, columns: number, toPtr: number): void {
  core.scoped((scratch) => {
    const sums = scratch.f64(columns, 'column sums');
    core.f64(sums, columns).fill(0);
    core.kernels.columnSumsF32(xPtr, rows, columns, sums);
    core.kernels.addSumsF32(sums, toPtr, columns);
  });
}
