/**
 * The memory roof of kernels that read some tensors and write others: a loop, compiled for the occasion, that reads and writes as many
 * bytes in order and computes nothing. A triad (y += x) moves more bytes a second, for it finds in the caches what it writes: lines that
 * are written only are fetched from memory first, too.
 */
import { compiled } from './compiled-loop.ts';

/** Reads and writes of a turn are whole lines of the cache, of so many bytes. */
const LINE = 64;

const source = `export function pass(from: usize, to: usize, turns: i32, reads: i32, writes: i32, sink: usize): void {
  let s = v128.load(sink);
  for (let turn: i32 = 0; turn < turns; turn++) {
    for (let i: i32 = 0; i < reads; i++) {
      s = v128.or(s, v128.or(v128.or(v128.load(from), v128.load(from, 16)), v128.or(v128.load(from, 32), v128.load(from, 48))));
      from += 64;
    }
    for (let i: i32 = 0; i < writes; i++) {
      v128.store(to, s);
      v128.store(to, s, 16);
      v128.store(to, s, 32);
      v128.store(to, s, 48);
      to += 64;
    }
  }
  v128.store(sink, s);
}`;

/** A pass over `reads` and `writes` bytes, of which the one is a whole multiple of the other or 0. */
export async function openStreaming(): Promise<(reads: number, writes: number) => { readonly once: () => void }> {
  const module = await compiled('pass', source);
  return (reads, writes) => {
    const pages = Math.ceil((reads + writes) / 2 ** 16) + 2;
    const memory = new WebAssembly.Memory({ initial: pages });
    // What is only reserved is one page of zeros to the system, which the first cache would hold.
    new Uint8Array(memory.buffer).fill(1);
    const pass = new WebAssembly.Instance(module, { env: { memory } }).exports['pass'] as (...numbers: number[]) => void;
    const unit = writes === 0 ? reads : Math.min(reads, writes);
    const turns = Math.floor(unit / LINE);
    const from = 2 ** 16, to = from + reads;
    return { once: () => pass(from, to, turns, Math.round(reads / unit), Math.round(writes / unit), 0) };
  };
}
