/**
 * Initial parameters, drawn from the counter-based generator: parameter i of the layout has a stream of its own, so a
 * network whose first layers agree with another's gets the same numbers there.
 */
import { requireCore, type Core } from '../core/core.ts';
import { requireChoice, requireInteger } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { fillNormal, fillUniform, streams } from '../tensor/random.ts';
import { elementCount, zeros, type NetworkState, type Tensor } from '../tensor/tensor.ts';
import { parameterLayout, type ModelGraph, type ParameterInfo } from './graph.ts';

export const initialisers = ['pytorch', 'kaiming_uniform', 'kaiming_normal'] as const;

export interface InitialiseOptions {
  readonly seed: number;
  /**
   * `pytorch` (default): what `nn.Linear` and `nn.Conv2d` start with, weights and biases uniform within ±1/√fan_in.
   * `kaiming_uniform`, `kaiming_normal`: He et al. 2015 with the gain √2 of ReLU; biases 0.
   */
  readonly scheme?: (typeof initialisers)[number];
  /** Which fan the Kaiming schemes divide by. Default `fan_in`; torchvision's ResNets use `fan_out`. */
  readonly mode?: 'fan_in' | 'fan_out';
}

const optionNames: OptionNames<InitialiseOptions> = { seed: true, scheme: true, mode: true };

/**
 * A fresh state of the network. Norms start as the identity (scale 1, shift 0, running mean 0, running variance 1).
 * @throws InvalidArgumentError for a bad seed, an unknown scheme or an option that there is not.
 */
export function initialise(core: Core, graph: ModelGraph, options: InitialiseOptions): NetworkState {
  requireCore(core);
  requireOptions('initialise', options, optionNames);
  const seed = requireInteger('seed', options.seed, 0);
  const scheme = requireChoice('scheme', options.scheme ?? 'pytorch', initialisers);
  const mode = requireChoice('mode', options.mode ?? 'fan_in', ['fan_in', 'fan_out']);
  const layout = parameterLayout(graph);
  const parameters = new Map<string, Tensor>();
  for (const [index, info] of layout.parameters.entries()) {
    const tensor = zeros(info.shape);
    fillParameter(core, tensor.data, info, { seed, scheme, mode }, index);
    parameters.set(info.name, tensor);
  }
  const buffers = new Map<string, Tensor>();
  for (const info of layout.buffers) {
    const tensor = zeros(info.shape);
    if (info.role === 'running_variance') tensor.data.fill(1);
    buffers.set(info.name, tensor);
  }
  return { parameters, buffers };
}

function fillParameter(
  core: Core,
  data: Float32Array,
  { role, shape, fanIn, initial, outAxis = 0 }: ParameterInfo,
  { seed, scheme, mode }: Required<InitialiseOptions>,
  index: number,
): void {
  if (role === 'scale') data.fill(initial ?? 1);
  // Tables of tokens and positions, and class tokens: as transformers start in GPT-2 and ViT, whatever the scheme.
  if (role === 'embedding') fillNormal(core, data, [0, 0.02], { seed, stream: streams.initialise, index });
  if (role !== 'weight' && role !== 'bias') return;
  if (scheme === 'pytorch') {
    // kaiming_uniform_ with a = √5 has the gain √(2 / 6), so its bound is √(3 · 2/6 / fan_in) = 1/√fan_in.
    const bound = 1 / Math.sqrt(fanIn);
    fillUniform(core, data, [-bound, bound], { seed, stream: streams.initialise, index });
  } else if (role === 'weight') {
    // As PyTorch counts it: fan_out = weight[:, 0].numel(), whatever the groups.
    const fan = mode === 'fan_in' ? fanIn : elementCount(shape) / (shape[1 - outAxis] as number);
    if (scheme === 'kaiming_normal') fillNormal(core, data, [0, Math.sqrt(2 / fan)], { seed, stream: streams.initialise, index });
    else fillUniform(core, data, [-Math.sqrt(6 / fan), Math.sqrt(6 / fan)], { seed, stream: streams.initialise, index });
  }
}
