// The definitions of matching in plain f64 loops over index tuples: nothing here is shared with src/matching, so that
// kernels, layouts and updates are held against something else than themselves.
import type { PermutationSpec } from '../../src/model/permutation-spec.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import type { NamedTensors, Tensor } from '../../src/tensor/tensor.ts';

export interface Pair {
  readonly target: NamedTensors;
  readonly source: NamedTensors;
}

/** A spec from `name → [view axis: [size, group or null], …]`; the stored shape is the view unless given. */
export function specOf(
  tensors: Record<string, readonly (readonly [number, string | null])[]>,
  shapes: Record<string, readonly number[]> = {},
): PermutationSpec {
  const members = new Map<string, { size: number; list: { tensor: string; axis: number }[] }>();
  const specs = new Map(
    Object.entries(tensors).map(([name, axes]) => {
      axes.forEach(([size, group], axis) => {
        if (group === null) return;
        const entry = members.get(group) ?? { size, list: [] };
        entry.list.push({ tensor: name, axis });
        members.set(group, entry);
      });
      const view = axes.map(([size]) => size);
      return [
        name,
        {
          shape: shapes[name] ?? view,
          view,
          axes: axes.map(([, group]) => group),
          reasons: axes.map(([, g]) => (g === null ? 'fixed' : null)),
        },
      ] as const;
    }),
  );
  const groups = [...members].map(([id, { size, list }]) => ({ id, size, members: list }));
  return { groups, tensors: specs };
}

/** Tensors of the spec's shapes with roughly normal entries (sum of four uniforms). */
export function randomTensors(spec: PermutationSpec, seed: number): NamedTensors {
  const tensors = new Map<string, Tensor>();
  let index = 0;
  for (const [name, { shape }] of spec.tensors) {
    const random = new Random(seed, streams.initialise, index++);
    const count = shape.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length: count }, () => random.uniform() + random.uniform() + random.uniform() + random.uniform() - 2);
    tensors.set(name, { shape, data });
  }
  return tensors;
}

/** All index tuples of a shape in C order. */
function* tuples(shape: readonly number[]): Generator<number[]> {
  const total = shape.reduce((a, b) => a * b, 1);
  for (let at = 0; at < total; at++) {
    const tuple: number[] = [];
    let rest = at;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      tuple[axis] = rest % (shape[axis] as number);
      rest = Math.floor(rest / (shape[axis] as number));
    }
    yield tuple;
  }
}

function offset(shape: readonly number[], tuple: readonly number[]): number {
  return tuple.reduce((at, i, axis) => at * (shape[axis] as number) + i, 0);
}

type Perms = ReadonlyMap<string, Int32Array>;

/** permuted[i, j, …] = data[p(i), q(j), …] over the view. */
export function permuteOne(spec: PermutationSpec, name: string, data: Float32Array, perms: Perms): Float64Array {
  const { view, axes } = spec.tensors.get(name) as NonNullable<ReturnType<PermutationSpec['tensors']['get']>>;
  const out = new Float64Array(data.length);
  for (const tuple of tuples(view)) {
    const from = tuple.map((i, axis) => {
      const group = axes[axis] ?? null;
      return group === null ? i : ((perms.get(group as string) as Int32Array)[i] as number);
    });
    out[offset(view, tuple)] = data[offset(view, from)] as number;
  }
  return out;
}

const norm = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));

/** A[i, j] of a group by the definition of the official code. */
export function similarityOf(
  spec: PermutationSpec,
  pairs: readonly Pair[],
  groupId: string,
  perms: Perms,
  normalise = false,
): Float64Array {
  const group = spec.groups.find(({ id }) => id === groupId) as PermutationSpec['groups'][number];
  const n = group.size;
  const similarity = new Float64Array(n * n);
  for (const { target, source } of pairs) {
    for (const { tensor, axis } of group.members) {
      const t = target.get(tensor)?.data;
      const s = source.get(tensor)?.data;
      if (t === undefined || s === undefined) continue;
      const { view, axes } = spec.tensors.get(tensor) as NonNullable<ReturnType<PermutationSpec['tensors']['get']>>;
      const product = norm(t) * norm(s);
      const scale = normalise && product > 1e-12 ? 1 / product : 1;
      for (const tuple of tuples(view)) {
        const i = tuple[axis] as number;
        const from = tuple.map((u, a) => {
          const id = axes[a] ?? null;
          return id === null || a === axis ? u : ((perms.get(id as string) as Int32Array)[u] as number);
        });
        const value = (t[offset(view, tuple)] as number) * scale;
        for (let j = 0; j < n; j++) {
          from[axis] = j;
          similarity[i * n + j] = (similarity[i * n + j] as number) + value * (s[offset(view, from)] as number);
        }
      }
    }
  }
  return similarity;
}

/** Σ over pairs and tensors with a permuted axis of ⟨target, π(source)⟩. */
export function objectiveOf(spec: PermutationSpec, pairs: readonly Pair[], perms: Perms, normalise = false): number {
  let objective = 0;
  for (const { target, source } of pairs) {
    for (const [name, { axes }] of spec.tensors) {
      const t = target.get(name)?.data;
      const s = source.get(name)?.data;
      if (t === undefined || s === undefined || axes.every((group) => group === null)) continue;
      const product = norm(t) * norm(s);
      const scale = normalise && product > 1e-12 ? 1 / product : 1;
      permuteOne(spec, name, s, perms).forEach((v, i) => {
        objective += v * (t[i] as number) * scale;
      });
    }
  }
  return objective;
}

/** The official loop from the identity along given orders, until a sweep improves nothing. */
export function coordinateDescent(
  spec: PermutationSpec,
  pairs: readonly Pair[],
  orders: (sweep: number) => readonly string[],
  assign: (data: Float64Array, n: number) => Int32Array,
  normalise = false,
): { permutations: Map<string, Int32Array>; sweeps: number } {
  const permutations = new Map<string, Int32Array>(spec.groups.map(({ id, size }) => [id, Int32Array.from({ length: size }, (_, i) => i)]));
  for (let sweep = 0; sweep < 100; sweep++) {
    let progress = false;
    for (const id of orders(sweep)) {
      const current = permutations.get(id) as Int32Array;
      const n = current.length;
      const data = similarityOf(spec, pairs, id, permutations, normalise);
      const before = current.reduce((sum, j, i) => sum + (data[i * n + j] as number), 0);
      const assignment = assign(data, n);
      const after = assignment.reduce((sum, j, i) => sum + (data[i * n + j] as number), 0);
      permutations.set(id, assignment);
      if (after > before + 1e-7) progress = true;
    }
    if (!progress) return { permutations, sweeps: sweep + 1 };
  }
  return { permutations, sweeps: 100 };
}
