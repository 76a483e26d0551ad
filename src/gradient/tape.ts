/**
 * Runs a program of tfjs kernels forward, and backward through the gradients registered with tfjs for them. Only the walk is
 * ours: tfjs's tape frees nothing until a gradient ends, this one frees every value, and every gradient, after its last use,
 * and lets rectifiers write in place. That bounds the peak (measured in bench/gradient.ts). Of a segment that is to be computed anew
 * it keeps what goes in, and runs it once more on the way back: the same kernels on the same numbers, so the same bytes.
 */
import { engine, getGradient, type Tensor } from '#tfjs';
import { KernelError } from '../core/errors.ts';
import type { HeapBackend } from './backend.ts';
import { Held, LiveValues } from './held-values.ts';
import { run, runAll, type InputGradients } from './kernels/support.ts';
import type { HeapParameters } from './parameters.ts';
import type { Segment } from '../model/segments.ts';
import type { KnownValue, LinkedInstruction, ValueKey } from './instruction.ts';
import type { Program } from './program.ts';
import { inputsOf, repetitionOf } from './recomputation.ts';

/** What one instruction needs for its backward pass. */
interface Recorded {
  readonly instruction: LinkedInstruction;
  /** What the kernel's gradient asked to keep, in its order: values held, parameters borrowed. */
  readonly saved: readonly Tensor[];
  readonly held: readonly Held[];
}

/** What a segment is computed anew from. */
interface Postponed {
  readonly instructions: readonly LinkedInstruction[];
  readonly inputs: ReadonlyMap<ValueKey, Held>;
}

export interface TapeOptions {
  /** Keep what the backward pass needs. */
  readonly record: boolean;
  /** Of the program's graph: those to be computed anew on the way back. Default: none. */
  readonly segments?: readonly Segment[] | undefined;
  /** The numbers of the input as the caller holds them, to be shared by factors where they stand in the same order on the heap. */
  readonly inputNumbers?: Float32Array | undefined;
  /** Called with the outputs after the first of kernels that have several, before they are freed. */
  readonly onSideOutputs?: (instruction: LinkedInstruction, x: Tensor, outputs: readonly Tensor[]) => void;
}

export class Tape {
  readonly #backend: HeapBackend;
  readonly #program: Program;
  readonly #parameters: HeapParameters;
  readonly #options: TapeOptions;
  readonly #steps: (Recorded | Postponed)[] = [];
  /** The buffer that holds `inputNumbers` as they are. */
  #inputBuffer: Tensor['dataId'] | undefined;

  constructor(backend: HeapBackend, program: Program, parameters: HeapParameters, options: TapeOptions) {
    this.#backend = backend;
    this.#program = program;
    this.#parameters = parameters;
    this.#options = options;
  }

  /** The value of the program's output, the caller's to dispose; takes over `input`. */
  forward(input: Tensor): Tensor {
    this.#inputBuffer = input.dataId;
    return this.#run('input', input, 0);
  }

