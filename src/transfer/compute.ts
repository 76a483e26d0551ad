/**
 * The compute handle: one core (two wasm modules on one memory) with the gradient engine on it. tfjs keeps one backend
 * of a name per realm, so at most one handle is open at a time; functions called without one share a lazily opened one.
 */
import { openCore, requireCoreOptions } from '../core/core.ts';
import type { Core, CoreOptions } from '../core/core.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { openGradientEngine } from '../gradient/engine.ts';
import type { GradientEngine } from '../gradient/engine.ts';

export interface Compute extends Disposable {
  readonly core: Core;
  readonly engine: GradientEngine;
  readonly disposed: boolean;
}

let open: Promise<Compute> | undefined;
let shared: Promise<Compute> | undefined;
/** Ends the open handle where its opener lends it the realm and does not need it at the moment. */
let yieldOpen: () => void = () => undefined;

/**
 * Opens the compute core.
 * @throws InvalidArgumentError while another handle is open in this realm, and for options that there are not;
 *   UnsupportedError without SIMD.
 */
export async function openCompute(options: CoreOptions = {}): Promise<Compute> {
  requireCoreOptions('openCompute', options);
  return openHandle(options);
}

/** As `openCompute`: a handle that others may take the place of while `isIdle`. It is disposed of then. */
export async function openYieldingCompute(options: CoreOptions, isIdle: () => boolean): Promise<Compute> {
  const compute = await openHandle(options);
  yieldOpen = () => {
    if (isIdle()) compute[Symbol.dispose]();
  };
  return compute;
}

async function openHandle(options: CoreOptions): Promise<Compute> {
  yieldOpen();
  if (open !== undefined) {
    throw new InvalidArgumentError({
      field: 'compute',
      expected: 'no open handle in this realm (tfjs keeps one backend): dispose it first, or pass it as `compute`',
      got: open === shared ? 'the shared handle of an earlier call without `compute`' : 'an open handle',
    });
  }
  const opening = create(options);
  open = opening;
  try {
    return await opening;
  } catch (error) {
    open = undefined;
    throw error;
  }
}

/** The handle the caller gave, or the shared one. @throws InvalidArgumentError where it was disposed. */
export async function useCompute(given: Compute | undefined): Promise<Compute> {
  if (given !== undefined) {
    if (given.disposed) {
      throw new InvalidArgumentError({ field: 'compute', expected: 'an open handle', got: 'a disposed one' });
    }
    return given;
  }
  if (shared === undefined) {
    yieldOpen();
    // Somebody else's handle: `openCompute` says so, and it must not become the shared one meanwhile.
    if (open !== undefined) return openCompute();
    const opening = openCompute();
    shared = open;
    try {
      return await opening;
    } catch (error) {
      shared = undefined;
      throw error;
    }
  }
  return shared;
}

/** Disposes the shared handle if there is one; the next call without `compute` opens a fresh one. */
export async function closeSharedCompute(): Promise<void> {
  if (shared !== undefined) (await shared)[Symbol.dispose]();
}

async function create(options: CoreOptions): Promise<Compute> {
  const core = await openCore(options);
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
      open = undefined;
      shared = undefined;
      yieldOpen = () => undefined;
      engine[Symbol.dispose]();
      core[Symbol.dispose]();
    },
  };
}
