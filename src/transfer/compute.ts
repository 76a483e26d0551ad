/**
 * The compute handle: one core (two wasm modules on one memory) with the gradient engine on it. tfjs keeps one backend
 * of a name per realm, so at most one handle is open at a time; functions called without one share a lazily opened one.
 */
import { openCore, requireCoreOptions } from '../core/core.ts';
import type { Core, CoreOptions } from '../core/core.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { openGradientEngine } from '../gradient/engine.ts';
import type { GradientEngine } from '../gradient/engine.ts';

/** A core and the gradient engine on it, to be given to several calls. A realm has one at a time (`openCompute`). */
export interface Compute extends Disposable {
  readonly core: Core;
  readonly engine: GradientEngine;
  readonly disposed: boolean;
}

/** The realm's one place for a handle, taken as soon as one begins to open; disposing of it gives it up, opened or not. */
interface Place extends Disposable {
  readonly compute: Promise<Compute>;
  /** Whether another may have it now. */
  readonly isIdle: () => boolean;
}

let taken: Place | undefined;
let shared: Place | undefined;

/**
 * Opens the compute core.
 * @throws InvalidArgumentError while another handle is open in this realm, and for options that there are not;
 *   UnsupportedError without SIMD.
 */
export async function openCompute(options: CoreOptions = {}): Promise<Compute> {
  requireCoreOptions('openCompute', options);
  return takePlace(options, () => false).compute;
}

/** As `openCompute`: a handle whose place others may take while `isIdle`, and that can be given up while it opens. */
export function openYieldingCompute(options: CoreOptions, isIdle: () => boolean): Place {
  return takePlace(options, isIdle);
}

/** The handle the caller gave, or the shared one. @throws InvalidArgumentError where it was disposed. */
export async function useCompute(given: Compute | undefined): Promise<Compute> {
  if (given !== undefined) {
    if (given.disposed) {
      throw new InvalidArgumentError({ field: 'compute', expected: 'an open handle', got: 'a disposed one' });
    }
    return given;
  }
  shared ??= takePlace({}, () => false);
  return shared.compute;
}

/** Disposes the shared handle if there is one; the next call without `compute` opens a fresh one. */
export async function closeSharedCompute(): Promise<void> {
  if (shared !== undefined) (await shared.compute)[Symbol.dispose]();
}

function takePlace(options: CoreOptions, isIdle: () => boolean): Place {
  if (taken?.isIdle() === true) taken[Symbol.dispose]();
  if (taken !== undefined) {
    throw new InvalidArgumentError({
      field: 'compute',
      expected: 'no open handle in this realm (tfjs keeps one backend): dispose it first, or pass it as `compute`',
      got: taken === shared ? 'the shared handle of an earlier call without `compute`' : 'an open handle',
    });
  }
  let opened: Compute | undefined;
  const leave = (): void => {
    if (taken === place) taken = undefined;
    if (shared === place) shared = undefined;
  };
  const open = async (): Promise<Compute> => {
    try {
      const core = await openCore(options);
      if (taken === place) return (opened = handleOn(core, leave));
      core[Symbol.dispose]();
    } catch (error) {
      leave();
      throw error;
    }
    throw new InvalidArgumentError({ field: 'compute', expected: 'a handle that is waited for', got: 'one given up while it opened' });
  };
  const place: Place = {
    compute: open(),
    isIdle,
    [Symbol.dispose]() {
      opened?.[Symbol.dispose]();
      leave();
    },
  };
  taken = place;
  return place;
}

function handleOn(core: Core, onDispose: () => void): Compute {
  const engine = openGradientEngine(core);
  let disposed = false;
  return {
    core,
    engine,
    get disposed() {
      return disposed;
    },
    [Symbol.dispose]() {
      if (disposed) return;
      disposed = true;
      onDispose();
      engine[Symbol.dispose]();
      core[Symbol.dispose]();
    },
  };
}
