/**
 * Tokens for language models: `text:PATH` is text, `tokens:FILE` token numbers that a tokeniser of one's own has written. A single
 * file's last tenth is its test part; a folder holds train.txt and test.txt.
 */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readForeign } from '../bundle/foreign/formats.ts';
import type { RawTensor } from '../bundle/safetensors.ts';
import { limits } from '../core/limits.ts';
import { unpacked } from '../data/gzip.ts';
import { characterVocabulary, splitTokens, tokensFromCharacters } from '../data/text.ts';
import { tokenSet, tokensFromBytes } from '../data/token-set.ts';
import type { TokenSet } from '../data/token-set.ts';
import { integers } from './integers.ts';
import { FileError, UsageError } from './exit.ts';
import { isFolder, readWhole } from './read-files.node.ts';

export type DataPart = 'train' | 'test';

export interface TokenChoices {
  /** Tokens of a window. */
  readonly context: number;
  /** Tokens there are, where something says so. */
  readonly vocabulary?: number | undefined;
  /** A text whose characters are the vocabulary; bytes without it. */
  readonly characters?: string | undefined;
  /** Only the first so many windows of the training part. */
  readonly trainCount?: number | undefined;
}

type Tokens = Uint8Array | Uint16Array;

const KINDS = ['text:', 'tokens:', 'sequences:'] as const;

/** Also of labelled sequences, which `sequences.node.ts` reads. */
export function namesTokens(data: string): boolean {
  return KINDS.some((kind) => data.startsWith(kind));
}

export function namesSequences(data: string): boolean {
  return data.startsWith('sequences:');
}

/** Every file that `loadTokens` or `loadSequences` may read of a value of --data. */
export function tokenFiles(data: string): readonly string[] {
  const path = data.slice(data.indexOf(':') + 1);
  return isFolder(path) ? (['train', 'test'] as const).flatMap((part) => partFile(path, part, endingOf(data)) ?? []) : [path];
}

/** Whether there is such a part. @throws what reading a file of tokens does, which alone says whether it has it. */
export async function hasTokenPart(data: string, part: DataPart): Promise<boolean> {
  const path = pathOf(data);
  if (data.startsWith('tokens:')) return path.endsWith('.bin') || partOf(path, await readArrays(path), part) !== undefined;
  return !isFolder(path) || partFile(path, part, endingOf(data)) !== undefined;
}

/**
 * @throws FileError for a file that is missing, empty or too short; UsageError for options that do not go together; the errors of
 *   `tokensFromCharacters` and `tokenSet` for what is in it.
 */
export async function loadTokens(data: string, part: DataPart, choices: TokenChoices): Promise<TokenSet> {
  const path = pathOf(data);
  const { context: length, characters, trainCount } = choices;
  if (data.startsWith('tokens:') && characters !== undefined) throw new UsageError('--vocabulary is for text, not for --data tokens:FILE');
  const vocabulary = characters === undefined ? undefined : characterVocabulary(characters, await readText(characters));
  const size = choices.vocabulary ?? vocabulary?.length ?? (data.startsWith('text:') ? 256 : undefined);
  if (size === undefined)
    throw new UsageError('--data tokens:FILE needs --classes N, the size of the vocabulary, where no network says it');
  const tokens = data.startsWith('tokens:')
    ? await tokenPart(path, part)
    : await textPart(path, part, (name, bytes) =>
        vocabulary === undefined ? tokensFromBytes(bytes, 8) : tokensFromCharacters(name, bytes, vocabulary),
      );
  if (tokens.length < length + 1) {
    throw new FileError(
      path,
      `has ${tokens.length} tokens in its ${part} part; a window of --context ${length} takes ${length + 1}, its labels included`,
    );
  }
  const windows = part === 'train' && trainCount !== undefined ? tokens.subarray(0, trainCount * length + 1) : tokens;
  return tokenSet({ name: basename(path), tokens: windows, length, vocabulary: size });
}

const endingOf = (data: string): string => (namesSequences(data) ? 'jsonl' : 'txt');

/** What a value of --data names after its kind. @throws UsageError for nothing. */
export function pathOf(data: string): string {
  const path = data.slice(data.indexOf(':') + 1);
  if (path === '') throw new UsageError(`--data ${data} names no file`);
  return path;
}

/** A folder's file of one part, gzipped or not. */
export function partFile(folder: string, part: DataPart, ending: string): string | undefined {
  return [`${part}.${ending}`, `${part}.${ending}.gz`].map((name) => join(folder, name)).find((path) => existsSync(path));
}

async function textPart(path: string, part: DataPart, tokenise: (name: string, bytes: Uint8Array) => Tokens): Promise<Tokens> {
  if (!isFolder(path)) return splitTokens(tokenise(path, await readText(path)))[part];
  const file = partFile(path, part, 'txt');
  if (file === undefined) throw new FileError(path, `holds no ${part}.txt or ${part}.txt.gz`);
  return tokenise(file, await readText(file));
}

/** @throws FileError for a file that is missing, empty or too large. */
export async function readText(path: string): Promise<Uint8Array> {
  const text = await unpacked(path, readWhole(path, limits.textFileBytes), limits.textFileBytes);
  if (text.length === 0) throw new FileError(path, 'is empty');
  return text;
}

const LARGEST_TOKEN = 65_535;

/** Two bytes a token in a .bin; else an npy, npz or safetensors file with one array, or with `train`, `test` or both. */
async function tokenPart(path: string, part: DataPart): Promise<Tokens> {
  if (path.endsWith('.bin')) return splitTokens(tokensFromBytes(readWhole(path, limits.textFileBytes), 16))[part];
  const tokens = partOf(path, await readArrays(path), part);
  if (tokens === undefined) throw new FileError(path, `has no ${part} part: its one array is named for the other`);
  return tokens;
}

async function readArrays(path: string): Promise<ReadonlyMap<string, RawTensor>> {
  return (await readForeign({ name: path, bytes: readWhole(path, limits.textFileBytes) })).tensors;
}

/**
 * An array named for a part is that part and no other: its last tenth as the test part would have been trained on.
 * Undefined for the other.
 */
function partOf(path: string, tensors: ReadonlyMap<string, RawTensor>, part: DataPart): Tokens | undefined {
  const named = tensors.get(part);
  if (named !== undefined) return integers(`${path} ${part}`, named, LARGEST_TOKEN, 'token numbers');
  const [only, ...more] = tensors;
  if (only === undefined || more.length > 0) {
    throw new FileError(
      path,
      `holds ${tensors.size} arrays (${[...tensors.keys()].slice(0, 6).join(', ')}); wanted is one, or \`train\` and \`test\``,
    );
  }
  const [name, tensor] = only;
  return name === 'train' || name === 'test' ? undefined : splitTokens(integers(path, tensor, LARGEST_TOKEN, 'token numbers'))[part];
}
