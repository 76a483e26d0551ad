/** People's checkpoint files on disk: one with the parts beside it, and those of folders. */
import { readdirSync } from 'node:fs';
import type { Dirent } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { ForeignFileRead } from '../bundle/foreign/formats.ts';
import { readForeign } from '../bundle/foreign/formats.ts';
import type { NameRule } from '../bundle/foreign/name-rules.ts';
import { parseNameRules } from '../bundle/foreign/name-rules.ts';
import { MODEL_JSON_BYTES, partNames } from '../bundle/foreign/parts.ts';
import { checkpointFiles } from '../bundle/foreign/checkpoint-files.ts';
import { TrajportError, UnsupportedError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { isLayersModel } from '../model/layers-model.ts';
import { formatCount, printable } from '../report/text.ts';
import { thatFile } from './arguments.ts';
import { FileError } from './exit.ts';
import { reason } from './file-system.node.ts';
import { isFolder, openRandomAccess, readWhole } from './read-files.node.ts';
import type { Output } from './output.ts';

/** Larger files could never be used: this is twice the WebAssembly heap. */
const FILE_LIMIT_BYTES = 2 * limits.heapBytes;
/** Folders within folders that are looked through: `run/checkpoint-500/model.safetensors`. */
const FOLDER_DEPTH = 2;

const LINE_FEED = 0x0a;

/**
 * Reads a file of any kind, or the one checkpoint of a folder; its parts are looked for in its own folder.
 * @throws FileError for a network's JSON, which goes with --graph, and for JSON Lines, which --data reads.
 */
export async function readCheckpointFile(fileOrFolder: string, signal?: AbortSignal): Promise<ForeignFileRead> {
  const path = checkpointPath(fileOrFolder);
  const folder = dirname(path);
  const bytes = readWhole(path, FILE_LIMIT_BYTES);
  try {
    return await readForeign(
      { name: path, bytes },
      { ...(signal === undefined ? {} : { signal }), readBeside: async (part) => readWhole(join(folder, part), FILE_LIMIT_BYTES) },
    );
  } catch (error) {
    if (error instanceof UnsupportedError && isNetworkAlone(bytes))
      throw new FileError(path, 'holds a network and no weights; it goes with --graph, beside a file of weights', error);
    if (error instanceof TrajportError && isJsonLines(bytes)) {
      throw new FileError(
        path, `is JSON Lines and holds no weights; sequences of tokens in it go with --data sequences:${printable(path)}`, error,
      );
    }
    throw error;
  }
}

/** Whether this is the JSON of a graph, or of a LayersModel without weights. */
function isNetworkAlone(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x7b) return false;
  try {
    const json = JSON.parse(new TextDecoder().decode(bytes)) as object;
    return 'nodes' in json || (isLayersModel(json) && !('weightsManifest' in json));
  } catch {
    // A safetensors file may begin so.
    return false;
  }
}

/** Whether each line is an object, as far as the first two show; of a single line, one with `tokens`. */
function isJsonLines(bytes: Uint8Array): boolean {
  const end = bytes.indexOf(LINE_FEED);
  const line = bytes.subarray(0, end < 0 ? bytes.length : end);
  if (line.length > limits.manifestBytes) return false;
  try {
    // Without a byte order mark, which the decoder takes away.
    const json: unknown = JSON.parse(new TextDecoder().decode(line));
    if (typeof json !== 'object' || json === null || Array.isArray(json)) return false;
    return 'tokens' in json || 'input_ids' in json || bytes[line.length + 1] === 0x7b;
  } catch {
    return false;
  }
}

/** A file, or the one checkpoint in a folder. @throws FileError for a folder without a checkpoint, and for one of several. */
export function checkpointPath(path: string): string {
  const [first = path, ...others] = listCheckpoints([path]);
  if (others.length > 0)
    throw new FileError(path, `a folder of ${formatCount(others.length + 1, 'checkpoint')}, where one is wanted: ${first}, say`);
  return first;
}

