/**
 * `trajectory.json`: what a bundle says about itself. Parsed strictly (a field nobody defined is an error), printed
 * deterministically (fixed order of fields, numbers as ECMAScript prints them, integers from 2^53 with an exponent).
 */
import { describe } from '../core/describe.ts';
import { IntegrityError, LimitError, MalformedFileError, UnsupportedError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { initialisers } from '../model/initialise.ts';
import { type ModelGraph, parseGraph } from '../model/graph.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import { type Coding, codings, isDelta } from './coding.ts';
import { checkpointLayout } from './layout.ts';
import { type JsonObject, type JsonValue, decodeUtf8, isJsonObject, parseJsonObject, printJson } from './json.ts';

export const MANIFEST_ENTRY = 'trajectory.json';
const FORMAT = 'trajport-bundle';
/**
 * Readers refuse another version; within one, a higher revision may add fields to the manifest and to a checkpoint, and
 * entries, which readers ignore.
 */
const VERSION = 1;
const REVISION = 0;

/** An initial state that our own initialiser makes again. */
export interface SeedRecord {
  readonly seed: number;
  readonly scheme: (typeof initialisers)[number];
  readonly mode: 'fan_in' | 'fan_out';
}

/** What the manifest says of a checkpoint. */
export interface CheckpointRecord {
  readonly label: string;
  /** Epochs of training behind it, or null where nobody said. */
  readonly epoch: number | null;
  readonly coding: Coding;
  /** Name of the ZIP entry; null for `seed`. */
  readonly entry: string | null;
  /** Length and SHA-256 of the safetensors file that decoding yields. */
  readonly bytes: number;
  readonly sha256: string;
  /** SHA-256 of the entry's bytes as they stand in the ZIP; null for `seed`. */
  readonly storedSha256: string | null;
  /** Euclidean norm of the parameters' step from the previous checkpoint, before coding; 0 for the first. */
  readonly stepNorm: number;
  /** Norm of what the coding lost in the parameters, divided by `stepNorm`; 0 where nothing is lost or nothing was stepped. */
  readonly stepError: number;
  readonly seed?: SeedRecord;
}

/** `trajectory.json` of a bundle (`docs/format.md`). */
export interface Manifest {
  readonly version: number;
  readonly revision: number;
  readonly graph: ModelGraph;
  readonly checkpoints: readonly CheckpointRecord[];
  /** How the trajectory was trained: any JSON; null where nobody said. */
  readonly training: JsonValue;
}

const suffixes: Readonly<Record<Exclude<Coding, 'seed'>, string>> = {
  full: '',
  planes: '.planes',
  xor: '.xor',
  int8: '.int8',
  int4: '.int4',
};

/** A checkpoint's entry: `.safetensors` alone only where the entry is one as it stands. */
export function entryName(index: number, coding: Coding): string | null {
  return coding === 'seed' ? null : `checkpoints/${String(index).padStart(4, '0')}.safetensors${suffixes[coding]}`;
}

/** The permutable groups of the network, for people who read the file; derived from the graph and checked against it. */
function permutationSummary(graph: ModelGraph): readonly { readonly id: string; readonly size: number }[] {
  return derivePermutationSpec(graph).groups.map(({ id, size }) => ({ id, size }));
}

function parameterRange(graph: ModelGraph): readonly [begin: number, end: number] {
  const { begin, end } = checkpointLayout(graph).range;
  return [begin, end];
}

/**
 * UTF-8 bytes of the manifest. Equal manifests give equal bytes. @throws what `parseManifest` throws for a manifest
 * that could not be read again.
 */
export function printManifest(manifest: Omit<Manifest, 'version' | 'revision'>): Uint8Array<ArrayBuffer> {
  const checkpoints = manifest.checkpoints.map((record) => ({
    label: record.label, epoch: record.epoch, coding: record.coding, entry: record.entry, bytes: record.bytes, sha256: record.sha256,
    storedSha256: record.storedSha256, stepNorm: record.stepNorm, stepError: record.stepError,
    ...(record.seed === undefined ? {} : { seed: { seed: record.seed.seed, scheme: record.seed.scheme, mode: record.seed.mode } }),
  }));
  const text = printJson({
    format: FORMAT, version: VERSION, revision: REVISION, graph: manifest.graph, permutations: permutationSummary(manifest.graph),
    parameterRange: parameterRange(manifest.graph),
    checkpoints, training: manifest.training,
  });
  const bytes = new TextEncoder().encode(`${text}\n`);
  if (bytes.byteLength > limits.manifestBytes) {
    throw new LimitError({ field: MANIFEST_ENTRY, expected: `at most ${limits.manifestBytes} bytes`, got: `${bytes.byteLength}` });
  }
  parseManifest(bytes);
  return bytes;
}

/**
 * @param maximumBytes what it may have: as many values as that allows are read of it.
 * @throws MalformedFileError, UnsupportedError, LimitError, IntegrityError, and what `parseGraph` throws.
 */
export function parseManifest(bytes: Uint8Array, maximumBytes: number = limits.manifestBytes): Manifest {
  const root = parseJsonObject(decodeUtf8(MANIFEST_ENTRY, bytes), {
    field: MANIFEST_ENTRY,
    maximumValues: Math.floor(maximumBytes / limits.bytesPerValue),
  });
  if (root['format'] !== FORMAT) malformed('format', `"${FORMAT}"`, root['format']);
  const version = integerOf('version', root['version'], 1);
  if (version !== VERSION) {
    throw new UnsupportedError({ field: `${MANIFEST_ENTRY} version`, expected: `${VERSION}`, got: `${version}` });
  }
  const revision = integerOf('revision', root['revision'], 0);
  const check = (path: string, object: JsonObject, known: readonly string[]): void => {
    if (revision > REVISION) return;
    for (const key of Object.keys(object))
      if (!known.includes(key)) malformed(path === '' ? key : `${path}.${key}`, 'no field of this name', key);
  };
  check('', root, ['format', 'version', 'revision', 'graph', 'permutations', 'parameterRange', 'checkpoints', 'training']);
  const graph = parseGraph(root['graph']);
  // Both are there for people and other readers; what counts is what follows from the graph.
  const derived = { permutations: permutationSummary(graph), parameterRange: parameterRange(graph) };
  for (const [key, value] of Object.entries(derived)) {
    if (JSON.stringify(root[key]) === JSON.stringify(value)) continue;
    throw new IntegrityError({ field: `${MANIFEST_ENTRY} ${key}`, expected: 'what follows from the graph', got: describe(root[key]) });
  }
  const list = root['checkpoints'];
  if (!Array.isArray(list) || list.length === 0) malformed('checkpoints', 'a list of at least one', list);
  const records = list as readonly JsonValue[];
  if (records.length > limits.checkpoints) {
    throw new LimitError({ field: `${MANIFEST_ENTRY} checkpoints`, expected: `at most ${limits.checkpoints}`, got: `${records.length}` });
  }
  const labels = new Set<string>();
  const checkpoints = records.map((value, index) => {
    const path = `checkpoints[${index}]`;
    if (!isJsonObject(value)) return malformed(path, 'an object', value);
    check(path, value, ['label', 'epoch', 'coding', 'entry', 'bytes', 'sha256', 'storedSha256', 'stepNorm', 'stepError', 'seed']);
    const record = parseCheckpoint(path, index, value);
    if (labels.has(record.label)) malformed(`${path}.label`, 'labels that differ', record.label);
    labels.add(record.label);
    return record;
  });
  return { version, revision, graph, checkpoints, training: root['training'] ?? null };
}

function malformed(path: string, expected: string, got: JsonValue | undefined): never {
  throw new MalformedFileError({ field: `${MANIFEST_ENTRY} ${path}`, expected, got: describe(got) });
}

function integerOf(path: string, value: JsonValue | undefined, minimum: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum) malformed(path, `an integer ≥ ${minimum}`, value);
  return value as number;
}

