/**
 * The compute core: tfjs-backend-wasm's binary and ours on ONE memory (`binaries.ts`), behind one small allocator. Running out of memory
 * and failing kernels are typed errors instead of silence (stock malloc answers 0 and the caller then writes to address 0).
 */
import { loadBinaries } from './binaries.ts';
import type { Arithmetic, TfjsBinary } from './binaries.ts';
import { InvalidArgumentError, OutOfMemoryError } from './errors.ts';
import { requireChoice, requireInteger, requireMembers } from './require.ts';
import type { CoreKernels } from './kernels.ts';
import { limits } from './limits.ts';
import { requireOptions } from './options.ts';
import type { OptionNames } from './options.ts';
import { withTypedTraps } from './traps.ts';
import { PAGE_BYTES } from './webassembly.ts';
import type { WasmMemory, WasmSource } from './webassembly.ts';

export type { Arithmetic } from './binaries.ts';

/** Memory and arithmetic of a core. */
export interface CoreOptions {
  /** Cap of the WebAssembly heap in bytes. Rounded down to whole 64 KiB pages. Default: `limits.heapBytes`. */
  readonly heapLimitBytes?: number;
  /** Default `strict`. With `relaxed`, records of results say `identical: false`. */
  readonly arithmetic?: Arithmetic;
  /** Compiled modules to use instead of the packaged ones (for hosts that compile at deploy time). `relaxed`: `trajport/relaxed.wasm`. */
  readonly wasm?: { readonly core?: WasmSource; readonly tfjs?: WasmSource; readonly relaxed?: WasmSource };
}

const optionNames: OptionNames<CoreOptions> = { heapLimitBytes: true, arithmetic: true, wasm: true };
const moduleNames: OptionNames<NonNullable<CoreOptions['wasm']>> = { core: true, tfjs: true, relaxed: true };

/** @throws InvalidArgumentError naming what is no option of a core. @param within where they stand among another call's options. */
export function requireCoreOptions(call: string, options: CoreOptions, within?: string): void {
  requireOptions(call, options, optionNames, within);
  if (options.wasm !== undefined) requireModules(call, options.wasm, within === undefined ? 'wasm' : `${within}.wasm`);
}

/** @throws InvalidArgumentError naming a module that a core does not take. */
export function requireModules(call: string, wasm: NonNullable<CoreOptions['wasm']>, within = 'wasm'): void {
  requireOptions(call, wasm, moduleNames, within);
}

/** A vector. malloc gives multiples of half of it. */
const VECTOR_BYTES = 16;

/** A load waits for an earlier store whose address ends in the same 12 bits, as if it read what that wrote. */
const ALIAS_BYTES = 4096;
/** From here on allocations are staggered: the room for it is at most a sixteenth. */
const STAGGERED_BYTES = 16 * ALIAS_BYTES;
/** From one staggered allocation to the next, modulo ALIAS_BYTES: by the golden section any few in a row lie well apart. */
const STAGGER_BYTES = 2544;

/** With other sizes malloc begins a new heap whenever it grows: what lies on either side of such a seam is never one block again. */
const SEAMLESS_BYTES = 8;
const seamless = (bytes: number): number => Math.ceil(bytes / SEAMLESS_BYTES) * SEAMLESS_BYTES;

/**
 * The kernels and their heap. Pointers are byte offsets into `memory`; whatever is allocated inside `scoped` is freed with it.
 * Opened by `openCore`, and disposed of by whoever opened it.
 */
export class Core implements Disposable {
  readonly memory: WasmMemory;
  readonly kernels: CoreKernels;
  readonly tfjs: TfjsBinary;
  readonly heapLimitBytes: number;
  readonly arithmetic: Arithmetic;
  #disposed = false;
  #liveBytes = 0;
  /** How the next staggered allocation lies in ALIAS_BYTES. */
  #stagger = 0;
  /** For every live allocation, by its address: the pointer that malloc gave for it, and its end. */
  readonly #live = new Map<number, { readonly given: number; readonly end: number }>();

  constructor(tfjs: TfjsBinary, kernels: CoreKernels, heapLimitBytes: number, arithmetic: Arithmetic) {
    this.tfjs = tfjs;
    this.memory = tfjs.memory;
    this.kernels = kernels;
    this.heapLimitBytes = heapLimitBytes;
    this.arithmetic = arithmetic;
  }

