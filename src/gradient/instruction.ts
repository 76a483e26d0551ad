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

/** An instruction and what each walk over a program asks of it, told once. */
export interface LinkedInstruction extends Instruction {
  /** The place in the graph of the node whose value it makes, or helps to make; of a norm that takes a rectifier along, the norm's. */
  readonly node: number;
  /** `values` and `parameters`, as lists. */
  readonly operands: readonly (readonly [input: string, value: ValueKey])[];
  readonly parameterInputs: readonly (readonly [input: string, parameter: string])[];
  /** Those of `operands` that a gradient must reach. */
  readonly reachedOperands: LinkedInstruction['operands'];
  /** `attrs` for the gradient rule, which may write over the gradient of the output or must not. */
  readonly gradientAttrs: { readonly inPlace: Attributes; readonly apart: Attributes };
}

/** A value that need not be computed: its numbers are written to where it is to stand. */
export interface KnownValue {
  readonly value: ValueKey;
  readonly shape: readonly number[];
  readonly write: (pointer: number) => void;
}
