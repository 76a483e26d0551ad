/** SGD with momentum and AdamW in PyTorch's forms, updating parameters in place on the heap. */
import { engine, type Tensor } from '#tfjs';
import { listed } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireChoice, requireMembers, requireNumber } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import type { HeapParameters } from './parameters.ts';
import type { HeapBackend } from './backend.ts';

export type OptimiserSettings =
  | { readonly kind: 'sgd'; readonly momentum: number; readonly weightDecay: number }
  | {
      readonly kind: 'adamw';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly weightDecay: number;
    };

export type OptimiserKind = OptimiserSettings['kind'];

type SettingsOf<K> = OptionNames<Extract<OptimiserSettings, { readonly kind: K }>>;

const settingNames: { readonly [K in OptimiserKind]: SettingsOf<K> } = {
  sgd: { kind: true, momentum: true, weightDecay: true },
  adamw: { kind: true, beta1: true, beta2: true, epsilon: true, weightDecay: true },
};

/** Tensors that each remembers per parameter: the velocity, or the first and second moment. */
const momentCounts: { readonly [K in OptimiserKind]: number } = { sgd: 1, adamw: 2 };

/** The smallest normal f32: kernels add epsilon in f32, where 0 would make a parameter NaN whose gradients have all been 0. */
const LEAST_EPSILON = 2 ** -126;

/**
 * Settings from untrusted JSON in their canonical form: one order of members whatever the caller's, because records and
 * resume points hold their text.
 * @throws InvalidArgumentError naming the setting that is out of range or that the kind does not have.
 */
export function requireOptimiser(value: unknown): OptimiserSettings {
  const kinds = Object.keys(settingNames) as OptimiserKind[];
  requireMembers('optimiser', value, ['kind'], `an object with a kind: ${kinds.join(', ')}`);
  const settings = value as OptimiserSettings;
  const kind = requireChoice('optimiser.kind', settings.kind, kinds);
  requireOptions(kind, settings, settingNames[kind], 'optimiser');
  const weightDecay = requireNumber('optimiser.weightDecay', settings.weightDecay, 0);
  if (settings.kind === 'sgd') return { kind: 'sgd', momentum: requireNumber('optimiser.momentum', settings.momentum, 0, 1), weightDecay };
  const belowOne = 1 - Number.EPSILON;
  return {
    kind: 'adamw',
    beta1: requireNumber('optimiser.beta1', settings.beta1, 0, belowOne),
    beta2: requireNumber('optimiser.beta2', settings.beta2, 0, belowOne),
    epsilon: requireNumber('optimiser.epsilon', settings.epsilon, LEAST_EPSILON),
    weightDecay,
  };
}

/** What an optimiser remembers from step to step, in the engine's own layouts: for putting it back, not for reading. */
export interface OptimiserState {
  /** Per parameter: the velocity (sgd), or the first and second moment (adamw). */
  readonly moments: ReadonlyMap<string, readonly Float32Array[]>;
  /** β₁ᵗ and β₂ᵗ of the t steps done. */
  readonly beta1Power: number;
  readonly beta2Power: number;
}

export class Optimiser {
  readonly #backend: HeapBackend;
  readonly #settings: OptimiserSettings;
  readonly #moments = new Map<string, readonly Tensor[]>();
  /** β^t by repeated products: `Math.pow` differs between engines. */
  #beta1Power = 1;
  #beta2Power = 1;

  constructor(backend: HeapBackend, parameters: HeapParameters, settings: OptimiserSettings) {
    this.#backend = backend;
    this.#settings = settings;
    try {
      for (const name of parameters.names) {
        const moments: Tensor[] = [];
        this.#moments.set(name, moments);
        for (let i = 0; i < momentCounts[settings.kind]; i++) {
          const moment = engine().makeTensorFromTensorInfo(backend.makeOutput(parameters.value(name).shape, 'float32'));
          moments.push(moment);
          backend.core.f32(backend.pointer(moment), moment.size).fill(0);
        }
      }
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Applies the gradients that `parameters` holds. */
  step(parameters: HeapParameters, learningRate: number): void {
    const backend = this.#backend;
    const { kernels } = backend.core;
    const settings = this.#settings;
    if (settings.kind === 'adamw') {
      this.#beta1Power *= settings.beta1;
      this.#beta2Power *= settings.beta2;
    }
    for (const [name, [first, second]] of this.#moments) {
      const gradientPtr = parameters.gradientPointer(name);
      // A parameter that the loss does not depend on stays as it is, as in PyTorch.
      if (gradientPtr === 0) continue;
      const weightPtr = parameters.pointer(name);
      const count = parameters.value(name).size;
      const firstPtr = backend.pointer(first as Tensor);
      if (settings.kind === 'sgd') {
        const { momentum, weightDecay } = settings;
        kernels.sgdF32(weightPtr, gradientPtr, firstPtr, count, learningRate, momentum, weightDecay);
      } else {
        const { beta1, beta2, epsilon, weightDecay } = settings;
        kernels.adamwF32(
          weightPtr, gradientPtr, firstPtr, backend.pointer(second as Tensor), count,
          1 - learningRate * weightDecay, beta1, 1 - beta1, beta2, 1 - beta2,
          learningRate / (1 - this.#beta1Power), Math.sqrt(1 - this.#beta2Power), epsilon,
        );
      }
    }
  }

  /** A copy of everything that the next step depends on, besides the parameters. */
  state(): OptimiserState {
    const moments = new Map(
      [...this.#moments].map(([name, tensors]) => [name, tensors.map((moment) => this.#view(moment).slice())]),
    );
    return { moments, beta1Power: this.#beta1Power, beta2Power: this.#beta2Power };
  }

  /** @throws InvalidArgumentError where a moment is missing or of another size; nothing has changed then. */
  restore({ moments, beta1Power, beta2Power }: OptimiserState): void {
    for (const [name, tensors] of this.#moments) {
      const lengths = (moments.get(name) ?? []).map(({ length }) => String(length));
      const expected = tensors.map(({ size }) => String(size));
      if (lengths.join() !== expected.join())
        throw new InvalidArgumentError({
          field: `optimiser.${name}`, expected: `moments of ${listed(expected)} numbers`, got: listed(lengths),
        });
    }
    for (const [name, tensors] of this.#moments) {
      tensors.forEach((moment, i) => this.#view(moment).set(moments.get(name)?.[i] as Float32Array));
    }
    this.#beta1Power = beta1Power;
    this.#beta2Power = beta2Power;
  }

  #view(moment: Tensor): Float32Array {
    return this.#backend.core.f32(this.#backend.pointer(moment), moment.size);
  }

  release(): void {
    for (const moments of this.#moments.values()) for (const moment of moments) moment.dispose();
    this.#moments.clear();
  }
}
