/** Our own binary on a small memory of its own, without tfjs: for work that needs kernels but no tensors, like reading a file. */
import * as bundled from '#wasm';
import { UnsupportedError } from './errors.ts';
import type { CoreKernels } from './kernels.ts';
import type { WasmMemory } from './webassembly.ts';

const PAGE_BYTES = 65_536;

export interface KernelInstance {
  readonly kernels: CoreKernels;
  /** It never grows, so views of it live as long as it does. */
  readonly memory: WasmMemory;
}

/** @throws UnsupportedError where the runtime cannot run the binary. */
export async function openKernelInstance(bytes: number): Promise<KernelInstance> {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  try {
    const source = bundled.coreWasm();
    const module = source instanceof WebAssembly.Module ? source : await WebAssembly.compile(source);
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    return { kernels: instance.exports as unknown as CoreKernels, memory };
  } catch (cause) {
    throw new UnsupportedError({ field: 'wasm.core', expected: 'a runtime with WebAssembly 128-bit SIMD', got: String(cause), cause });
  }
}