function parseCheckpoint(path: string, index: number, object: JsonObject): CheckpointRecord {
  const text = (key: string): string => {
    const value = object[key];
    if (typeof value !== 'string' || value === '' || value.length > limits.nameLength) malformed(`${path}.${key}`, 'a text', value);
    return value as string;
  };
  const hash = (key: string): string => {
    const value = object[key];
    if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) malformed(`${path}.${key}`, '64 hexadecimal digits', value);
    return value as string;
  };
  const magnitude = (key: string): number => {
    const value = object[key];
    if (typeof value !== 'number' || !(value >= 0)) malformed(`${path}.${key}`, 'a number ≥ 0', value);
    return value as number;
  };
  const coding = text('coding') as Coding;
  if (!codings.includes(coding)) {
    throw new UnsupportedError({
      field: `${MANIFEST_ENTRY} ${path}.coding`,
      expected: `one of ${codings.join(', ')}`,
      got: describe(coding),
    });
  }
  if (index === 0 && isDelta(coding)) malformed(`${path}.coding`, 'a coding that needs no previous checkpoint', coding);
  const entry = entryName(index, coding);
  if (object['entry'] !== entry) malformed(`${path}.entry`, describe(entry), object['entry']);
  if (coding === 'seed' && object['storedSha256'] !== null) malformed(`${path}.storedSha256`, 'null', object['storedSha256']);
  if (coding === 'full' && object['storedSha256'] !== object['sha256'])
    malformed(`${path}.storedSha256`, 'the same as sha256', object['storedSha256']);
  if ((coding === 'seed') !== (object['seed'] !== undefined))
    malformed(`${path}.seed`, 'a seed for that coding, and no other', object['seed']);
  const epoch = object['epoch'];
  if (epoch !== null && !(typeof epoch === 'number' && epoch >= 0)) malformed(`${path}.epoch`, 'a number ≥ 0 or null', epoch);
  return {
    label: text('label'),
    epoch: epoch as number | null,
    coding,
    entry,
    bytes: integerOf(`${path}.bytes`, object['bytes'], 1),
    sha256: hash('sha256'),
    storedSha256: coding === 'seed' ? null : hash('storedSha256'),
    stepNorm: magnitude('stepNorm'),
    stepError: magnitude('stepError'),
    ...(coding === 'seed' ? { seed: parseSeed(`${path}.seed`, object['seed']) } : {}),
  };
}

function parseSeed(path: string, value: JsonValue | undefined): SeedRecord {
  if (!isJsonObject(value)) return malformed(path, 'an object', value);
  const { seed, scheme, mode, ...others } = value;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) malformed(`${path}.${unknown}`, 'no field of this name', unknown);
  if (!initialisers.includes(scheme as SeedRecord['scheme'])) malformed(`${path}.scheme`, `one of ${initialisers.join(', ')}`, scheme);
  if (mode !== 'fan_in' && mode !== 'fan_out') malformed(`${path}.mode`, 'fan_in or fan_out', mode);
  return { seed: integerOf(`${path}.seed`, seed, 0), scheme: scheme as SeedRecord['scheme'], mode: mode as SeedRecord['mode'] };
}
