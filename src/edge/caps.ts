/** What one request may take of bytes, time, memory and work. The defaults are for an isolate of 128 MB. */
import { LONGEST_TIMER_MS } from '../bundle/watchdog.ts';
import type { CoreOptions } from '../core/core.ts';
import { limits } from '../core/limits.ts';
import type { OptionNames } from '../core/options.ts';
import { requireCap, requireInteger, requireNumber } from '../core/require.ts';

const MiB = 2 ** 20;

/** Caps of bytes and of work may be `Infinity`, for none; that of the heap and the two of time may not. */
export interface TransferHandlerOptions {
  /** Cap of the WebAssembly heap. Default 32 MiB. */
  readonly heapLimitBytes?: number;
  /** Default 6 MiB. */
  readonly maxBundleBytes?: number;
  /** What a bundle's manifest may unpack to, and the network of a base. Default 256 KiB: five hundred checkpoints. */
  readonly maxManifestBytes?: number;
  /**
   * Of the target, and of the base of an adapter. Default 3 MiB: 786,432 parameters, of which a transfer holds ten copies. Networks of
   * more, of whatever type their weights are, are refused.
   */
  readonly maxTargetBytes?: number;
  /**
   * A LoRA adapter's weights. Default 1 MiB: rank 16 of all layers of a DistilBERT of the largest size is a third of it. As numbers of
   * four bytes its factors count among what is kept.
   */
  readonly maxAdapterBytes?: number;
  /**
   * Images, sequences, text or tokens, packed and unpacked, and the tokens of sequences as numbers of four bytes. Default 6 MiB: eight
   * thousand images of 28 × 28, or 1.5 million tokens.
   */
  readonly maxDataBytes?: number;
  /**
   * Labels, packed and unpacked; also the most sequences, or windows of tokens. Default 64 KiB; each costs twenty bytes of row numbers
   * besides.
   */
  readonly maxLabelsBytes?: number;
  /** Backward passes, or steps, that one request may ask for (see `plan`). Default 500. */
  readonly maxGradients?: number;
  /** Floating-point operations of its gradients, matchings, evaluations and adapter. Default 10¹²: a few minutes. */
  readonly maxFlops?: number;
  /**
   * Gradients, similarities, checkpoints, mini-batches, numbers of tokens and an adapter's factors that it may keep in JavaScript memory.
   * Default 25 MiB.
   */
  readonly maxHistoryBytes?: number;
  /** Bodies of all requests together, from the first byte to the answer; more are told to come back. Default 18 MiB. */
  readonly maxHeldBytes?: number;
  /** A client that sends nothing for so long, or is not through after so long, is given up. Defaults 10 and 60 seconds. */
  readonly maxIdleMs?: number;
  readonly maxReadMs?: number;
  /** Requests that may wait while one computes; more are told to come back. Default 4. */
  readonly maxWaiting?: number;
  /**
   * Pages of which origins may call it, `'*'` for any: preflights are answered, and `trajport-record` is theirs to read. Default none.
   */
  readonly allowedOrigins?: '*' | readonly string[];
  /** Compiled modules, for hosts that cannot use the packaged ones. */
  readonly wasm?: NonNullable<CoreOptions['wasm']>;
}

export type Caps = Required<Omit<TransferHandlerOptions, 'wasm' | 'allowedOrigins'>>;

const defaults: Caps = {
  heapLimitBytes: 32 * MiB, maxBundleBytes: 6 * MiB, maxManifestBytes: 256 * 1024, maxTargetBytes: 3 * MiB,
  maxAdapterBytes: MiB, maxDataBytes: 6 * MiB, maxLabelsBytes: 64 * 1024, maxGradients: 500, maxFlops: 1e12,
  maxHistoryBytes: 25 * MiB, maxHeldBytes: 18 * MiB, maxIdleMs: 10_000, maxReadMs: 60_000, maxWaiting: 4,
};

export const optionNames: OptionNames<TransferHandlerOptions> = {
  heapLimitBytes: true, maxBundleBytes: true, maxManifestBytes: true, maxTargetBytes: true, maxAdapterBytes: true,
  maxDataBytes: true, maxLabelsBytes: true, maxGradients: true, maxFlops: true, maxHistoryBytes: true,
  maxHeldBytes: true, maxIdleMs: true, maxReadMs: true, maxWaiting: true, allowedOrigins: true, wasm: true,
};

/**
 * Where the handler is made: later every request would be told of a fault that is not its own. @throws
 * InvalidArgumentError naming the cap.
 */
export function readCaps(options: TransferHandlerOptions): Caps {
  const caps: { -readonly [K in keyof Caps]: number } = { ...defaults };
  for (const name of Object.keys(defaults) as (keyof Caps)[]) {
    caps[name] = requireCap(name, options[name] ?? defaults[name]);
  }
  requireInteger('heapLimitBytes', caps.heapLimitBytes, limits.smallestHeapBytes, limits.heapBytes);
  for (const name of ['maxIdleMs', 'maxReadMs'] as const) requireNumber(name, caps[name], 0, LONGEST_TIMER_MS);
  return caps;
}
