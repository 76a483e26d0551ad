/** Runs the entry in workerd: one POST, one response. */
import { answer } from '../wire.ts';
import { run } from 'trajport:entry';

export default {
  async fetch(request: Request): Promise<Response> {
    return new Response(await answer(run, await request.text()));
  },
};
