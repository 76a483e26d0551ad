/** Cross-origin requests (CORS) of pages: what browsers ask beforehand, and what every answer has to say, refusals included. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireList } from '../core/require.ts';

type Handler = (request: Request) => Promise<Response>;

/** Headers of answers that a page may read beside the few that every page may. */
const EXPOSED = 'trajport-record, content-disposition, retry-after';
/** Seconds for which a browser need not ask again: as many as Chromium keeps at most. */
const MAX_AGE = '7200';

/**
 * `handle` for pages of these origins too. @throws InvalidArgumentError for what is no origin: a path or a slash at its
 * end would never match.
 */
export function withOrigins(handle: Handler, origins: '*' | readonly string[]): Handler {
  if (origins !== '*') requireList('allowedOrigins', origins, requireOrigin);
  return async (request) => {
    const origin = request.headers.get('origin');
    const allowed = origins === '*' ? '*' : origin !== null && origins.includes(origin) ? origin : undefined;
    const preflight = request.method === 'OPTIONS' && request.headers.has('access-control-request-method');
    const response = preflight && allowed !== undefined ? new Response(null, { status: 204 }) : await handle(request);
    if (origins !== '*') response.headers.append('vary', 'origin');
    if (allowed === undefined) return response;
    response.headers.set('access-control-allow-origin', allowed);
    response.headers.set('access-control-expose-headers', EXPOSED);
    if (preflight) {
      response.headers.set('access-control-allow-methods', 'GET, HEAD, POST');
      // A page may send headers of its own, such as one that says who asks.
      const asked = request.headers.get('access-control-request-headers');
      if (asked !== null) response.headers.set('access-control-allow-headers', asked);
      response.headers.set('access-control-max-age', MAX_AGE);
    }
    return response;
  };
}

function requireOrigin(field: string, origin: unknown): void {
  const valid = typeof origin === 'string' && URL.canParse(origin) && new URL(origin).origin === origin;
  if (!valid)
    throw new InvalidArgumentError({
      field,
      expected: 'an origin as browsers send it, such as https://example.com',
      got: describe(origin),
    });
}