  /** Size of the heap in bytes. WebAssembly memory never shrinks, so this is its high-water mark too. */
  get heapBytes(): number {
    return this.memory.buffer.byteLength;
  }

  /** Bytes of allocations made by `allocate` and not yet freed. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Allocations made by `allocate` and not yet freed: zero when nothing leaks. */
  get liveAllocations(): number {
    return this.#live.size;
  }

  /**
   * Reserves `bytes` on the heap at a multiple of 16: malloc's multiples of 8 let every fourth vector of a tensor
   * straddle two lines of the cache (depthwise convolutions 4 to 8 % slower, of 512 channels 14 %). Large ones do not
   * follow each other at multiples of 4096 bytes, as tensors of round shapes would: each vector that a kernel read would
   * then wait for the one it had just written (batch norm in the caches up to a third slower, in MobileNetV2 2 to 6 %).
   * What is had has fewer than 2^31 bytes, the heap's cap: numbers of elements that lie on it fit the i32 that kernels take.
   * @throws OutOfMemoryError when the heap is at its cap, InvalidArgumentError for what is no size. Everything
   *   allocated before stays valid.
   */
  allocate(bytes: number, purpose: string): number {
    const isStaggered = bytes >= STAGGERED_BYTES;
    const given = this.#allocateOrThrow(bytes, isStaggered ? ALIAS_BYTES : VECTOR_BYTES / 2, purpose);
    const pointer = given + (isStaggered ? this.#toStagger(given) : given % VECTOR_BYTES);
    this.#live.set(pointer, { given, end: pointer + bytes });
    this.#liveBytes += bytes;
    return pointer;
  }

  /** Bytes from `address` to the next one that lies as the next staggered allocation is to lie. */
  #toStagger(address: number): number {
    const bytes = (this.#stagger - address) & (ALIAS_BYTES - 1);
    this.#stagger = (this.#stagger + STAGGER_BYTES) % ALIAS_BYTES;
    return bytes;
  }

  /** malloc that never answers 0, of `bytes` and room to align them in: tfjs's own caller would write to address 0. */
  #allocateOrThrow(bytes: number, room: number, purpose: string): number {
    requireInteger(purpose, bytes, 0);
    // malloc takes 32 bits: of 2^32 + 64 bytes it would reserve 64. malloc(0) may answer 0; the room keeps
    // every pointer distinct and real.
    const wanted = seamless(bytes + room);
    let pointer = bytes > this.heapLimitBytes ? 0 : this.tfjs.malloc(wanted) >>> 0;
    if (pointer === 0 && this.#liveEnd() + wanted <= this.heapLimitBytes) {
      joinTail(this.tfjs, wanted);
      pointer = this.tfjs.malloc(wanted) >>> 0;
    }
    if (pointer === 0) {
      throw new OutOfMemoryError({
        field: purpose,
        expected: `room for ${bytes} bytes in a heap of at most ${this.heapLimitBytes} bytes`,
        got: `${this.heapBytes} bytes of heap in use and no free block of that size`,
        requestedBytes: bytes,
      });
    }
    return pointer;
  }

  /** Where the highest live allocation ends. */
  #liveEnd(): number {
    let last = 0;
    for (const { end } of this.#live.values()) last = Math.max(last, end);
    return last;
  }

  /** Ends an allocation of `allocate`. @throws InvalidArgumentError for a pointer that is none, or was freed. */
  free(pointer: number): void {
    const live = this.#live.get(pointer);
    if (live === undefined) throw new InvalidArgumentError({ field: 'pointer', expected: 'a live allocation', got: `${pointer}` });
    this.#live.delete(pointer);
    this.#liveBytes -= live.end - pointer;
    this.tfjs.free(live.given);
  }

  /**
   * Runs `body` with a scratch allocator whose allocations are freed when `body` returns or throws. Whatever computes does so in here,
   * so this is where a trap gets its type.
   * @throws KernelError for a trap: no later result of this core is to be trusted.
   */
  scoped<T>(body: (scratch: Scratch) => T): T {
    const scratch = new Scratch(this);
    try {
      return withTypedTraps(() => body(scratch));
    } finally {
      scratch.release();
    }
  }

