/**
 * Which axes of a network's tensors must move together: disjoint sets of axes (union–find), where an axis may be a
 * product of factors. Flattening [C, H, W] gives an axis with the factors C, H, W; a grouped convolution splits its
 * channels into groups × channels of a group. A set that must not move carries the reason.
 */

/** One factor of an axis. Only `AxisSets` looks inside. */
export interface AxisSet {
  readonly size: number;
  /** After the node that made it; names the permutation group. */
  readonly name: string;
  /** Age: of united sets the eldest gives the name. */
  readonly serial: number;
  /** Why this factor, by itself, may not move. */
  readonly ownReason: string | null;
}

/** Factors in row-major order; their product is the extent. Factors of size 1 may be left out. */
export type Axis = readonly AxisSet[];

interface Entry extends AxisSet {
  parent: Entry | null;
  /** The finer factors that this one was split into. */
  parts: readonly Entry[] | null;
  /** Why the whole set may not move (roots only). */
  fixed: string | null;
}

export class AxisSets {
  #serial = 0;

  /** A new factor that may move. */
  create(size: number, name: string): Axis {
    return [this.#entry(size, name, null)];
  }

  /** A new factor that may not. */
  fixed(size: number, reason: string): Axis {
    return [this.#entry(size, '', reason)];
  }

  /** Forbids every factor of `axis` to move. */
  fix(axis: Axis, reason: string): void {
    for (const leaf of this.leaves(axis)) (leaf as Entry).fixed ??= reason;
  }

  /** The finest factors of size > 1, each as the representative of its set. */
  leaves(axis: Axis): AxisSet[] {
    return axis.flatMap((factor) => {
      const root = find(factor as Entry);
      if (root.parts !== null) return this.leaves(root.parts);
      return root.size === 1 ? [] : [root];
    });
  }

  /** The finest factors of size > 1, each with the reason why it may not move (null where it may). */
  resolve(axis: Axis): { readonly leaf: AxisSet; readonly reason: string | null }[] {
    // What was fixed by itself keeps its own reason, also where others were tied to it.
    return axis.flatMap((factor) =>
      this.leaves([factor]).map((leaf) => ({ leaf, reason: factor.ownReason ?? (leaf as Entry).fixed })),
    );
  }

  /**
   * Requires two axes of one extent to move alike; splits factors where they are not the same on both.
   * @param through what ties them, e.g. `the addition "add1"`.
   */
  unify(a: Axis, b: Axis, through: string): void {
    // Each round unites or splits one pair of factors, so this ends.
    for (;;) {
      const left = this.leaves(a) as Entry[];
      const right = this.leaves(b) as Entry[];
      const at = left.findIndex((leaf, index) => leaf !== right[index]);
      if (at < 0) return;
      const x = left[at] as Entry;
      const y = right[at] as Entry;
      if (x.size === y.size) unite(x, y, through);
      else if (!this.#split(x, y.size) && !this.#split(y, x.size)) {
        const reason = `its factors do not match across ${through}`;
        this.fix(a, reason);
        this.fix(b, reason);
        return;
      }
    }
  }

  /**
   * The factors of `axis` in two halves, the first of them making up `leading`; null where no factor can be split so.
   */
  splitAt(axis: Axis, leading: number): readonly [Axis, Axis] | null {
    for (;;) {
      const leaves = this.leaves(axis) as Entry[];
      let product = 1;
      let count = 0;
      while (product < leading && count < leaves.length) product *= (leaves[count++] as Entry).size;
      if (product === leading) return [leaves.slice(0, count), leaves.slice(count)];
      const last = leaves[count - 1];
      if (last === undefined || product < leading) return null;
      const before = product / last.size;
      if (leading % before !== 0 || !this.#split(last, leading / before)) return null;
    }
  }

  #entry(size: number, name: string, reason: string | null): Entry {
    return { size, name, serial: this.#serial++, ownReason: reason, parent: null, parts: null, fixed: reason };
  }

  /** Splits a root into `leading` × the rest. */
  #split(root: Entry, leading: number): boolean {
    if (leading <= 1 || leading >= root.size || root.size % leading !== 0) return false;
    root.parts = [leading, root.size / leading].map((size, index) => ({
      ...this.#entry(size, `${root.name}[${index}]`, null),
      fixed: root.fixed,
    }));
    return true;
  }
}

function find(entry: Entry): Entry {
  let root = entry;
  while (root.parent !== null) root = root.parent;
  return root;
}

/** Unites two roots that are not split. */
function unite(x: Entry, y: Entry, through: string): void {
  const [elder, younger] = x.serial < y.serial ? [x, y] : [y, x];
  younger.parent = elder;
  const reason = elder.fixed ?? younger.fixed;
  if (reason === null) return;
  // A member that was free is held by the other; what was fixed keeps its own reason (see `resolve`).
  elder.fixed = elder.fixed !== null && younger.fixed !== null ? elder.fixed : tied(reason, through);
}

function tied(reason: string, through: string): string {
  return reason.startsWith('tied to ') ? reason : `tied to the ${reason} through ${through}`;
}
