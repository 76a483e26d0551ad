/** Where a graph may be cut, and what of its segments runs again: against what the graph itself says, node by node. */
import { describe, expect, it } from 'vitest';
import { recomputedFlops } from '../../src/model/cost.ts';
import { INPUT, inferShapes, type ModelGraph } from '../../src/model/graph.ts';
import { cutsOf, endsOf, inputsOf, repeatedIn, segmentsOf, wholeOf } from '../../src/model/segments.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { gradientCases } from '../gradient/checks.ts';

const elementsOf = (graph: ModelGraph): number[] => {
  const shapes = inferShapes(graph);
  return graph.nodes.map(({ name }) => elementCount(shapes.get(name) ?? []));
};

/** Values that nodes before an end make, the input too, and nodes behind it read. */
function crossing({ nodes }: ModelGraph, end: number): string[] {
  const made = [INPUT, ...nodes.slice(0, end).map(({ name }) => name)];
  return made.filter((name) => nodes.slice(end).some(({ inputs }) => inputs.includes(name)));
}

describe.each(gradientCases.map(({ name, graph }) => [name, graph] as const))('%s', (_name, graph) => {
  const { nodes } = graph;
  const [behindProducts = [], ...coarse] = cutsOf(graph, elementsOf(graph));

  it('is cut between two nodes, in order, and never between a norm and the rectifier that it takes along', () => {
    for (const ends of [endsOf(graph), behindProducts, ...coarse]) {
      expect(ends).toEqual([...new Set(ends)].toSorted((a, b) => a - b));
      for (const end of ends) {
        expect(end).toBeGreaterThan(0);
        expect(end).toBeLessThan(nodes.length);
        for (const [i, { op, inputs }] of nodes.entries()) {
          const norm = nodes.findIndex(({ name }) => name === inputs[0]);
          if ((op === 'relu' || op === 'relu6') && nodes[norm]?.op === 'batch_norm') expect(norm < end).toBe(i < end);
        }
      }
    }
  });

  it('is cut into large segments where a single value crosses', () => {
    for (const ends of coarse) for (const end of ends) expect(crossing(graph, end)).toHaveLength(1);
  });

  it('repeats no product where it is cut behind products', () => {
    for (const segment of segmentsOf(graph, behindProducts, behindProducts.length)) {
      if (!segment.recomputed) continue;
      const ops = [...repeatedIn(graph, segment)].map((i) => nodes[i]?.op);
      expect(ops.filter((op) => op === 'dense' || op === 'conv2d' || op === 'conv_transpose2d')).toEqual([]);
    }
  });

  it('is all segments, in order, the last of which is kept; they read what crosses', () => {
    for (const ends of [behindProducts, ...coarse]) {
      for (let recomputed = 0; recomputed <= ends.length; recomputed++) {
        const segments = segmentsOf(graph, ends, recomputed);
        expect(segments.map(({ from }) => from)).toEqual([0, ...ends.slice(0, recomputed)]);
        expect(segments.map(({ to }) => to)).toEqual([...ends.slice(0, recomputed), nodes.length]);
        expect(segments.map((segment) => segment.recomputed)).toEqual(segments.map((_, i) => i < recomputed));
        for (const segment of segments) {
          const read = nodes.slice(segment.from, segment.to).flatMap(({ inputs }) => inputs);
          const expected = crossing(graph, segment.from).filter((name) => read.includes(name));
          expect(inputsOf(graph, segment).toSorted()).toEqual(expected.toSorted());
        }
      }
    }
  });

  it('costs nothing more where nothing is computed anew, and more with every segment that is', () => {
    const shapes = inferShapes(graph);
    expect(recomputedFlops(graph, shapes, wholeOf(graph))).toBe(0);
    for (const ends of [behindProducts, ...coarse]) {
      const flops = [0, ...ends].map((_, recomputed) => recomputedFlops(graph, shapes, segmentsOf(graph, ends, recomputed)));
      expect(flops).toEqual(flops.toSorted((a, b) => a - b));
    }
  });
});
