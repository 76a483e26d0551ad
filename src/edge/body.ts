/** Reads a multipart body under caps: nothing is buffered beyond them, whatever Content-Length says. */
import { concatBytes } from '../core/bytes.ts';
import { LimitError, MalformedFileError } from '../core/errors.ts';

/** Multipart framing: boundaries and part headers of the five parts are far below this. */
const FRAMING_BYTES = 64 * 1024;

/** Cap of each part by its name, in bytes. Parts of other names are refused. */
export type PartLimits = Readonly<Record<string, number>>;

/**
 * The parts of a multipart/form-data request, by name.
 * @throws LimitError (what is too large, and the cap), MalformedFileError (not multipart, unknown or doubled part).
 */
export async function readParts(request: Request, partLimits: PartLimits): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
  const totalBytes = Object.values(partLimits).reduce((sum, bytes) => sum + bytes, FRAMING_BYTES);
  const bytes = await readCapped(request, totalBytes);
  let form: FormData;
  try {
    form = await new Response(bytes, { headers: { 'content-type': request.headers.get('content-type') ?? '' } }).formData();
  } catch (cause) {
    throw new MalformedFileError({ field: 'body', expected: 'multipart/form-data', got: 'bytes that do not parse as it', cause });
  }
  const parts = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const [name, value] of form.entries()) {
    const limit = Object.hasOwn(partLimits, name) ? (partLimits[name] as number) : undefined;
    if (limit === undefined) {
      throw new MalformedFileError({ field: 'body', expected: `parts named ${Object.keys(partLimits).join(', ')}`, got: JSON.stringify(name.slice(0, 80)) });
    }
    if (parts.has(name)) throw new MalformedFileError({ field: name, expected: 'one part of this name', got: 'two' });
    const part: Uint8Array<ArrayBuffer> = typeof value === 'string' ? new TextEncoder().encode(value) : new Uint8Array(await value.arrayBuffer());
    if (part.length > limit) throw new LimitError({ field: name, expected: `at most ${limit} bytes`, got: `${part.length}` });
    parts.set(name, part);
  }
  return parts;
}

async function readCapped(request: Request, limitBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = (got: string): LimitError => new LimitError({ field: 'body', expected: `at most ${limitBytes} bytes`, got });
  // The header may lie or be missing: it only saves reading what is already known to be too large.
  const announced = request.headers.get('content-length');
  if (announced !== null && Number(announced) > limitBytes) throw tooLarge(announced);
  if (request.body === null) throw new MalformedFileError({ field: 'body', expected: 'multipart/form-data', got: 'none' });
  const pieces: Uint8Array[] = [];
  let total = 0;
  const reader = (request.body as ReadableStream<Uint8Array>).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    total += value.length;
    if (total > limitBytes) {
      await reader.cancel();
      throw tooLarge('more');
    }
    pieces.push(value);
  }
  return concatBytes(pieces);
}
