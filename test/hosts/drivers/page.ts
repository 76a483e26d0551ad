/** Runs the entry in a browser page: asks the launcher's server for the next request, posts the response, repeats. */
import { answer } from '../wire.ts';
import { run } from 'trajport:entry';

for (;;) {
  const request = await fetch('/next', { method: 'POST' });
  if (request.status !== 200) break;
  await fetch('/response', { method: 'POST', body: await answer(run, await request.text()) });
}
