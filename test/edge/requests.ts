/** What tests of the fetch handler share: a form as a request, an answer's weights and its problem. */
import { createHash } from 'node:crypto';

/** Parts as they are given; one that is undefined is left out. */
export function request(
  parts: Readonly<Record<string, Uint8Array | string | undefined>>, init: { accept?: string; signal?: AbortSignal } = {},
): Request {
  const form = new FormData();
  for (const [name, value] of Object.entries(parts)) {
    if (value !== undefined) form.set(name, typeof value === 'string' ? value : new Blob([Uint8Array.from(value)]));
  }
  return new Request('https://port.example/', {
    method: 'POST',
    body: form,
    headers: init.accept === undefined ? {} : { accept: init.accept },
    ...(init.signal === undefined ? {} : { signal: init.signal }),
  });
}

export const problemOf = async (response: Response) => ({
  status: response.status,
  body: (await response.json()) as { error: string; field: string },
});

/** Hashes, because a failing comparison of large arrays keeps the test runner printing for minutes. */
export async function sha256Of(answer: Uint8Array | Response): Promise<string> {
  return createHash('sha256').update(answer instanceof Response ? new Uint8Array(await answer.arrayBuffer()) : answer).digest('hex');
}
