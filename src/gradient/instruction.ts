/** One kernel call of a program, and what names the values between calls. */
import type { Attributes } from './kernels/support.ts';

/** A node's value by its name, or what is made on the way to one: a symbol, since any string may be the name of a node. */
export type ValueKey = string | symbol;

export interface Instruction {
  /** The value it makes. */
  readonly output: ValueKey;
  readonly kernel: string;
  /** Kernel input → value. */
  readonly values: { readonly [input: string]: ValueKey };
  /** Kernel input → parameter or buffer. */
  readonly parameters: { readonly [input: string]: string };
  readonly attrs: Attributes;
  /** The kernel can write over its input `x`. */
  readonly overwrites: boolean;
}

/** A value that need not be computed: its numbers are written to where it is to stand. */
export interface KnownValue {
  readonly value: ValueKey;
  readonly shape: readonly number[];
  readonly write: (pointer: number) => void;
}
