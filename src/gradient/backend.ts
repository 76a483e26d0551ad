/**
 * tfjs's wasm backend on our core's heap. The shim below stands in for the Emscripten module; it makes what is silent in
 * stock tfjs an error: malloc never answers 0.
 */
import { BackendWasm, engine, env } from '#tfjs';
import type { Core } from '../core/core.ts';
import { InvalidArgumentError, KernelError } from '../core/errors.ts';
import { elementCount } from '../tensor/tensor.ts';

/** tfjs's handle of a buffer: compared by identity. */
type DataId = object;
type Method<K extends keyof BackendWasm> = BackendWasm[K] extends (...values: infer P) => unknown ? P : never;
type EmscriptenModule = ConstructorParameters<typeof BackendWasm>[0];

const BACKEND = 'wasm';

export class HeapBackend extends BackendWasm {
  readonly core: Core;
  /** Every live buffer, so that what a failing kernel left behind can be found: tfjs keeps them in a WeakMap. */
  readonly #live = new Set<DataId>();
  #liveBytes = 0;
  #peakBytes = 0;

  constructor(core: Core) {
    super(emscriptenModule(core));
    this.core = core;
  }

  /** Address of a tensor's first byte. */
  pointer(tensor: { readonly dataId: object }): number {
    return this.dataIdMap.get(tensor.dataId).memoryOffset >>> 0;
  }

  get liveTensors(): number {
    return this.#live.size;
  }

  /** Most bytes that tensors held at one moment since `resetPeak`. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  resetPeak(): void {
    this.#peakBytes = this.#liveBytes;
  }

  override move(...parameters: Method<'move'>): void {
    super.move(...parameters);
    const [dataId] = parameters;
    this.#live.add(dataId);
    this.#liveBytes += this.#bytesOf(dataId);
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes);
  }

  override disposeData(...parameters: Method<'disposeData'>): boolean {
    const [dataId] = parameters;
    const bytes = this.#live.has(dataId) ? this.#bytesOf(dataId) : 0;
    const gone = super.disposeData(...parameters);
    if (gone && this.#live.delete(dataId)) this.#liveBytes -= bytes;
    return gone;
  }

  /**
   * Runs `body` as a tfjs tidy without a result tensor; when it throws, buffers that kernels had begun are freed too.
   * @throws KernelError for a trap; InvalidArgumentError where the engine was disposed of: a job yields, and its caller
   *   may have ended what it computes with.
   */
  scope<T>(body: () => T): T {
    if (live !== this)
      throw new InvalidArgumentError({
        field: 'compute',
        expected: 'a handle that stays open until the call has ended',
        got: 'a disposed one',
      });
    const before = new Set(this.#live);
    try {
      return this.core.scoped(() => {
        let result: T | undefined;
        engine().tidy(() => {
          result = body();
        });
        return result as T;
      });
    } catch (error) {
      for (const dataId of this.#live) if (!before.has(dataId)) this.disposeData(dataId, true);
      throw error;
    }
  }

  override dispose(): void {
    for (const dataId of this.#live) this.disposeData(dataId, true);
  }

  #bytesOf(dataId: DataId): number {
    const { shape } = this.dataIdMap.get(dataId) as { readonly shape: readonly number[] };
    return 4 * elementCount(shape);
  }
}

let live: HeapBackend | undefined;

/**
 * Registers a backend on `core` with tfjs's engine. tfjs has one engine a realm, so one backend may be live at a time.
 * @throws InvalidArgumentError while another one is.
 */
export function openBackend(core: Core): HeapBackend {
  if (live !== undefined) {
    throw new InvalidArgumentError({
      field: 'engine',
      expected: 'no other live gradient engine in this realm (dispose it first)',
      got: 'one',
    });
  }
  if (env().platform === undefined) env().setPlatform('trajport', platform);
  const backend = new HeapBackend(core);
  engine().registerBackend(BACKEND, () => backend);
  // Completes before its first await, because the factory answers with a backend and not with a promise.
  void engine().setBackend(BACKEND);
  if (engine().backend !== backend) {
    throw new KernelError({ field: 'tfjs', expected: 'the backend just registered', got: 'another' });
  }
  live = backend;
  return backend;
}

export function closeBackend(backend: HeapBackend): void {
  if (live !== backend) return;
  live = undefined;
  engine().removeBackend(BACKEND);
}

/** tfjs asks its platform for a clock (profiling only) and for text coding; it must never fetch. */
const platform = {
  fetch: (): Promise<never> =>
    Promise.reject(new KernelError({ field: 'tfjs', expected: 'no network access', got: 'a fetch' })),
  now: (): number => 0,
  encode: (text: string): Uint8Array => new TextEncoder().encode(text),
  decode: (bytes: Uint8Array): string => new TextDecoder().decode(bytes),
  isTypedArray: (value: unknown): value is Float32Array | Int32Array | Uint8Array | Uint8ClampedArray =>
    ArrayBuffer.isView(value) && !(value instanceof DataView),
};

/** The part of Emscripten's module that BackendWasm touches: the heap. C++ kernels, which would look tensors up by id, are not called. */
function emscriptenModule(core: Core): EmscriptenModule {
  const module = {
    get HEAPU8(): Uint8Array {
      return new Uint8Array(core.memory.buffer);
    },
    _malloc: (bytes: number): number => core.allocate(bytes, 'a tfjs tensor'),
    _free: (pointer: number): void => core.free(pointer >>> 0),
    tfjs: {
      init: (): void => {},
      initWithThreadsCount: (): void => {},
      getThreadsCount: (): number => 1,
      registerTensor: (): void => {},
      disposeData: (): void => {},
      dispose: (): void => {},
    },
  };
  return module as unknown as EmscriptenModule;
}
