/**
 * The typed surface of our AssemblyScript binary: one line a kernel, as in `assembly/index.ts`.
 * Pointers are byte offsets into the shared heap, counts are in elements unless the name says bytes.
 */

/** C [m, n] (+)= A · B in f32; row-major operands, leading dimensions in elements. */
export interface MatmulKernels {}

export interface CoreKernels extends MatmulKernels {}
