/** Pages of other origins: preflights, answers and refusals that they may read, and nothing for origins that were not named. */
import { describe, expect, it } from 'vitest';
import { createTransferHandler } from '../../src/edge/index.ts';

const page = 'https://page.example';
const call = (handle: (request: Request) => Promise<Response>, method: string, headers: Record<string, string>) =>
  handle(new Request('https://port.example/', { method, headers }));
const preflight = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-who' };

describe('allowed origins', () => {
  const handle = createTransferHandler({ allowedOrigins: [page, 'http://localhost:5173'] });

  it('may ask beforehand', async () => {
    const response = await call(handle, 'OPTIONS', { origin: page, ...preflight });
    expect(response.status).toBe(204);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'access-control-allow-origin': page,
      'access-control-allow-methods': 'GET, HEAD, POST',
      'access-control-allow-headers': 'x-who',
      vary: 'origin',
    });
  });

  it('may read answers, the record, and refusals', async () => {
    const answer = await call(handle, 'GET', { origin: page });
    expect({ status: answer.status, origin: answer.headers.get('access-control-allow-origin') }).toEqual({ status: 200, origin: page });
    const refusal = await call(handle, 'POST', { origin: page, 'content-type': 'text/plain' });
    expect({ status: refusal.status, origin: refusal.headers.get('access-control-allow-origin') }).toEqual({ status: 415, origin: page });
    expect(refusal.headers.get('access-control-expose-headers')).toContain('trajport-record');
  });

  it('are no others, and no caller without an origin is one', async () => {
    for (const headers of [{ origin: 'https://page.example.evil' }, { origin: 'null' }, {}]) {
      const response = await call(handle, 'GET', headers as Record<string, string>);
      expect([response.status, response.headers.get('access-control-allow-origin'), response.headers.get('vary')]).toEqual([
        200,
        null,
        'origin',
      ]);
    }
    expect(
      (await call(handle, 'OPTIONS', { origin: 'https://evil.example', ...preflight })).headers.get('access-control-allow-origin'),
    ).toBeNull();
  });

  it('may be all, or by default none', async () => {
    const open = await call(createTransferHandler({ allowedOrigins: '*' }), 'OPTIONS', { origin: 'https://any.example', ...preflight });
    expect([open.status, open.headers.get('access-control-allow-origin'), open.headers.get('vary')]).toEqual([204, '*', null]);
    const closed = await call(createTransferHandler(), 'OPTIONS', { origin: page, ...preflight });
    expect([closed.status, closed.headers.get('access-control-allow-origin')]).toEqual([405, null]);
  });

  it('are origins as browsers send them', () => {
    for (const wrong of ['https://page.example/', 'page.example', '*', ''])
      expect(() => createTransferHandler({ allowedOrigins: [wrong] })).toThrow('allowedOrigins[0]: expected an origin');
    expect(() => createTransferHandler({ allowedOrigins: page as never })).toThrow('allowedOrigins: expected');
  });
});
