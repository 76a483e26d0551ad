/** One kernel call of a program. */
import type { Attributes } from './kernels/support.ts';

export interface Instruction {
  /** Name of the value it makes: a node's, or a partial sum of one. */
  readonly output: string;
  readonly kernel: string;
  /** Kernel input → value. */
  readonly values: { readonly [input: string]: string };
  /** Kernel input → parameter or buffer. */
  readonly parameters: { readonly [input: string]: string };
  readonly attrs: Attributes;
  /** The kernel can write over its input `x`. */
  readonly overwrites: boolean;
}
