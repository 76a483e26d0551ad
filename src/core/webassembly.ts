/** Bytes of a page of WebAssembly memory, the unit in which it grows. */
export const PAGE_BYTES = 65_536;

/**
 * The two types of WebAssembly that our own declarations name. TypeScript knows them from `lib: ["dom"]` or a type package of the runtime;
 * @types/node 20 has none, and a server's project without `dom` must compile too.
 */
type Declared = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module }; Memory: { prototype: infer Memory } } }
  ? { readonly module: Module; readonly memory: Memory }
  : { readonly module: object; readonly memory: { readonly buffer: ArrayBuffer } };

/** `WebAssembly.Module`. */
export type WasmModule = Declared['module'];
/** `WebAssembly.Memory`. */
export type WasmMemory = Declared['memory'];
/** A compiled module, or the bytes of one where the runtime may compile. */
export type WasmSource = WasmModule | Uint8Array<ArrayBuffer>;
