/** Our own binary on a small memory of its own, without tfjs: for work that needs kernels but no tensors, like reading a file. */
import * as bundled from '#wasm';
import { OutOfMemoryError, UnsupportedError } from './errors.ts';
import { instantiate } from './instantiate.ts';
import type { CoreKernels } from './kernels.ts';
import { withTypedTraps } from './traps.ts';
import { PAGE_BYTES } from './webassembly.ts';
import type { WasmMemory } from './webassembly.ts';

interface KernelInstance {
  /** @throws KernelError for a trap. */
  readonly kernels: CoreKernels;
  /** It never grows, so views of it live as long as it does. */
  readonly memory: WasmMemory;
}

/**
 * @param onTrap called once a kernel has trapped, before its error is thrown: to give the instance up.
 * @throws UnsupportedError where the runtime cannot run the binary, OutOfMemoryError where it grants no memory.
 */
export async function openKernelInstance(bytes: number, onTrap: () => void = () => undefined): Promise<KernelInstance> {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  try {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const source = bundled.coreWasm();
    const module = source instanceof WebAssembly.Module ? source : await WebAssembly.compile(source);
    const instance = await instantiate(source, module, { env: { memory } });
    return { kernels: trapping(instance.exports, onTrap), memory };
  } catch (cause) {
    if (cause instanceof RangeError) {
      const requestedBytes = pages * PAGE_BYTES;
      throw new OutOfMemoryError({
        field: 'wasm.core',
        expected: `a memory of ${requestedBytes} bytes`,
        got: String(cause),
        cause,
        requestedBytes,
      });
    }
    throw new UnsupportedError({ field: 'wasm.core', expected: 'a runtime with WebAssembly 128-bit SIMD', got: String(cause), cause });
  }
}

type Kernel = (...args: readonly number[]) => number;

/** Here nothing runs in a scope, as on the core: each kernel gives its own traps their type. */
function trapping(exports: WebAssembly.Exports, onTrap: () => void): CoreKernels {
  const kernels = Object.entries(exports as Readonly<Record<string, Kernel>>).map(([name, kernel]): [string, Kernel] => [
    name,
    (...args) => {
      try {
        return withTypedTraps(() => kernel(...args));
      } catch (error) {
        onTrap();
        throw error;
      }
    },
  ]);
  return Object.fromEntries(kernels) as unknown as CoreKernels;
}
