/** Running some instructions in a row a second time, on the way back: which of them, on which values. */
import type { getGradient } from '#tfjs';
import type { LinkedInstruction, ValueKey } from './instruction.ts';

/** Values that they read and do not make, each once. */
export function inputsOf(instructions: readonly LinkedInstruction[]): ValueKey[] {
  const made = new Set<ValueKey>();
  const inputs = new Set<ValueKey>();
  for (const { operands, output } of instructions) {
    for (const [, value] of operands) if (!made.has(value)) inputs.add(value);
    made.add(output);
  }
  return [...inputs];
}

/** An instruction on the way back. */
interface Repeated {
  readonly instruction: LinkedInstruction;
  /** Whether it runs again: a gradient keeps its outputs, or others that run again or are kept read them. */
  readonly runs: boolean;
  /** What it reads, or, where it does not run, what its gradient keeps of that. */
  readonly operands: LinkedInstruction['operands'];
}

export interface Repetition {
  readonly steps: readonly Repeated[];
  /** How often each value is read. */
  readonly readers: ReadonlyMap<ValueKey, number>;
}

export function repetitionOf(
  instructions: readonly LinkedInstruction[], gradientOf: (instruction: LinkedInstruction) => ReturnType<typeof getGradient>,
): Repetition {
  const readers = new Map<ValueKey, number>();
  const steps: Repeated[] = [];
  for (const instruction of instructions.toReversed()) {
    const { inputsToSave = [], outputsToSave = [] } = gradientOf(instruction);
    const runs = readers.has(instruction.output) || outputsToSave.includes(true);
    const operands = runs ? instruction.operands : instruction.operands.filter(([input]) => inputsToSave.includes(input));
    for (const [, value] of operands) readers.set(value, (readers.get(value) ?? 0) + 1);
    steps.push({ instruction, runs, operands });
  }
  return { steps: steps.toReversed(), readers };
}
