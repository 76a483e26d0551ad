/**
 * Rematerialisation: a network's nodes in segments, of some of which a gradient keeps only what goes in and computes the rest anew on its
 * way back. Where segments may end, and what computing them anew costs. T. Chen et al., Training Deep Nets with Sublinear Memory Cost
 * (2016), whose segments of √n layers are one choice among these.
 */
import { INPUT, type GraphNode, type ModelGraph, type OperationName } from './graph.ts';

/** Nodes [from, to) of a graph, in its order. */
export interface Segment {
  readonly from: number;
  readonly to: number;
  /** Whether the forward pass keeps nothing of it but its inputs. */
  readonly recomputed: boolean;
}

/** Operations whose time is products: dear to compute anew. */
const PRODUCTS: ReadonlySet<OperationName> = new Set<OperationName>(['dense', 'tied_dense', 'conv2d', 'conv_transpose2d', 'attention']);

/** Batch norms take rectifiers along (`gradient/program.ts`): no segment ends between the two. */
export const RECTIFIERS: ReadonlySet<OperationName> = new Set<OperationName>(['relu', 'relu6']);

/** All nodes at once, everything kept. */
export function wholeOf({ nodes }: ModelGraph): Segment[] {
  return [{ from: 0, to: nodes.length, recomputed: false }];
}

/** Values that the nodes of a segment read and do not make, each once. */
export function inputsOf({ nodes }: ModelGraph, { from, to }: Segment): string[] {
  const made = new Set<string>();
  const inputs = new Set<string>();
  for (const node of nodes.slice(from, to)) {
    for (const name of node.inputs) if (!made.has(name)) inputs.add(name);
    made.add(node.name);
  }
  return [...inputs];
}

/** How often each value is read by the nodes of a segment. */
export function readersIn({ nodes }: ModelGraph, { from, to }: Segment): Map<string, number> {
  const readers = new Map<string, number>();
  for (const { inputs } of nodes.slice(from, to)) for (const name of inputs) readers.set(name, (readers.get(name) ?? 0) + 1);
  return readers;
}

/** The places of those nodes of a segment that run again: not products that no other reads there, which keep their inputs alone. */
export function repeatedIn({ nodes }: ModelGraph, { from, to }: Segment): ReadonlySet<number> {
  const repeated = new Set<number>();
  const read = new Set<string>();
  for (let i = to - 1; i >= from; i--) {
    const { op, name, inputs } = nodes[i] as GraphNode;
    // Attention keeps the sums of its exponentials too.
    if (op === 'attention' || !PRODUCTS.has(op) || read.has(name)) repeated.add(i);
    for (const input of inputs) read.add(input);
  }
  return repeated;
}

/**
 * Ways to cut a graph, each as the ends of its segments. First behind every product, by which only what is cheap is computed anew: norms,
 * activations, sums. Then into ever fewer and larger segments where few values cross, by which products are too.
 * @param elements of each node's value.
 */
export function cutsOf(graph: ModelGraph, elements: readonly number[]): (readonly number[])[] {
  const { nodes } = graph;
  const mayEnd = endsOf(graph);
  const behindProducts = mayEnd.filter((end) => {
    const node = nodes[end - 1] as GraphNode;
    const next = nodes[end];
    // Products of one value stay together, as queries, keys and values do.
    return PRODUCTS.has(node.op) && !(next !== undefined && PRODUCTS.has(next.op) && next.inputs[0] === node.inputs[0]);
  });
  const narrow = narrowEnds(graph, mayEnd);
  const all = elements.reduce((sum, each) => sum + each, 0);
  const coarse: (readonly number[])[] = [];
  for (let parts = narrow.length; parts >= 2; parts = Math.floor(parts / 2)) coarse.push(grouped(narrow, elements, all / parts));
  return [behindProducts, ...coarse];
}

/** Segments that end at `ends`, the first `recomputed` of them not kept; the rest is one. */
export function segmentsOf({ nodes }: ModelGraph, ends: readonly number[], recomputed: number): Segment[] {
  const cuts = [0, ...ends.slice(0, recomputed)];
  const segments: Segment[] = cuts.slice(1).map((to, i) => ({ from: cuts[i] as number, to, recomputed: true }));
  return [...segments, { from: cuts.at(-1) as number, to: nodes.length, recomputed: false }];
}

/** Where a segment may end, by the number of nodes before: not between a norm and its rectifier. */
export function endsOf({ nodes }: ModelGraph): number[] {
  const places = new Map(nodes.map(({ name }, i) => [name, i]));
  const parted = new Set<number>();
  for (const [i, { op, inputs }] of nodes.entries()) {
    const norm = places.get(inputs[0] as string);
    if (!RECTIFIERS.has(op) || norm === undefined || nodes[norm]?.op !== 'batch_norm') continue;
    for (let end = norm + 1; end <= i; end++) parted.add(end);
  }
  return nodes.slice(1).flatMap((_, i) => (parted.has(i + 1) ? [] : [i + 1]));
}

/** Those ends that a single value crosses. */
function narrowEnds({ nodes }: ModelGraph, ends: readonly number[]): number[] {
  const lastReader = new Map<string, number>();
  for (const [i, { inputs }] of nodes.entries()) for (const name of inputs) lastReader.set(name, i);
  // A value crosses the ends from its node to its last reader: how many more do at each end than at the one before.
  const changes = new Map<number, number>();
  const change = (end: number, by: number): void => void changes.set(end, (changes.get(end) ?? 0) + by);
  for (const [i, name] of [INPUT, ...nodes.map((node) => node.name)].entries()) {
    const last = lastReader.get(name);
    if (last === undefined) continue;
    change(i, 1);
    change(last + 1, -1);
  }
  const narrow = new Set<number>();
  let crossing = 0;
  for (let end = 0; end < nodes.length; end++) {
    crossing += changes.get(end) ?? 0;
    if (crossing === 1) narrow.add(end);
  }
  return ends.filter((end) => narrow.has(end));
}

/** Ends that are far enough from each other for `most` elements of values between them, or as few more as there must be. */
function grouped(ends: readonly number[], elements: readonly number[], most: number): number[] {
  const chosen: number[] = [];
  let held = 0;
  let from = 0;
  for (const end of ends) {
    for (; from < end; from++) held += elements[from] as number;
    if (held < most) continue;
    chosen.push(end);
    held = 0;
  }
  return chosen;
}
