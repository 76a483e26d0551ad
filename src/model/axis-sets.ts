/**
 * Which axes of a network's tensors must move together: disjoint sets of axes (union–find), where an axis may be a
 * product of factors. Flattening [C, H, W] gives an axis with the factors C, H, W; a grouped convolution splits its
 * channels into groups × channels of a group. A set that must not move carries the reason.
 */
import { LimitError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

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
  /** What arrangements are made of is cut in stretches and never split into factors. */
  stretch: boolean;
  /** What this is a stretch of, and from where. */
  origin: { readonly name: string; readonly start: number } | null;
  /** Why the whole set may not move (roots only). */
  fixed: string | null;
}

export class AxisSets {
  #serial = 0;
  #stretches = 0;

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
    for (const { set } of segments) find(set as Entry).stretch = true;
    return [entry];
  }

  /**
   * `length` units from `start` of an axis. What they are taken from moves in stretches from then on: the taken and the left
   * ones each by themselves. Null where no cut is possible: through a head, or through a factor behind the first.
   */
  slice(axis: Axis, start: number, length: number, name: string): Axis | null {
    const [leading, ...rest] = this.leaves(axis) as Entry[];
    if (leading === undefined) return axis;
    const inner = rest.reduce((product, { size }) => product * size, 1);
    if (start % inner !== 0 || length % inner !== 0) return null;
    const [from, to] = [start / inner, (start + length) / inner];
    if (from === 0 && to === leading.size) return axis;
    if (leading.fixed !== null) return [...this.fixed(to - from, leading.fixed), ...rest];
    if (!this.#cut(leading, from) || !this.#cut(leading, to)) return null;
    let at = 0;
    const taken = this.#stretchesOf(leading).filter(({ set, repeat }) => {
      at += set.size * repeat;
      return at > from && at <= to;
    });
    const [only, ...more] = taken;
    const head = only !== undefined && more.length === 0 && isPlain(only) ? [only.set] : this.arrange(taken, name);
    return [...head, ...rest];
  }

  /** Several axes one behind the other; null where one of them is a product, whose factors would not be stretches. */
  concatenate(axes: readonly Axis[], name: string): Axis | null {
    const segments: AxisSegment[] = [];
    for (const axis of axes) {
      const [set, ...more] = axis.length === 1 ? [find(axis[0] as Entry)] : this.leaves(axis);
      if (set === undefined || more.length > 0 || (set as Entry).parts !== null) return null;
      const own = (set as Entry).segments ?? [{ set, blocks: 1, repeat: 1 }];
      this.#count(own.length);
      for (const segment of own) segments.push(segment);
    }
    return this.arrange(segments, name);
  }

  /** The stretches of a factor that `arrange` made, each with the representative of its set and why it may not move; null for others. */
  segmentsOf(factor: AxisSet): readonly (AxisSegment & { readonly reason: string | null })[] | null {
    const root = find(factor as Entry);
    return root.segments === null ? null : this.#stretchesOf(root).map((segment) => ({ ...segment, reason: segment.set.fixed }));
  }

  familyOf(factor: AxisSet): AxisFamily | null {
    return find(factor as Entry).family;
  }

  /** Whether any permutation of a factor's units still will do, whatever becomes of others: nothing split, cut, tied or fixed it. */
  isFree([factor, ...more]: Axis): boolean {
    if (factor === undefined || more.length > 0) return false;
    const { parent, parts, segments, family, stretch, fixed } = factor as Entry;
    return parent === null && parts === null && segments === null && family === null && !stretch && fixed === null;
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
    return {
      size,
      name,
      serial: this.#serial++,
      ownReason: reason,
      parent: null,
      parts: null,
      segments: null,
      family: null,
      stretch: false,
      origin: null,
      fixed: reason,
    };
  }

  /** Unites two roots of one size that are not split. */
  #unite(x: Entry, y: Entry, through: string): void {
    const [a, b] = [this.#aloneIn(x), this.#aloneIn(y)];
    if (a !== null && b !== null) {
      if (a !== b) unitePlain(a, b, through);
      for (const root of [x, y]) if (find(root) !== find(a)) root.parent = find(a);
      return;
    }
    // What moves in stretches lends them to a set that moves as one; two of the former are cut wherever either is.
    const [structured, other] = a === null ? [x, y] : [y, x];
    if (a === null && b === null && !this.#uniteStretches(structured, other, through)) {
      const reason = `its heads or parts do not match across ${through}`;
      fixEntry(structured, reason);
      fixEntry(other, reason);
    }
    const plain = a ?? b ?? other;
    if (plain.fixed !== null) fixEntry(structured, tied(plain.fixed, through));
    structured.segments = this.#stretchesOf(structured);
    for (const root of [plain, other]) root.parent = structured;
  }

  /** Both are arranged. False where a stretch of one lies across a head of the other, or heads differ. */
  #uniteStretches(x: Entry, y: Entry, through: string): boolean {
    for (let i = 0; ; ) {
      const [a, b] = [this.#stretchesOf(x)[i], this.#stretchesOf(y)[i]];
      if (a === undefined || b === undefined) return true;
      const [sizeA, sizeB] = [extentOf(a), extentOf(b)];
      if (sizeA === sizeB) {
        if (!uniteStretch(a, b, through)) return false;
        i++;
      } else {
        const [longer, size] = sizeA > sizeB ? [a, sizeB] : [b, sizeA];
        if (!isPlain(longer) || !this.#cut(longer.set, size)) return false;
      }
    }
  }

  /** Cuts a root in two stretches at a place; false where that lies within a head. */
  #cut(root: Entry, place: number): boolean {
    if (place === 0 || place === root.size) return true;
    if (root.segments !== null) {
      let start = 0;
      for (const segment of this.#stretchesOf(root)) {
        const size = extentOf(segment);
        if (place < start + size) return place === start || (isPlain(segment) && this.#cut(segment.set, place - start));
        start += size;
      }
    }
    if (root.family !== null || root.parts !== null) return false;
    const piece = (from: number, to: number): AxisSegment => {
      const [name, start] = [root.origin?.name ?? root.name, root.origin?.start ?? 0];
      const set: Entry = this.#entry(to - from, `${name}[${start + from}:${start + to}]`, null);
      Object.assign(set, { origin: { name, start: start + from }, stretch: true, fixed: root.fixed });
      return { set, blocks: 1, repeat: 1 };
    };
    root.segments = [piece(0, place), piece(place, root.size)];
    return true;
  }

  /**
   * What a root consists of down to the sets that move as one; itself where it does. Without recursion: an axis that is cut again and
   * again has each cut within the one before, and 9,000 slices in a row overflowed the stack.
   */
  #stretchesOf(root: Entry): Stretch[] {
    const found: Stretch[] = [];
    const open: { readonly segment: AxisSegment; readonly within: Entry }[] = [];
    const enter = (within: Entry): void => {
      const segments = within.segments ?? [{ set: within, blocks: 1, repeat: 1 }];
      this.#count(segments.length);
      for (const segment of segments.toReversed()) open.push({ segment, within });
    };
    enter(root);
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { segment, within } = next;
      const set = find(segment.set as Entry);
      const nested = set !== within && set.segments !== null && segment.blocks === 1 && segment.repeat === 1;
      if (nested) enter(set);
      else found.push({ ...segment, set });
    }
    return found;
  }

  /** The set that a root consists of alone, moving as one; null where there are several, or heads. */
  #aloneIn(root: Entry): Entry | null {
    const [only, ...more] = this.#stretchesOf(root);
    return only !== undefined && more.length === 0 && isPlain(only) ? only.set : null;
  }

  /** Before as many stretches are looked at: an axis joined with itself has twice as many, again and again. @throws LimitError */
  #count(stretches: number): void {
    this.#stretches += stretches;
    if (this.#stretches <= limits.axisStretches) return;
    throw new LimitError({
      field: 'graph',
      expected: `concatenations and slices whose permutations take at most ${limits.axisStretches} stretches of axes to derive`,
      got: 'more',
    });
  }

  /** Splits a root into `leading` × the rest. */
  #split(root: Entry, leading: number): boolean {
    if (isStructured(root) || root.stretch) return false;
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

