/**
 * The test registry and the assertions of the portable suite: no test framework and no runtime API, so the same files
 * run in Node, Deno, Bun, workerd and a browser (`test/hosts/portable.test.ts` runs them everywhere).
 */

export interface PortableTest {
  readonly name: string;
  readonly body: () => void | Promise<void>;
}

export interface PortableResult {
  readonly name: string;
  /** Absent when the test passed. */
  readonly failure?: string;
}

export const registry: PortableTest[] = [];

export function test(name: string, body: () => void | Promise<void>): void {
  if (registry.some((known) => known.name === name)) throw new Error(`two portable tests are named ${name}`);
  registry.push({ name, body });
}

/** SHA-256 by label of what `sameEverywhere` was given: the launcher compares them between runtimes. */
export const fingerprints: Record<string, string> = {};

/** Records bytes that must not differ between runtimes. */
export async function sameEverywhere(label: string, data: ArrayBufferView): Promise<void> {
  if (label in fingerprints) throw new Error(`two fingerprints are labelled ${label}`);
  const bytes = new Uint8Array(data.byteLength);
  bytes.set(new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength));
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  fingerprints[label] = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export async function runAll(): Promise<PortableResult[]> {
  const results: PortableResult[] = [];
  for (const { name, body } of registry) {
    try {
      await body();
      results.push({ name });
    } catch (thrown) {
      results.push({
        name,
        failure: thrown instanceof Error ? `${thrown.name}: ${thrown.message}\n${thrown.stack ?? ''}` : String(thrown),
      });
    }
  }
  return results;
}

export function ok(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Deep equality of numbers (NaN equals NaN, 0 and −0 differ), strings, arrays, typed arrays, maps and plain objects. */
export function equal(got: unknown, expected: unknown, what = 'value'): void {
  const at = difference(got, expected, what);
  if (at !== undefined) throw new Error(at);
}

/** Largest |got − expected| at most `tolerance` · max(1, largest |expected|). */
export function close(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what = 'value'): void {
  ok(got.length === expected.length, `${what}: ${got.length} numbers, expected ${expected.length}`);
  let scale = 1;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i] as number));
  for (let i = 0; i < got.length; i++) {
    const error = Math.abs((got[i] as number) - (expected[i] as number)) / scale;
    // Written so that a NaN fails too.
    ok(error <= tolerance, `${what}[${i}]: ${got[i]}, expected ${expected[i]} (error ${error} > ${tolerance})`);
  }
}

/** Passes when `body` throws (or rejects with) an error whose `code` is `code`, and answers that error. */
export async function throws(body: () => unknown, code: string): Promise<Error & { code: string }> {
  try {
    await body();
  } catch (thrown) {
    ok(thrown instanceof Error, `threw ${String(thrown)}, which is no Error`);
    const got = (thrown as { code?: unknown }).code;
    ok(got === code, `threw ${thrown.name} (${String(got)}), expected code ${code}: ${thrown.message}`);
    return thrown as Error & { code: string };
  }
  throw new Error(`did not throw, expected code ${code}`);
}

function difference(got: unknown, expected: unknown, path: string): string | undefined {
  if (Object.is(got, expected)) return undefined;
  const unlike = `${path}: ${brief(got)}, expected ${brief(expected)}`;
  if (typeof got !== 'object' || typeof expected !== 'object' || got === null || expected === null) return unlike;
  if (got.constructor !== expected.constructor) return unlike;
  if (got instanceof Map && expected instanceof Map) return difference([...got], [...expected], path);
  const keys = Object.keys(got);
  if (keys.length !== Object.keys(expected).length) return unlike;
  for (const key of keys) {
    if (!(key in expected)) return `${path}.${key}: unexpected`;
    const inner = difference((got as Record<string, unknown>)[key], (expected as Record<string, unknown>)[key], `${path}.${key}`);
    if (inner !== undefined) return inner;
  }
  return undefined;
}

function brief(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    text = String(value);
  }
  return text.length > 120 ? `${text.slice(0, 117)}…` : text;
}
