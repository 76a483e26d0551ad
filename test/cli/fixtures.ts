/** What the tests of the command line share: small image folders, and the built CLI as a child process. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const cliPath = join(root, 'dist', 'cli.js');

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd: string;
  /** The runtime and its arguments before the CLI's own. Default: this Node. */
  readonly runtime?: readonly string[];
  /** Sent after a time, or when stdout first holds `after`. */
  readonly signal?: { readonly name: NodeJS.Signals } & ({ readonly afterMs: number } | { readonly after: string });
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs `trajport …` to its end. */
export function trajport(args: readonly string[], options: RunOptions): Promise<Finished> {
  const [command, ...before] = options.runtime ?? [process.execPath];
  const child = spawn(command as string, [...before, cliPath, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  const { signal } = options;
  let sent = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (signal === undefined || !('after' in signal) || sent || !stdout.includes(signal.after)) return;
    sent = child.kill(signal.name);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  if (signal !== undefined && 'afterMs' in signal) setTimeout(() => child.kill(signal.name), signal.afterMs);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** The objects of `--json` output; fails on any line that is not one. */
export function jsonLines(stdout: string): Record<string, unknown>[] {
  return stdout.trimEnd().split('\n').map((line) => {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`not an object: ${line}`);
    return value as Record<string, unknown>;
  });
}

function bigEndian(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  values.forEach((value, i) => new DataView(bytes.buffer).setUint32(i * 4, value));
  return bytes;
}

/** IDX bytes by hand, as a twin to the reader: magic, counts, bytes. */
export function idxImages(count: number, height: number, width: number, pixels: Uint8Array): Uint8Array {
  return Buffer.concat([bigEndian(2051, count, height, width), pixels]);
}

export function idxLabels(labels: ArrayLike<number>): Uint8Array {
  return Buffer.concat([bigEndian(2049, labels.length), Uint8Array.from(labels)]);
}

/** Images of `classes` kinds that a small network learns: class c lights column c, with a little seeded noise. */
export function striped(count: number, size: number, classes: number, shift = 0): { pixels: Uint8Array; labels: number[] } {
  const pixels = new Uint8Array(count * size * size);
  const labels: number[] = [];
  let noise = 12345 + shift;
  for (let i = 0; i < count; i++) {
    const label = i % classes;
    labels.push(label);
    for (let p = 0; p < size * size; p++) {
      noise = (Math.imul(noise, 1_664_525) + 1_013_904_223) >>> 0;
      pixels[i * size * size + p] = (noise >>> 25) + (p % size === (label + shift) % size ? 120 : 0);
    }
  }
  return { pixels, labels };
}

/** A folder of IDX files with MNIST's names; training part gzipped, test part not. */
export function writeImageFolder(
  folder: string,
  options: { size?: number; classes?: number; train?: number; test?: number; shift?: number } = {},
): string {
  const { size = 6, classes = 3, train = 240, test = 60, shift = 0 } = options;
  mkdirSync(folder, { recursive: true });
  const write = (name: string, bytes: Uint8Array): void =>
    writeFileSync(join(folder, name), name.endsWith('.gz') ? gzipSync(bytes) : bytes);
  const training = striped(train, size, classes, shift);
  write('train-images-idx3-ubyte.gz', idxImages(train, size, size, training.pixels));
  write('train-labels-idx1-ubyte.gz', idxLabels(training.labels));
  const testing = striped(test, size, classes, shift);
  write('t10k-images-idx3-ubyte', idxImages(test, size, size, testing.pixels));
  write('t10k-labels-idx1-ubyte', idxLabels(testing.labels));
  return folder;
}