  /** A view of `length` f32 at `pointer`. It dies when memory grows: take views last, after every allocation. */
  f32(pointer: number, length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  /** As `f32`: `length` is of elements, here of 8 bytes. */
  f64(pointer: number, length: number): Float64Array<ArrayBuffer> {
    return new Float64Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  /** As `f32`. */
  i32(pointer: number, length: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  /** As `f32`, of bytes. */
  u8(pointer: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Frees whatever is still allocated. The memory itself goes with the last reference to the core. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const { given } of this.#live.values()) this.tfjs.free(given);
    this.#live.clear();
    this.#liveBytes = 0;
  }
}

/** Allocations that end together; see `Core.scoped`. */
export class Scratch {
  readonly #core: Core;
  readonly #pointers: number[] = [];

  constructor(core: Core) {
    this.#core = core;
  }

  /**
   * Reserves `count` bytes. @param purpose what an error calls them. @returns their address, a multiple of 16.
   * @throws OutOfMemoryError
   */
  bytes(count: number, purpose = 'scratch'): number {
    const pointer = this.#core.allocate(count, purpose);
    this.#pointers.push(pointer);
    return pointer;
  }

  /** As `bytes`, for `count` numbers of 4 bytes. */
  f32(count: number, purpose?: string): number {
    return this.bytes(count * 4, purpose);
  }

  /** As `bytes`, for `count` numbers of 8 bytes. */
  f64(count: number, purpose?: string): number {
    return this.bytes(count * 8, purpose);
  }

  /** As `bytes`, for `count` integers of 4 bytes. */
  i32(count: number, purpose?: string): number {
    return this.bytes(count * 4, purpose);
  }

  /**
   * As `bytes`, for a size that a kernel itself tells. It does so in 32 bits: `atLeast`, computed here, is below the true size and
   * takes its place where that wraps.
   */
  told(count: number, atLeast: number, purpose: string): number {
    return this.bytes(Math.max(count >>> 0, atLeast), purpose);
  }

  /** Copies a typed array onto the heap. @returns its address. */
  upload(data: Float32Array | Float64Array | Int32Array | Uint8Array, purpose?: string): number {
    const pointer = this.bytes(data.byteLength, purpose);
    this.#core.u8(pointer, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return pointer;
  }

  /** Frees all of them. */
  release(): void {
    for (const pointer of this.#pointers) this.#core.free(pointer);
    this.#pointers.length = 0;
  }
}

/**
 * Makes one free block at the heap's end of what lies free there and of what the heap may still grow by: malloc wants
 * all of a block from beyond the end, and refuses it where only both together are large enough. Blocks of a half of
 * `bytes`, a quarter … down to a page have room on either side of the end; freed, they are one with what is beside them.
 */
function joinTail(tfjs: TfjsBinary, bytes: number): void {
  const blocks: number[] = [];
  for (let size = seamless(bytes / 2); size >= PAGE_BYTES; size = seamless(size / 2)) {
    for (let block = tfjs.malloc(size); block !== 0; block = tfjs.malloc(size)) blocks.push(block);
  }
  for (const block of blocks) tfjs.free(block);
}

/**
 * Loads both binaries on one memory.
 * @throws UnsupportedError where the runtime has no 128-bit SIMD (results would differ), or forbids compiling wasm and
 *   no module was given; for `arithmetic: 'relaxed'` where it has no relaxed SIMD. InvalidArgumentError for options that there are not.
 */
export async function openCore(options: CoreOptions = {}): Promise<Core> {
  requireCoreOptions('openCore', options);
  const heapLimitBytes =
    options.heapLimitBytes === undefined
      ? limits.heapBytes
      : requireInteger('heapLimitBytes', options.heapLimitBytes, limits.smallestHeapBytes, limits.heapBytes);
  const arithmetic = requireChoice('arithmetic', options.arithmetic ?? 'strict', ['strict', 'relaxed']);
  const { tfjs, kernels } = await loadBinaries(options.wasm ?? {}, arithmetic, heapLimitBytes);
  return new Core(tfjs, kernels, heapLimitBytes, arithmetic);
}

/** For what users call with a core themselves. A `Compute`, which has one, is the likeliest mistake. @throws InvalidArgumentError */
export function requireCore(core: unknown): void {
  requireMembers('core', core, ['kernels', 'scoped'], 'a core: openCore(), or the `core` of openCompute()');
}
