/**
 * The binaries of a core, compiled and instantiated on one memory: tfjs-backend-wasm's, ours and, where asked for, our relaxed one.
 * Replaces tfjs's Emscripten glue (no fetch, no eval, no Blob, no process), so it loads the same way in every runtime.
 */
import * as bundled from '#wasm';
import { KernelError, UnsupportedError } from './errors.ts';
import { instantiate } from './instantiate.ts';
import type { CoreKernels } from './kernels.ts';
import { PAGE_BYTES } from './webassembly.ts';
import type { WasmMemory, WasmModule, WasmSource } from './webassembly.ts';

/**
 * - `strict`: every product is rounded, then every sum: the same bytes in every engine and on every processor.
 * - `relaxed`: matrix products (dense layers, convolutions, attention, similarities) with relaxed SIMD, which may round once
 *   instead: faster where the engine fuses, as accurate, and **not the same bytes** from one engine or processor to another.
 */
export type Arithmetic = 'strict' | 'relaxed';

/** The exports of tfjs-backend-wasm's binary that are called: its allocator. */
export interface TfjsBinary {
  readonly memory: WasmMemory;
  /** The constructors of its C++: called once, before anything else. */
  readonly ['__wasm_call_ctors']: () => void;
  readonly malloc: (bytes: number) => number;
  readonly free: (pointer: number) => void;
}

/** SHA-256 in hex, for records and resume points; tfjs's is that of the file in its npm package, however much of it was packaged. */
export const binaryHashes = { core: bundled.coreWasmSha256, tfjs: bundled.tfjsWasmSha256 } as const;
/** The same of the binary that `arithmetic: 'relaxed'` adds. */
export const relaxedBinaryHash = bundled.relaxedWasmSha256;

/** Compiled modules to use instead of the packaged ones. */
interface ModuleSources {
  readonly core?: WasmSource;
  readonly tfjs?: WasmSource;
  readonly relaxed?: WasmSource;
}

/**
 * Instantiates the binaries on the memory that tfjs's brings, which grows to `heapLimitBytes` at most. A kernel that both of ours have is
 * taken from the relaxed one.
 * @throws UnsupportedError as `openCore`.
 */
export async function loadBinaries(
  wasm: ModuleSources, arithmetic: Arithmetic, heapLimitBytes: number,
): Promise<{ readonly tfjs: TfjsBinary; readonly kernels: CoreKernels }> {
  const sources = {
    tfjs: wasm.tfjs ?? bundled.tfjsWasm(),
    core: wasm.core ?? bundled.coreWasm(),
    relaxed: arithmetic === 'relaxed' ? requireRelaxed(wasm.relaxed ?? bundled.relaxedWasm()) : undefined,
  };
  const [tfjsModule, coreModule, relaxedModule] = await Promise.all([
    compile('wasm.tfjs', sources.tfjs),
    compile('wasm.core', sources.core),
    sources.relaxed === undefined ? undefined : compile('arithmetic', sources.relaxed, RELAXED_RUNTIMES),
  ]);

  let memory: WasmMemory | undefined;
  const heap = (): WasmMemory => {
    if (memory === undefined) throw new KernelError({ field: 'memory', expected: 'a memory', got: 'none yet' });
    return memory;
  };
  const tfjsInstance = await instantiate(sources.tfjs, tfjsModule, tfjsImports(heap, heapLimitBytes));
  const tfjs = tfjsInstance.exports as unknown as TfjsBinary;
  memory = tfjs.memory;
  tfjs['__wasm_call_ctors']();
  const imports = { env: { memory } };
  const strict = (await instantiate(sources.core, coreModule, imports)).exports;
  // The relaxed binary has a few of the kernels, under the same names.
  const relaxed =
    sources.relaxed === undefined || relaxedModule === undefined
      ? {}
      : (await instantiate(sources.relaxed, relaxedModule, imports)).exports;
  return { tfjs, kernels: { ...strict, ...relaxed } as unknown as CoreKernels };
}

/** What tfjs's binary asks of its Emscripten glue. @param heap its memory, which is there once it runs. */
function tfjsImports(heap: () => WasmMemory, heapLimitBytes: number): WebAssembly.Imports {
  return {
    env: {
      abort: () => {
        throw new KernelError({ field: 'tfjs-backend-wasm', expected: 'a kernel that returns', got: 'abort()' });
      },
      emscripten_memcpy_big: (to: number, from: number, bytes: number) => {
        new Uint8Array(heap().buffer).copyWithin(to >>> 0, from >>> 0, (from >>> 0) + (bytes >>> 0));
      },
      emscripten_get_heap_max: () => heapLimitBytes,
      emscripten_resize_heap: (requestedBytes: number) => growHeap(heap(), requestedBytes >>> 0, heapLimitBytes),
    },
    wasi_snapshot_preview1: {
      fd_close: () => 0,
      fd_seek: () => 0,
      // What is written is a failure: an error, not a log line. Nothing that is called here does.
      fd_write: () => {
        throw new KernelError({ field: 'tfjs-backend-wasm', expected: 'a kernel that writes nothing', got: 'a line' });
      },
    },
  };
}

const RELAXED_RUNTIMES = 'a runtime with WebAssembly relaxed SIMD (Node 22 or later; Node 20 with --experimental-wasm-relaxed-simd)';

function requireRelaxed(source: WasmSource | undefined): WasmSource {
  if (source !== undefined) return source;
  throw new UnsupportedError({
    field: 'arithmetic',
    expected: 'strict, or a module in options.wasm.relaxed: a Worker is built without it',
    got: 'relaxed',
  });
}

async function compile(field: string, source: WasmSource, needed = 'a runtime with WebAssembly 128-bit SIMD'): Promise<WasmModule> {
  if (source instanceof WebAssembly.Module) return source;
  // The binaries contain SIMD instructions, so validating them is the feature probe.
  if (!WebAssembly.validate(source)) throw new UnsupportedError({ field, expected: needed, got: 'one that rejects our binary' });
  try {
    return await WebAssembly.compile(source);
  } catch (cause) {
    throw new UnsupportedError({
      field,
      expected: 'a runtime that compiles WebAssembly from bytes, or a WebAssembly.Module in options.wasm',
      got: String(cause),
      cause,
    });
  }
}

/** Grows at least to `requestedBytes`, geometrically while there is room; 0 tells malloc there is none. */
function growHeap(memory: WasmMemory, requestedBytes: number, limitBytes: number): number {
  const nowBytes = memory.buffer.byteLength;
  const limitPages = Math.floor(limitBytes / PAGE_BYTES);
  const neededPages = Math.ceil(requestedBytes / PAGE_BYTES);
  if (neededPages > limitPages) return 0;
  // 1/8 headroom: doubling would waste up to half of a 96 MB edge heap; exact growth costs a detach per allocation.
  const roomyPages = Math.min(limitPages, neededPages + Math.ceil(nowBytes / PAGE_BYTES / 8));
  for (const pages of [roomyPages, neededPages]) {
    try {
      memory.grow(Math.max(0, pages - nowBytes / PAGE_BYTES));
      return 1;
    } catch {
      // The engine refused this much: try the bare minimum, then give up.
    }
  }
  return 0;
}
