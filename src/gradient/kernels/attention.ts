/**
 * Scaled dot-product attention on queries, keys and values where they lie: side by side in one tensor, as one dense layer makes
 * them, or in three. See `assembly/attention.ts` for what is in memory when.
 */
import type { TensorInfo } from '#tfjs';
import type { Core, Scratch } from '../../core/core.ts';
import type { AttentionShape } from '../../model/operations-sequence.ts';
import { defineGradient, defineKernel, required, runAll, sizeOf, together, type KernelCall } from './support.ts';

/** Where queries, keys or values begin, and how far one token's are from the next's, in elements. */
interface Operand {
  readonly pointer: number;
  readonly stride: number;
}

type Names = readonly [string, string, string];
const INPUTS: Names = ['queries', 'keys', 'values'];
/** [count, tokens] int32: what is padding is left out as key. Only of calls that have it. */
const TOKENS = 'tokens';

/** The three operands of the tensors at hand: one tensor holds them one behind the other, by features. */
function operandsOf(call: KernelCall, tensors: readonly TensorInfo[], shape: AttentionShape): readonly [Operand, Operand, Operand] {
  const { backend } = call;
  const [first, second, third] = tensors.map((tensor) => ({ pointer: backend.pointer(tensor), stride: tensor.shape.at(-1) ?? 1 }));
  if (second !== undefined && third !== undefined) return [first as Operand, second, third];
  const { pointer, stride } = first as Operand;
  const queries = shape.heads * shape.headFeatures;
  const keys = shape.keyHeads * shape.headFeatures;
  return [{ pointer, stride }, { pointer: pointer + 4 * queries, stride }, { pointer: pointer + 4 * (queries + keys), stride }];
}

function inputsOf(call: KernelCall, names: Names): TensorInfo[] {
  return names.flatMap((name) => call.inputs[name] ?? []);
}

const settingsOf = (call: KernelCall) => {
  const shape = call.attrs['shape'] as AttentionShape;
  const { [TOKENS]: tokens } = call.inputs;
  return {
    shape,
    causal: Number(call.attrs['causal']),
    factor: 1 / Math.sqrt(shape.headFeatures),
    tokensPtr: tokens === undefined ? 0 : call.backend.pointer(tokens),
    padding: (call.attrs['padding'] as number | undefined) ?? 0,
  };
};

function scoresScratch(core: Core, scratch: Scratch, { tokens, headFeatures, valueFeatures }: AttentionShape): number {
  // Two blocks of scores, of at least 64 queries each where there are as many.
  const atLeast = 8 * Math.min(64, tokens) * tokens;
  return scratch.told(core.kernels.attentionScratchBytes(tokens, headFeatures, valueFeatures), atLeast, 'scores of an attention');
}

/** {queries, keys?, values?, tokens?}, {shape, causal, padding?} → [out, stats] */
function forward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { core } = backend;
  const inputs = inputsOf(call, INPUTS);
  const count = required(call, 'queries').shape[0] as number;
  const { shape, causal, factor, tokensPtr, padding } = settingsOf(call);
  const { tokens, heads, keyHeads, headFeatures, valueFeatures } = shape;
  const out = backend.makeOutput([count, tokens, heads * valueFeatures], 'float32');
  const stats = backend.makeOutput([count, heads, tokens, 2], 'float32');
  core.scoped((scratch) => {
    const scratchPtr = scoresScratch(core, scratch, shape);
    const [q, k, v] = operandsOf(call, inputs, shape);
    core.kernels.attentionF32(
      q.pointer, q.stride, k.pointer, k.stride, v.pointer, v.stride, backend.pointer(out), heads * valueFeatures, backend.pointer(stats),
      count, tokens, heads, keyHeads, headFeatures, valueFeatures, causal, factor, tokensPtr, padding, scratchPtr,
    );
  });
  return [out, stats];
}

/** {dy, stats, queries, keys?, values?, tokens?} → a gradient each of queries, keys, values */
function backward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { core } = backend;
  const dy = required(call, 'dy');
  const inputs = inputsOf(call, INPUTS);
  const { shape, causal, factor, tokensPtr, padding } = settingsOf(call);
  const { tokens, heads, keyHeads, headFeatures, valueFeatures } = shape;
  const gradients = inputs.map((input) => backend.makeOutput(input.shape, 'float32'));
  for (const gradient of gradients) core.f32(backend.pointer(gradient), sizeOf(gradient)).fill(0);
  core.scoped((scratch) => {
    const scratchPtr = scoresScratch(core, scratch, shape);
    const [q, k, v] = operandsOf(call, inputs, shape);
    const [dq, dk, dv] = operandsOf(call, gradients, shape);
    core.kernels.attentionGradientF32(
      backend.pointer(dy), heads * valueFeatures, q.pointer, q.stride, k.pointer, k.stride, v.pointer, v.stride,
      backend.pointer(required(call, 'stats')), dq.pointer, dk.pointer, dv.pointer,
      dy.shape[0] as number, tokens, heads, keyHeads, headFeatures, valueFeatures, causal, factor, tokensPtr, padding, scratchPtr,
    );
  });
  return gradients;
}

export function registerAttention(): void {
  for (const [kernel, inputs] of [['FusedAttention', INPUTS.slice(0, 1)], ['Attention', INPUTS]] as const) {
    defineKernel(kernel, forward);
    defineGradient(kernel, {
      inputs: [...inputs, TOKENS],
      outputs: [false, true],
      gradient: (dy, saved, attrs) => {
        const named = Object.fromEntries([...inputs, TOKENS].map((name, i) => [name, saved[i]]));
        const result = together(() => runAll('AttentionGrad', { dy, stats: saved.at(-1), ...named }, attrs));
        return Object.fromEntries(inputs.map((name, i) => [name, result(i)]));
      },
    });
  }
  defineKernel('AttentionGrad', backward);
}
