/** A foreign file as the state of a network. */
import { describe, expect, it } from 'vitest';
import { stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import { readForeign } from '../../../src/bundle/foreign/formats.ts';
import { sequential } from '../../../src/model/builder.ts';
import { vector } from './support.ts';

describe('a PyTorch file as the state of a network', () => {
  it('gives the state, or says what does not fit', async () => {
    const checkpoint = await readForeign(vector('views.pt'));
    const graph = sequential([6], [{ op: 'dense', out: 4, bias: false }]);
    const name = `${graph.nodes[0]?.name}.weight`;
    const { state, report } = stateFromForeign(graph, checkpoint, [{ from: 'same', to: name }, { from: '**', to: null }], 'views.pt');
    expect(report.fits).toBe(true);
    expect([...(state?.parameters.get(name)?.data.slice(0, 3) ?? [])]).toEqual([0, 0.125, 0.25]);
    expect(stateFromForeign(graph, checkpoint, [], 'views.pt').state).toBeUndefined();
  });
});
