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

/**
 * Sets whose units come in the same number of blocks and move block by block, in all of them alike; within a block each set
 * moves as it likes. The heads of an attention: whole heads move together, queries with keys and values within each.
 */
export interface AxisFamily {
  readonly name: string;
  readonly blocks: number;
  readonly members: readonly AxisSet[];
}

/** A stretch of an arranged axis: the units of one set, every block of them `repeat` times over: [blocks, repeat, units]. */
export interface AxisSegment {
  readonly set: AxisSet;
  readonly blocks: number;
  readonly repeat: number;
}

interface Entry extends AxisSet {
  parent: Entry | null;
  /** The finer factors that this one was split into. */
  parts: readonly Entry[] | null;
  /** The stretches that this one consists of, one behind the other. */
  segments: readonly AxisSegment[] | null;
  family: AxisFamily | null;
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

  /** New sets that move in blocks: one axis for each width, of `blocks` · width units. */
  family(blocks: number, widths: readonly number[], name: string): readonly Axis[] {
    const members = widths.map((width) => this.#entry(blocks * width, name, null));
    const family: AxisFamily = { name, blocks, members };
    for (const member of members) member.family = family;
    // Single units in a single block have no place to go.
    if (blocks === 1) for (const member of members) if (member.size === 1) member.fixed = 'one unit alone';
    return members.map((member) => [member]);
  }

  /** An axis made of stretches of other sets, one behind the other. */
  arrange(segments: readonly AxisSegment[], name: string): Axis {
    const size = segments.reduce((sum, { set, repeat }) => sum + set.size * repeat, 0);
    const entry = this.#entry(size, name, null);
    entry.segments = segments;
    return [entry];
  }

  /** Several axes one behind the other; null where one of them is a product, whose factors would not be stretches. */
  concatenate(axes: readonly Axis[], name: string): Axis | null {
    const segments: AxisSegment[] = [];
    for (const axis of axes) {
      const [set, ...more] = axis.length === 1 ? [find(axis[0] as Entry)] : this.leaves(axis);
      if (set === undefined || more.length > 0 || (set as Entry).parts !== null) return null;
      segments.push(...((set as Entry).segments ?? [{ set, blocks: 1, repeat: 1 }]));
    }
    return this.arrange(segments, name);
  }

  /** The stretches of a factor that `arrange` made, each with the representative of its set and why it may not move; null for others. */
  segmentsOf(factor: AxisSet): readonly (AxisSegment & { readonly reason: string | null })[] | null {
    const { segments } = find(factor as Entry);
    return (
      segments?.map((segment) => {
        const set = find(segment.set as Entry);
        return { ...segment, set, reason: set.fixed };
      }) ?? null
    );
  }

  familyOf(factor: AxisSet): AxisFamily | null {
    return find(factor as Entry).family;
  }

  /** Forbids every factor of `axis` to move. */
  fix(axis: Axis, reason: string): void {
    for (const leaf of this.leaves(axis)) fixEntry(leaf as Entry, reason);
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
      if (x.size === y.size) this.#unite(x, y, through);
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
    return { size, name, serial: this.#serial++, ownReason: reason, parent: null, parts: null, segments: null, family: null, fixed: reason };
  }

  /** Unites two roots of one size that are not split. */
  #unite(x: Entry, y: Entry, through: string): void {
    const [structured, other] = isStructured(x) ? [x, y] : [y, x];
    if (!isStructured(structured)) {
      unitePlain(x, y, through);
      return;
    }
    // What moves in blocks or stretches lends its structure to a plain set; two structures need not fit one another.
    if (isStructured(other) && !this.#uniteSegments(structured, other, through)) {
      const reason = `its heads or parts do not match across ${through}`;
      fixEntry(structured, reason);
      fixEntry(other, reason);
    }
    if (other.fixed !== null) fixEntry(structured, tied(other.fixed, through));
    other.parent = structured;
  }

  #uniteSegments(x: Entry, y: Entry, through: string): boolean {
    if (x.segments === null || y.segments === null || x.segments.length !== y.segments.length) return false;
    const pairs = x.segments.map((segment, i) => [segment, y.segments?.[i] as AxisSegment] as const);
    const fits = pairs.every(([a, b]) => a.set.size === b.set.size && a.blocks === b.blocks && a.repeat === b.repeat);
    if (fits) for (const [a, b] of pairs) this.unify([a.set], [b.set], through);
    return fits;
  }

  /** Splits a root into `leading` × the rest. */
  #split(root: Entry, leading: number): boolean {
    if (isStructured(root)) return false;
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

function isStructured({ family, segments }: Entry): boolean {
  return family !== null || segments !== null;
}

/** A family is held as a whole: blocks that may not move hold those of the other members. */
function fixEntry(root: Entry, reason: string): void {
  if (root.fixed !== null) return;
  root.fixed = reason;
  for (const { set } of root.segments ?? []) fixEntry(find(set as Entry), reason);
  for (const member of root.family?.members ?? []) fixEntry(find(member as Entry), reason);
}

/** Unites two roots that are neither split nor structured. */
function unitePlain(x: Entry, y: Entry, through: string): void {
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
