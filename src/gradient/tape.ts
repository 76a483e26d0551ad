/**
 * Runs a program of tfjs kernels forward, and backward through the gradients registered with tfjs for them. Only the walk is
 * ours: tfjs's tape frees nothing until a gradient ends, this one frees every value, and every gradient, after its last use,
 * and lets rectifiers write in place. That bounds the peak (measured in bench/gradient.ts).
 */
import { engine, getGradient, type Tensor } from '#tfjs';
import { KernelError } from '../core/errors.ts';
import type { HeapBackend } from './backend.ts';
import { run, runAll, type InputGradients } from './kernels/support.ts';
import type { HeapParameters } from './parameters.ts';
import type { KnownValue, LinkedInstruction, ValueKey } from './instruction.ts';
import type { Program } from './program.ts';

/** A tensor and how many still need it. */
class Held {
  readonly tensor: Tensor;
  #holders = 1;

  constructor(tensor: Tensor) {
    this.tensor = tensor;
  }

  hold(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders === 0) this.tensor.dispose();
  }

  /** Nobody else reads this buffer, under this tensor or a view of it. */
  isSole(backend: HeapBackend): boolean {
    return this.#holders === 1 && backend.refCount(this.tensor.dataId) === 1;
  }
}

interface Step {
  readonly instruction: LinkedInstruction;
  /** What the kernel's gradient asked to keep, in its order: values held, parameters borrowed. */
  readonly saved: readonly Tensor[];
  readonly held: readonly Held[];
}

export interface TapeOptions {
  /** Keep what the backward pass needs. */
  readonly record: boolean;
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
  readonly #steps: Step[] = [];
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
    return this.#run('input', input, this.#program.instructions);
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
    return this.#run(value, known, instructions.slice(at + 1));
  }

  #run(first: ValueKey, tensor: Tensor, instructions: readonly LinkedInstruction[]): Tensor {
    const { output, readers } = this.#program;
    const values = new Map<ValueKey, { readonly held: Held; left: number }>();
    const put = (name: ValueKey, held: Held): void => void values.set(name, { held, left: readers.get(name) ?? 0 });
    /** One reader's hold: the last reader takes over the map's own, and may be the only one. */
    const take = (name: ValueKey): Held => {
      const value = values.get(name) as { readonly held: Held; left: number };
      if (--value.left > 0) return value.held.hold();
      values.delete(name);
      return value.held;
    };
    put(first, new Held(tensor));
    for (const instruction of instructions) {
      const operands = new Map<string, Held>();
      for (const [input, value] of instruction.operands) operands.set(input, take(value));
      put(instruction.output, this.#execute(instruction, operands));
    }
    const result = take(output);
    if (result.isSole(this.#backend) || !this.#options.record) return result.tensor;
    // The output's own gradient rule kept it: the caller gets a view of its own.
    const view = run('Identity', { x: result.tensor });
    result.release();
    return view;
  }

  /** Adds the gradient of every parameter to `parameters`; takes over the output's gradient. */
  backward(outputGradient: Tensor): void {
    const { output, reached } = this.#program;
    const gradients = new Map<ValueKey, Held>([[output, new Held(outputGradient)]]);
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      const { instruction, saved, held } = step;
      const dy = gradients.get(instruction.output);
      gradients.delete(instruction.output);
      if (dy !== undefined && reached.has(instruction.output)) this.#differentiate(instruction, dy, saved, gradients);
      dy?.release();
      for (const value of held) value.release();
    }
    for (const gradient of gradients.values()) gradient.release();
  }

  #execute(instruction: LinkedInstruction, operands: ReadonlyMap<string, Held>): Held {
    const { kernel, parameterInputs, overwrites } = instruction;
    const inputs: { [name: string]: Tensor } = {};
    for (const [name, { tensor }] of operands) inputs[name] = tensor;
    for (const [name, parameter] of parameterInputs) inputs[name] = this.#parameters.value(parameter);
    const inPlace = overwrites && (operands.get('x')?.isSole(this.#backend) ?? false);
    if (inPlace && inputs['x']?.dataId === this.#inputBuffer) this.#inputBuffer = undefined;
    const results = runAll(kernel, inputs, inPlace ? { ...instruction.attrs, inPlace } : instruction.attrs);
    const outputs = results.map((tensor) => new Held(tensor));
    const [first, ...others] = outputs as [Held, ...Held[]];
    if (others.length > 0) this.#options.onSideOutputs?.(instruction, inputs['x'] as Tensor, others.map(({ tensor }) => tensor));
    if (this.#options.record) this.#steps.push(this.#record(instruction, inputs, operands, outputs));
    for (const operand of operands.values()) operand.release();
    for (const other of others) other.release();
    return first;
  }

  /** Holds what the registered gradient of this kernel saves. */
  #record(
    instruction: LinkedInstruction,
    inputs: { readonly [name: string]: Tensor },
    operands: ReadonlyMap<string, Held>,
    outputs: readonly Held[],
  ): Step {
    const { inputsToSave = [], outputsToSave = [] } = this.#gradientOf(instruction);
    const kept = outputs.filter((_, i) => outputsToSave[i] === true);
    const held = [...inputsToSave.flatMap((name) => operands.get(name) ?? []), ...kept].map((value) => value.hold());
    const saved = [...inputsToSave.map((name) => inputs[name] as Tensor), ...kept.map(({ tensor }) => tensor)];
    return { instruction, saved, held };
  }

  #differentiate(instruction: LinkedInstruction, dy: Held, saved: readonly Tensor[], gradients: Map<ValueKey, Held>): void {
    const { parameterInputs, reachedOperands, gradientAttrs } = instruction;
    const attrs = dy.isSole(this.#backend) ? gradientAttrs.inPlace : gradientAttrs.apart;
    const rules = this.#gradientOf(instruction).gradFunc(dy.tensor, saved as Tensor[], attrs as never) as InputGradients;
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

  #gradientOf({ kernel }: LinkedInstruction): ReturnType<typeof getGradient> {
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

function ruleOf({ kernel }: LinkedInstruction, rules: InputGradients, input: string): () => Tensor {
  const rule = rules[input];
  if (rule !== undefined) return rule;
  throw new KernelError({ field: kernel, expected: `a gradient of its input ${input}`, got: 'none' });
}