/** A stretch of which the set is known by its representative. */
interface Stretch extends AxisSegment {
  readonly set: Entry;
}

const extentOf = ({ set, repeat }: AxisSegment): number => set.size * repeat;

/** Any permutation of its units will do. */
function isPlain({ set, blocks, repeat }: Stretch): boolean {
  return blocks === 1 && repeat === 1 && set.family === null && set.segments === null && set.parts === null;
}

/** Two stretches of one extent; false where their heads differ. */
function uniteStretch(a: Stretch, b: Stretch, through: string): boolean {
  if (a.set === b.set) return a.blocks === b.blocks && a.repeat === b.repeat;
  if (isPlain(a) && isPlain(b)) unitePlain(a.set, b.set, through);
  else if (isPlain(a) || isPlain(b)) {
    const [plain, other] = isPlain(a) ? [a.set, b] : [b.set, a];
    plain.segments = [other];
    if (plain.fixed !== null) fixEntry(other.set, tied(plain.fixed, through));
    else plain.fixed = other.set.fixed;
  } else if (a.blocks !== b.blocks || a.repeat !== b.repeat || a.set.size !== b.set.size) return false;
  else uniteFamilies(a.set, b.set, through);
  return true;
}

/** Two kinds of units become one, and what moves with either in blocks moves with both: keys that several attentions share. */
function uniteFamilies(x: Entry, y: Entry, through: string): void {
  const [elder, younger] = x.serial < y.serial ? [x, y] : [y, x];
  const [family, other] = [elder.family as AxisFamily, younger.family as AxisFamily];
  younger.parent = elder;
  const members = [...new Set([...family.members, ...other.members].map((member) => find(member as Entry)))];
  const united: AxisFamily = { ...family, members };
  for (const member of members) member.family = united;
  const reason = younger.fixed ?? members.find(({ fixed }) => fixed !== null)?.fixed ?? null;
  if (reason !== null) for (const member of members) fixEntry(member, tied(reason, through));
}

function isStructured({ family, segments }: Entry): boolean {
  return family !== null || segments !== null;
}

/** A family is held as a whole: blocks that may not move hold those of the other members. */
function fixEntry(root: Entry, reason: string): void {
  const open = [root];
  for (let entry = open.pop(); entry !== undefined; entry = open.pop()) {
    if (entry.fixed !== null) continue;
    entry.fixed = reason;
    for (const { set } of entry.segments ?? []) open.push(find(set as Entry));
    for (const member of entry.family?.members ?? []) open.push(find(member as Entry));
  }
}

/** Unites two roots that are neither split nor structured. */
function unitePlain(x: Entry, y: Entry, through: string): void {
  const [elder, younger] = x.serial < y.serial ? [x, y] : [y, x];
  younger.parent = elder;
  elder.stretch ||= younger.stretch;
  const reason = elder.fixed ?? younger.fixed;
  if (reason === null) return;
  // A member that was free is held by the other; what was fixed keeps its own reason (see `resolve`).
  elder.fixed = elder.fixed !== null && younger.fixed !== null ? elder.fixed : tied(reason, through);
}

function tied(reason: string, through: string): string {
  return reason.startsWith('tied to ') ? reason : `tied to the ${reason} through ${through}`;
}
