/** An instance of a compiled module. */
import type { WasmModule, WasmSource } from './webassembly.ts';

/**
 * At once where the module came compiled, as in a Worker: nothing of opening is left for the event loop, where a request that is
 * cancelled would leave what it has begun. Elsewhere the engine takes its time, as pages demand of large modules.
 * @param source what `module` came as.
 */
export async function instantiate(source: WasmSource, module: WasmModule, imports: WebAssembly.Imports): Promise<WebAssembly.Instance> {
  return source === module ? new WebAssembly.Instance(module, imports) : WebAssembly.instantiate(module, imports);
}
