/** What engines throw when an array, a memory or an instance cannot be had. */

/** V8's "Array buffer allocation failed", JavaScriptCore's "Out of memory": of `RangeError`s only their words tell. */
export function isRefusedMemory(error: unknown): error is RangeError {
  return error instanceof RangeError && /allocation|memory|array length/i.test(error.message);
}