/** A file, or what there is of a folder, and the parts beside it that it names. */
export function weightFiles(path: string): readonly string[] {
  if (isFolder(path)) return packedFiles(path);
  return [path, ...[...partsNamedIn(path), ...adapterConfig(path)].map((part) => join(dirname(path), part))];
}

/** PEFT's file beside an adapter's, which is read with it. */
export const ADAPTER_CONFIG = 'adapter_config.json';

const adapterConfig = (path: string): readonly string[] => (basename(path).startsWith('adapter_model.') ? [ADAPTER_CONFIG] : []);

function partsNamedIn(path: string): readonly string[] {
  try {
    const file = openRandomAccess(path);
    try {
      const isJson = file.byteLength > 0 && file.byteLength <= MODEL_JSON_BYTES && file.peek(1)[0] === 0x7b;
      return isJson ? partNames(file.peek(file.byteLength)) : [];
    } finally {
      file.close();
    }
  } catch {
    // Whoever reads the file says what is wrong with it.
    return [];
  }
}

/** What `pack` reads of a file or folder. */
export function packedFiles(path: string): readonly string[] {
  try {
    return listCheckpoints([path]).flatMap(weightFiles);
  } catch {
    // A folder without any, which `listCheckpoints` then says.
    return [];
  }
}

/** Files as given, folders as the checkpoints in them. @throws FileError for a folder without any. */
export function listCheckpoints(paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) => {
    if (!isFolder(path)) return [path];
    const found = checkpointFiles(filesWithin(path, FOLDER_DEPTH));
    if (found.length === 0) {
      throw new FileError(
        path,
        'holds no file that is named like a checkpoint ' +
          '(.safetensors, .pt, .pth, .ckpt, pytorch_model.bin, .npz, .h5, .keras, .onnx, .gguf, model.json)',
      );
    }
    return found.map((file) => join(path, file));
  });
}

/** Notes where checkpoints of a folder come in the order of the alphabet, by which a port may run backwards. */
export function remarkOrder(output: Output, paths: readonly string[]): void {
  for (const folder of paths.filter(isFolder)) {
    const names = listCheckpoints([folder]).map((file) => relative(folder, file));
    if (names.length < 2 || names.every((name) => /\d/.test(name.slice(0, name.lastIndexOf('.'))))) continue;
    output.warn(
      `${folder}: not all of its checkpoints have a number in their names, so they come as the alphabet has them: ${names[0]} first`,
    );
  }
}

/** Paths of files within a folder, with '/'. */
function filesWithin(folder: string, depth: number): string[] {
  return entriesOf(folder).flatMap((entry) => {
    if (entry.isFile()) return [entry.name];
    return entry.isDirectory() && depth > 0 ? filesWithin(join(folder, entry.name), depth - 1).map((name) => `${entry.name}/${name}`) : [];
  });
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (cause) {
    throw new FileError(folder, `cannot be read (${reason(cause)})`, cause);
  }
}

/** The option of every command that reads people's names; each says in its help what it does with the rules. */
export const rulesOption = { kind: 'string', reads: thatFile, metavar: 'FILE' } as const;

export function readRules(path: string | undefined): readonly NameRule[] {
  return path === undefined ? [] : parseNameRules(readWhole(path, limits.manifestBytes), path);
}

/**
 * Notes rules that apply to no tensor: a misspelt one changes nothing, and shows nowhere else.
 * @param path of the rules. @param idle from `idleRules`. @param files those whose names they are.
 */
export function remarkIdleRules(
  output: Output, path: string | undefined, rules: readonly NameRule[], idle: readonly number[], files: string,
): void {
  const [first, ...others] = idle;
  if (path === undefined || first === undefined) return;
  const more = others.length === 0 ? ' applies' : ` and ${formatCount(others.length, 'more rule')} apply`;
  output.warn(`${path}[${first}] (${JSON.stringify(rules[first]?.from)})${more} to no name in ${files}`);
}
