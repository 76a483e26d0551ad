/** Independent solvers for the tests of linear sum assignment: no code, no idea shared with `assembly/assignment*.ts`. */

/** Largest sum over all injections of rows into columns (rows ≤ columns ≤ 8), by trying them all. NaN: none is allowed. */
export function bruteForce(data: ArrayLike<number>, rows: number, columns: number): number {
  const taken = new Uint8Array(columns);
  let best = Number.NaN;
  const visit = (row: number, sum: number): void => {
    if (row === rows) {
      if (!(sum <= best)) best = sum;
      return;
    }
    for (let j = 0; j < columns; j++) {
      const value = data[row * columns + j] as number;
      if (taken[j] === 1 || value === -Infinity) continue;
      taken[j] = 1;
      visit(row + 1, sum + value);
      taken[j] = 0;
    }
  };
  visit(0, 0);
  return best;
}

/** The textbook O(n²m) Hungarian method on costs, rows ≤ columns: the largest sum, or NaN when there is none. */
export function hungarian(data: ArrayLike<number>, rows: number, columns: number): number {
  const rowPotential = new Float64Array(rows + 1);
  const columnPotential = new Float64Array(columns + 1);
  const match = new Int32Array(columns + 1);
  const way = new Int32Array(columns + 1);
  for (let i = 1; i <= rows; i++) {
    match[0] = i;
    let column = 0;
    const least = new Float64Array(columns + 1).fill(Infinity);
    const used = new Uint8Array(columns + 1);
    do {
      used[column] = 1;
      const row = match[column] as number;
      let delta = Infinity;
      let next = -1;
      for (let j = 1; j <= columns; j++) {
        if (used[j] === 1) continue;
        const reduced = -(data[(row - 1) * columns + j - 1] as number) - (rowPotential[row] as number) - (columnPotential[j] as number);
        if (reduced < (least[j] as number)) {
          least[j] = reduced;
          way[j] = column;
        }
        if ((least[j] as number) < delta) {
          delta = least[j] as number;
          next = j;
        }
      }
      if (next < 0) return Number.NaN;
      for (let j = 0; j <= columns; j++) {
        if (used[j] === 1) {
          rowPotential[match[j] as number]! += delta;
          columnPotential[j]! -= delta;
        } else {
          least[j]! -= delta;
        }
      }
      column = next;
    } while (match[column] !== 0);
    do {
      const previous = way[column] as number;
      match[column] = match[previous] as number;
      column = previous;
    } while (column !== 0);
  }
  let sum = 0;
  for (let j = 1; j <= columns; j++) if (match[j] !== 0) sum += data[((match[j] as number) - 1) * columns + j - 1] as number;
  return sum;
}
