/**
 * How a result came about: a plain JSON record that goes with every result, and the one hash that stands for it.
 */
import type { JsonValue } from '../bundle/json.ts';
import { binaryHashes, relaxedBinaryHash } from '../core/binaries.ts';
import type { Core } from '../core/core.ts';
import { concatBytes } from '../core/bytes.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { sha256Hex } from '../core/sha256.ts';
import { stateToSafetensors } from '../bundle/network-state.ts';
import { isImageSet, isTokenSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import { parameterLayout, parseGraph } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { NetworkState } from '../tensor/tensor.ts';

/**
 * The part that all records share. `settings` holds every option with its default filled in, and as `data` what `inputs.data` does not
 * tell of the data: shape, classes, and how bytes become what enters the network.
 */
export interface ResultRecord {
  readonly kind: 'train' | 'transfer';
  readonly recordVersion: 1;
  readonly settings: { readonly [key: string]: JsonValue };
  /** SHA-256 of what went in, by role. */
  readonly inputs: { readonly [role: string]: string };
  readonly binaries: { readonly core: string; readonly tfjs: string; readonly relaxed?: string };
  /** Only after `arithmetic: 'relaxed'`: another engine or processor may give another `sha256` for the same settings and inputs. */
  readonly arithmetic?: 'relaxed';
  readonly identical?: false;
  /**
   * Only where gradients did not fit `historyBudgetBytes`: the first step matched by 8-bit codes, and the largest
   * `objectiveErrorBound` of all steps.
   */
  readonly codedHistory?: { readonly fromStep: number; readonly objectiveErrorBound: number };
  /** SHA-256 of the resulting state. */
  readonly sha256: string;
}

/** SHA-256 (lower-case hex) of the canonical safetensors file of a state: the identity of a network's weights. */
export async function stateSha256(graph: ModelGraph, state: NetworkState): Promise<string> {
  return sha256Hex(stateToSafetensors(parameterLayout(graph), state));
}

/** The same of several, by role; their files take one piece of memory, since fresh pages cost more than hashing. */
export async function stateHashes(
  graph: ModelGraph, states: { readonly [role: string]: NetworkState },
): Promise<{ [role: string]: string }> {
  const hashes: { [role: string]: string } = {};
  let file: Uint8Array<ArrayBuffer> | undefined;
  for (const [role, state] of Object.entries(states)) {
    file = stateToSafetensors(parameterLayout(graph), state, undefined, file);
    hashes[role] = await sha256Hex(file);
  }
  return hashes;
}

/**
 * What a data set is besides its numbers and its name: shape, classes, how bytes become what enters the network. Member
 * by member, as it may be a literal of the caller's, and copied, since records are frozen.
 */
export function dataForm(data: DataSet): JsonValue {
  if (isTokenSet(data)) return { count: data.count, length: data.length, classes: data.classes };
  if (!isImageSet(data)) {
    const { count, length, padding, classes } = data;
    return { count, length, ...onlyDefined({ padding }), classes };
  }
  const { count, channels, height, width, classes, scale, offset } = data;
  return { count, channels, height, width, classes, scale: [...scale], offset: [...offset] };
}

/**
 * SHA-256 of pixels and labels, in that order; of tokens as they are in memory (two bytes each above a vocabulary of 256); of sequences
 * where each starts, their tokens and their labels.
 */
export async function dataSha256(data: DataSet): Promise<string> {
  if (isTokenSet(data)) return sha256Hex(bytesOf(data.tokens));
  if (!isImageSet(data)) return sha256Hex(concatBytes([data.starts, data.sequences, data.labels].map(bytesOf)));
  const bytes = new Uint8Array(data.images.length + data.labels.length);
  bytes.set(data.images);
  bytes.set(data.labels, data.images.length);
  return sha256Hex(bytes);
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint8Array | Uint16Array | Int32Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}

/** What the record of a training says of the data that it was on: their `dataSha256`; undefined where it says nothing. */
export function recordedData(training: unknown): string | undefined {
  const { kind, inputs } = (training ?? {}) as { readonly kind?: unknown; readonly inputs?: { readonly data?: unknown } };
  const data = kind === 'train' ? inputs?.data : undefined;
  return typeof data === 'string' ? data : undefined;
}

/** SHA-256 of a graph's JSON in its canonical form. */
export async function graphSha256(graph: ModelGraph): Promise<string> {
  return sha256Hex(new TextEncoder().encode(JSON.stringify(parseGraph(graph))));
}

/** What the settings of a job that may go on elsewhere say of its arithmetic; nothing where that is strict. */
export function jobArithmetic({ arithmetic }: Core): { readonly arithmetic?: 'relaxed' } {
  return arithmetic === 'relaxed' ? { arithmetic } : {};
}

/** What a record is made of besides the binaries and the arithmetic, which are the core's. */
interface RecordParts extends Pick<ResultRecord, 'kind' | 'settings' | 'inputs'> {
  readonly graph: ModelGraph;
  /** The result. */
  readonly state: NetworkState;
  readonly codedHistory?: ResultRecord['codedHistory'] | undefined;
}

/** The frozen record of a result. */
export async function makeRecord(
  core: Core, { kind, settings, inputs, graph, state, codedHistory }: RecordParts,
): Promise<ResultRecord> {
  const relaxed = core.arithmetic === 'relaxed';
  return deepFreeze({
    kind,
    recordVersion: 1,
    settings,
    inputs,
    binaries: { ...binaryHashes, ...(relaxed ? { relaxed: relaxedBinaryHash } : {}) },
    ...(relaxed ? { arithmetic: 'relaxed', identical: false } : {}),
    ...(codedHistory === undefined ? {} : { codedHistory }),
    sha256: await stateSha256(graph, state),
  });
}

/** Freezes a plain record through and through. Typed arrays and maps are left as they are. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !(value instanceof Map)) {
    for (const child of Object.values(value)) deepFreeze(child);
    Object.freeze(value);
  }
  return value;
}
