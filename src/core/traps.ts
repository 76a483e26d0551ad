/** A WebAssembly trap is the engine's own error: here it becomes one of ours, for every instance alike. */
import { KernelError } from './errors.ts';

/** What `body` returns. @throws KernelError for a trap: no later result of the memory that it came from is to be trusted. */
export function withTypedTraps<T>(body: () => T): T {
  try {
    return body();
  } catch (cause) {
    if (!(cause instanceof WebAssembly.RuntimeError)) throw cause;
    throw new KernelError({ field: 'WebAssembly', expected: 'a kernel that returns', got: String(cause), cause });
  }
}
