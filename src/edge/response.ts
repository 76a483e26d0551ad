/** How answers are written: weights with their record, errors as JSON, and what the service says of itself. */
import { LimitError, TrajportError } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { Caps } from './caps.ts';
import { dataPartUses } from './data.ts';
import { sourcePartUses } from './source.ts';
import { edgeMethods, fieldInOptions, requestOptionNames } from './options.ts';
import { Refusal } from './refusal.ts';

/** 400: bytes that are not what they claim; 413: too much; 422: inputs that do not fit together; 503: not enough memory here. */
const statuses: Readonly<Record<ErrorCode, number>> = {
  'malformed-file': 400, integrity: 400, limit: 413, 'invalid-argument': 422, unsupported: 422, 'not-finite': 422,
  budget: 503, 'out-of-memory': 503, kernel: 500, locked: 423, network: 502,
};

/** The answer to a request that failed: whose fault it is, in its status, and what was wrong, as JSON. */
export function errorResponse(error: unknown, signal: AbortSignal): Response {
  // First: that its compute core was taken away is what a request whose client left may fail of, and no fault of its options.
  if (signal.aborted) return json(499, problem('AbortError', 'request', 'a client that waits', 'one that left'));
  if (error instanceof Refusal) return json(error.status, error.facts, error.status === 503 ? { 'retry-after': '10' } : {});
  if (error instanceof TrajportError) return json(statuses[error.code], { ...error.toJSON(), field: fieldInOptions(error.field) });
  // The fault is ours, and tells a stranger nothing of what happened inside.
  return json(500, problem('InternalError', 'service', 'an answer', 'a fault of trajport'));
}

/** The answer to a request that is no POST of a form as it should be; undefined where it is. */
export function requestProblem({ method, headers }: Request): Response | undefined {
  if (method !== 'POST') return json(405, problem('MethodError', 'method', 'GET or POST', method), { allow: 'GET, HEAD, POST' });
  const type = (headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase();
  if (type !== 'multipart/form-data')
    return json(415, problem('ContentTypeError', 'content-type', 'multipart/form-data', type || 'none'));
  // No runtime unpacks what a request sends; read as it is, a packed body would be called a form that is broken.
  const coding = (headers.get('content-encoding') ?? 'identity').trim().toLowerCase();
  if (coding === 'identity') return undefined;
  const wanted = 'none: data may be gzipped, each part by itself';
  return json(415, problem('ContentTypeError', 'content-encoding', wanted, coding), { 'accept-encoding': 'identity' });
}

/** What servers and clients take of a header in common is 8 KiB; half of it is for what the record says beside the request's own words. */
const RECORD_WORDS = 4096;

/** @throws LimitError before anything is computed, where the record could not be sent. */
export function requireRecordFits(request: Request, words: object): void {
  const { length } = asciiJson(words);
  if (length <= RECORD_WORDS || takesMultipart(request)) return;
  throw new LimitError({
    field: 'options',
    expected: `options and labels of at most ${RECORD_WORDS} characters in a header (or Accept: multipart/form-data)`,
    got: `${length}`,
  });
}

function takesMultipart(request: Request): boolean {
  return (request.headers.get('accept') ?? '').toLowerCase().includes('multipart/form-data');
}

/** What is answered: a part of that name where the client takes several, and a file of that name. */
export interface Ported {
  readonly part: 'weights' | 'adapter';
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function portResponse(request: Request, { part, name, bytes }: Ported, record: object): Response {
  if (takesMultipart(request)) {
    const form = new FormData();
    form.set('record', JSON.stringify(record));
    form.set(part, new Blob([bytes], { type: 'application/octet-stream' }), name);
    return new Response(form);
  }
  return new Response(bytes, {
    headers: {
      'content-type': 'application/octet-stream',
      'content-disposition': `attachment; filename="${name}"`,
      'trajport-record': asciiJson(record),
    },
  });
}

/** JSON in ASCII: header values take no other characters. */
function asciiJson(value: object): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export function describeService(caps: Caps): object {
  return {
    service: 'trajport',
    usage: 'POST multipart/form-data',
    parts: {
      ...sourcePartUses,
      target: 'base weights to port to, safetensors',
      ...dataPartUses,
      options: `JSON, optional: ${requestOptionNames.join(', ')}`,
    },
    methods: edgeMethods,
    caps,
  };
}

function problem(error: string, field: string, expected: string, got: string): object {
  return { error, field, expected, got };
}

export function json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): Response {
  return Response.json(body, { status, headers });
}
