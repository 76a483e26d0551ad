/** How kernels are written and registered here. */
import { engine, getKernel, registerGradient, registerKernel, type Tensor, type TensorInfo } from '#tfjs';
import { KernelError } from '../../core/errors.ts';
import { elementCount } from '../../tensor/tensor.ts';
import type { HeapBackend } from '../backend.ts';

export type Attributes = { readonly [name: string]: unknown };
export type Inputs = { readonly [name: string]: TensorInfo | undefined };

export interface KernelCall {
  readonly inputs: Inputs;
  readonly attrs: Attributes;
  readonly backend: HeapBackend;
}

/** Gradients of a kernel's inputs, each computed when asked for. */
export type InputGradients = { readonly [input: string]: () => Tensor };

export interface GradientRule {
  readonly inputs?: readonly string[];
  /** Whether output i is kept. */
  readonly outputs?: readonly boolean[];
  /** `saved`: the inputs, then the outputs named above. */
  readonly gradient: (dy: Tensor, saved: readonly Tensor[], attrs: Attributes) => InputGradients;
}

/** Registers a kernel for the wasm backend, under tfjs's name where tfjs has one. */
export function defineKernel(kernelName: string, kernel: (call: KernelCall) => TensorInfo | TensorInfo[]): void {
  registerKernel({ kernelName, backendName: 'wasm', kernelFunc: kernel as never });
}

/** Registers a kernel's gradient, by its first output. */
export function defineGradient(kernelName: string, { inputs = [], outputs = [], gradient }: GradientRule): void {
  registerGradient({
    kernelName,
    inputsToSave: [...inputs],
    outputsToSave: [...outputs],
    gradFunc: gradient as never,
  });
}

type RegisteredKernel = NonNullable<ReturnType<typeof getKernel>>;
/** What tfjs's registry answered: for every lookup it makes one name of two. */
const found = new Map<string, RegisteredKernel>();

/**
 * `engine().runKernel` does the same through a scope, a profiler and a tape, all of which are off here: 4 % of a step of MobileNetV2 at
 * half width (78.5 → 75.3 ms), 6 % of ConvNeXt at a third (9.6 → 9.0).
 */
function dispatch(kernel: string, inputs: Inputs, attrs: Attributes): TensorInfo | TensorInfo[] {
  const { kernelFunc } = found.get(kernel) ?? find(kernel);
  return kernelFunc({ inputs: inputs as never, attrs: attrs as never, backend: engine().backend });
}

function find(kernel: string): RegisteredKernel {
  const registered = getKernel(kernel, 'wasm') as RegisteredKernel | undefined;
  if (registered === undefined) throw new KernelError({ field: kernel, expected: 'a registered kernel', got: 'none' });
  found.set(kernel, registered);
  return registered;
}

/** The open tidy ends it. A kernel made of others answers with a tensor of theirs. */
function asTensor(output: TensorInfo): Tensor {
  return 'rank' in output ? (output as Tensor) : engine().makeTensorFromTensorInfo(output);
}

/** Runs a registered kernel with one output. */
export function run(kernel: string, inputs: Inputs, attrs: Attributes = {}): Tensor {
  return asTensor(dispatch(kernel, inputs, attrs) as TensorInfo);
}

/** Runs a registered kernel with any number of outputs. */
export function runAll(kernel: string, inputs: Inputs, attrs: Attributes = {}): Tensor[] {
  const outputs = dispatch(kernel, inputs, attrs);
  return (Array.isArray(outputs) ? outputs : [outputs]).map(asTensor);
}

/** Results of one kernel, which the first to be asked for runs. */
export function together(compute: () => Tensor[]): (index: number) => () => Tensor {
  let results: Tensor[] | undefined;
  return (index) => () => (results ??= compute())[index] as Tensor;
}

export function required(call: KernelCall, name: string): TensorInfo {
  return call.inputs[name] as TensorInfo;
}

export function sizeOf(info: TensorInfo): number {
  return elementCount(info.shape);
}

/** A fresh output, or with the attribute `inPlace` the input's own buffer: only a caller that holds the last reference may set it. */
export function outputLike(call: KernelCall, info: TensorInfo): TensorInfo {
  if (call.attrs['inPlace'] !== true) return call.backend.makeOutput(info.shape, 'float32');
  return viewOf(call.backend, info, info.shape);
}

/** Rounds into the f32 at `to` what `add` sums up in as many f64, which start at zero. */
export function sumInDoubles({ core }: HeapBackend, to: number, columns: number, add: (sums: number) => void): void {
  core.scoped((scratch) => {
    const sums = scratch.f64(columns, 'sums');
    core.f64(sums, columns).fill(0);
    add(sums);
    core.f32(to, columns).set(core.f64(sums, columns));
  });
}

/** Another shape on the same buffer. */
export function viewOf(backend: HeapBackend, info: TensorInfo, shape: number[]): TensorInfo {
  backend.incRef(info.dataId);
  return { dataId: info.dataId, shape, dtype: info.dtype };
}
