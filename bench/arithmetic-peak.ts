/**
 * The arithmetic roof of kernels on f32x4 without fused multiply-adds: chains of s · w + b that never leave their
 * registers, compiled for the occasion. A multiplication and an addition take five or six cycles and two of each can
 * start in one: twelve chains just fill the processor and lose what they once wait for one another (0.93 of thirteen,
 * the most that fit fifteen registers with w and b).
 */
import { compiled } from './compiled-loop.ts';

const CHAINS = 13;

const source = `export function peak(turns: i32, ptr: usize): void {
  const w = v128.load(ptr), b = v128.load(ptr, 16);
  let ${Array.from({ length: CHAINS }, (_, i) => `s${i} = b`).join(', ')};
  for (let i: i32 = 0; i < turns; i++) {
    ${Array.from({ length: CHAINS }, (_, i) => `s${i} = f32x4.add(f32x4.mul(s${i}, w), b);`).join(' ')}
  }
  v128.store(ptr, ${Array.from({ length: CHAINS }, (_, i) => `s${i}`).reduce((sum, s) => `f32x4.add(${sum}, ${s})`)}, 32);
}`;

export interface ArithmeticPeak {
  /** Floating-point operations of one call of `once`. */
  readonly flops: number;
  once(): void;
}

export async function openArithmeticPeak(): Promise<ArithmeticPeak> {
  const module = await compiled('peak', source);
  const memory = new WebAssembly.Memory({ initial: 1 });
  new Float32Array(memory.buffer).set([0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]);
  const peak = new WebAssembly.Instance(module, { env: { memory } }).exports['peak'] as (turns: number, ptr: number) => void;
  const turns = 100_000;
  return { flops: turns * CHAINS * 8, once: () => peak(turns, 0) };
}