  /**
   * The same from the value of one of the first layers on, of which every other value comes. Its instruction's parameters are not
   * read: their gradients must be factors, of the input's numbers, or of its own gradient alone.
   */
  forwardFrom({ value, shape, write }: KnownValue): Tensor {
    const { instructions } = this.#program;
    const at = instructions.findIndex(({ output }) => output === value);
    if (this.#options.record) this.#steps.push({ instruction: instructions[at] as LinkedInstruction, saved: [], held: [] });
    const known = engine().makeTensorFromTensorInfo(this.#backend.makeOutput([...shape], 'float32'));
    write(this.#backend.pointer(known));
    return this.#run(value, known, at + 1);
  }

  #run(first: ValueKey, tensor: Tensor, start: number): Tensor {
    const { output, readers } = this.#program;
    const { record } = this.#options;
    const values = new LiveValues(readers);
    values.put(first, new Held(tensor));
    for (const { instructions, recomputed } of this.#segmentsFrom(start)) {
      if (recomputed) {
        this.#steps.push({ instructions, inputs: new Map(inputsOf(instructions).map((name) => [name, values.hold(name)])) });
      }
      for (const instruction of instructions) {
        values.put(instruction.output, this.#execute(instruction, takenFrom(values, instruction.operands), record && !recomputed));
      }
    }
    const result = values.take(output);
    if (result.isSole(this.#backend) || !record) return result.tensor;
    // The output's own gradient rule kept it: the caller gets a view of its own.
    const view = run('Identity', { x: result.tensor });
    result.release();
    return view;
  }

  /** The program from an instruction on. */
  #segmentsFrom(start: number): { readonly instructions: readonly LinkedInstruction[]; readonly recomputed: boolean }[] {
    const { instructions } = this.#program;
    const { record, segments } = this.#options;
    const rest = instructions.slice(start);
    if (segments === undefined || !record) return [{ instructions: rest, recomputed: false }];
    return segments
      .map(({ from, to, recomputed }) => ({ instructions: rest.filter(({ node }) => from <= node && node < to), recomputed }))
      .filter((segment) => segment.instructions.length > 0);
  }

  /** Adds the gradient of every parameter to `parameters`; takes over the output's gradient. */
  backward(outputGradient: Tensor): void {
    const { output, reached } = this.#program;
    const gradients = new Map<ValueKey, Held>([[output, new Held(outputGradient)]]);
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      if ('inputs' in step) {
        this.#computeAnew(step);
        continue;
      }
      const { instruction, saved, held } = step;
      const dy = gradients.get(instruction.output);
      gradients.delete(instruction.output);
      if (dy !== undefined && reached.has(instruction.output)) this.#differentiate(instruction, dy, saved, gradients);
      dy?.release();
      for (const value of held) value.release();
    }
    for (const gradient of gradients.values()) gradient.release();
  }

  /** A segment's forward pass once more, now with what its backward passes need. Who listens for side outputs has heard of them. */
  #computeAnew({ instructions, inputs }: Postponed): void {
    const { steps, readers } = repetitionOf(instructions, ({ kernel }) => this.#gradientOf(kernel));
    const values = new LiveValues(readers);
    for (const [name, held] of inputs) values.put(name, held);
    for (const { instruction, runs, operands } of steps) {
      const taken = takenFrom(values, operands);
      if (runs) values.put(instruction.output, this.#execute(instruction, taken, true, false));
      else this.#passOver(instruction, taken);
    }
  }

  #execute(instruction: LinkedInstruction, operands: ReadonlyMap<string, Held>, record: boolean, report = true): Held {
    const { kernel, overwrites } = instruction;
    const inputs = this.#inputsOf(instruction, operands);
    const inPlace = overwrites && (operands.get('x')?.isSole(this.#backend) ?? false);
    if (inPlace && inputs['x']?.dataId === this.#inputBuffer) this.#inputBuffer = undefined;
    const results = runAll(kernel, inputs, inPlace ? { ...instruction.attrs, inPlace } : instruction.attrs);
    const outputs = results.map((tensor) => new Held(tensor));
    const [first, ...others] = outputs as [Held, ...Held[]];
    if (report && others.length > 0) {
      this.#options.onSideOutputs?.(instruction, inputs['x'] as Tensor, others.map(({ tensor }) => tensor));
    }
    if (record) this.#steps.push(this.#record(instruction, inputs, operands, outputs));
    for (const operand of operands.values()) operand.release();
    for (const other of others) other.release();
    return first;
  }

  /** An instruction that need not run again: its backward pass reads its inputs alone. */
  #passOver(instruction: LinkedInstruction, operands: ReadonlyMap<string, Held>): void {
    this.#steps.push(this.#record(instruction, this.#inputsOf(instruction, operands), operands, []));
    for (const operand of operands.values()) operand.release();
  }

  #inputsOf({ parameterInputs }: LinkedInstruction, operands: ReadonlyMap<string, Held>): { readonly [name: string]: Tensor } {
    const inputs: { [name: string]: Tensor } = {};
    for (const [name, { tensor }] of operands) inputs[name] = tensor;
    for (const [name, parameter] of parameterInputs) inputs[name] = this.#parameters.value(parameter);
    return inputs;
  }

  /** Holds what the registered gradient of this kernel saves. */
  #record(
    instruction: LinkedInstruction,
    inputs: { readonly [name: string]: Tensor },
    operands: ReadonlyMap<string, Held>,
    outputs: readonly Held[],
  ): Recorded {
    const { inputsToSave = [], outputsToSave = [] } = this.#gradientOf(instruction.kernel);
    const kept = outputs.filter((_, i) => outputsToSave[i] === true);
    const held = [...inputsToSave.flatMap((name) => operands.get(name) ?? []), ...kept].map((value) => value.hold());
    const saved = [...inputsToSave.map((name) => inputs[name] as Tensor), ...kept.map(({ tensor }) => tensor)];
    return { instruction, saved, held };
  }

  #differentiate(instruction: LinkedInstruction, dy: Held, saved: readonly Tensor[], gradients: Map<ValueKey, Held>): void {
    const { parameterInputs, reachedOperands, gradientAttrs } = instruction;
    const attrs = dy.isSole(this.#backend) ? gradientAttrs.inPlace : gradientAttrs.apart;
    const rules = this.#gradientOf(instruction.kernel).gradFunc(dy.tensor, saved as Tensor[], attrs as never) as InputGradients;
    const computed: (readonly [input: string, parameter: string])[] = [];
    for (const each of parameterInputs) {
      const [, parameter] = each;
      if (!this.#parameters.isFactored(parameter)) computed.push(each);
      else this.#parameters.addFactors(parameter, dy.tensor, this.#rightFactor(saved[0]));
    }
    // One tidy for all: kernels with several outputs compute them together, and what else kernels made of others leave ends here.
    // Parameters first: an in-place gradient of x overwrites dy.
    const results = engine().tidy(() => [...computed, ...reachedOperands].map(([input]) => ruleOf(instruction, rules, input)()));
    for (const [i, [, parameter]] of computed.entries()) this.#parameters.addGradient(parameter, results[i] as Tensor);
    for (const [i, [, value]] of reachedOperands.entries()) this.#accumulate(gradients, value, results[computed.length + i] as Tensor);
  }

  /** What a dense layer's factors have on the right: its input, which it keeps first where it has not been passed over. */
  #rightFactor(x: Tensor | undefined): Tensor | Float32Array {
    const isInput = x === undefined || x.dataId === this.#inputBuffer;
    const factor = isInput ? (this.#options.inputNumbers ?? x) : x;
    if (factor !== undefined) return factor;
    throw new KernelError({ field: 'factor', expected: 'the input of a dense layer, or its numbers', got: 'neither' });
  }

  #gradientOf(kernel: string): ReturnType<typeof getGradient> {
    const gradient = getGradient(kernel) as ReturnType<typeof getGradient> | undefined;
    if (gradient === undefined) throw new KernelError({ field: kernel, expected: 'a registered gradient', got: 'none' });
    return gradient;
  }

  #accumulate(gradients: Map<ValueKey, Held>, value: ValueKey, dx: Tensor): void {
    const sum = gradients.get(value);
    if (sum === undefined) {
      gradients.set(value, new Held(dx));
      return;
    }
    if (sum.isSole(this.#backend)) {
      this.#backend.core.kernels.addF32(this.#backend.pointer(dx), this.#backend.pointer(sum.tensor), dx.size);
    } else {
      gradients.set(value, new Held(run('AddAlike', { x: sum.tensor, b: dx })));
      sum.release();
    }
    dx.dispose();
  }
}

function takenFrom(values: LiveValues, operands: LinkedInstruction['operands']): Map<string, Held> {
  return new Map(operands.map(([input, value]) => [input, values.take(value)]));
}

function ruleOf({ kernel }: LinkedInstruction, rules: InputGradients, input: string): () => Tensor {
  const rule = rules[input];
  if (rule !== undefined) return rule;
  throw new KernelError({ field: kernel, expected: `a gradient of its input ${input}`, got: 'none' });
}
