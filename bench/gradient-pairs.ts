// Gradient pairs as FGMT meets them, for benchmarks of matching: a source trained for some steps on made-up images, then
// T pairs along its line and the transferred one. Cached under build/, because full-width networks take minutes.
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Core } from '../src/core/core.ts';
import { matmul } from '../src/core/matmul.ts';
import type { Batch } from '../src/data/batch.ts';
import { makeBatch } from '../src/data/data-set.ts';
import { type ImageSet, imageSet } from '../src/data/image-set.ts';
import { openGradientEngine } from '../src/gradient/engine.ts';
import { factorableWeights, type GradientResult } from '../src/gradient/network.ts';
import { solveMatching } from '../src/matching/coordinate-descent.ts';
import { type FactoredPair, tensorsWorthFactoring } from '../src/matching/factored-product.ts';
import { GradientHistory } from '../src/matching/history.ts';
import { matchingLayout } from '../src/matching/layout.ts';
import { type Permutations, identityPermutations, permuteTensors } from '../src/matching/permutation.ts';
import { type ModelGraph, parameterLayout } from '../src/model/graph.ts';
import { initialise } from '../src/model/initialise.ts';
import type { PermutationSpec } from '../src/model/permutation-spec.ts';
import { derivePermutationSpec } from '../src/model/permutation-spec.ts';
import { Random, streams } from '../src/tensor/random.ts';
import type { OuterProducts } from '../src/tensor/outer-products.ts';
import { elementCount, type NamedTensors, type Tensor } from '../src/tensor/tensor.ts';

export interface GradientPair {
  readonly target: NamedTensors;
  readonly source: NamedTensors;
  /** What of them `transfer` has as outer products and never multiplies out. */
  readonly factored: FactoredPair;
}

/** The pair as `transfer` adds it. */
export function addPair(history: GradientHistory, { target, source, factored }: GradientPair): void {
  const plain = (tensors: NamedTensors): NamedTensors => new Map([...tensors].filter(([name]) => !factored.target.has(name)));
  history.add(plain(target), plain(source), factored);
}

export interface PairsOptions {
  readonly pairs: number;
  readonly batchSize: number;
  readonly trainingSteps: number;
  readonly learningRate: number;
}

/** From the root of the repository, where npm runs scripts: this file itself runs bundled, from elsewhere. */
const folder = join('build', 'bench');

/** Ten classes of smooth random pictures under noise: learnable, so that gradients shrink and align as real ones do. */
export function pictureSet(channels: number, height: number, width: number, count: number): ImageSet {
  const classes = 10;
  const random = new Random(1, streams.generatedImages);
  const area = channels * height * width;
  const templates = Array.from({ length: classes }, () => {
    const coarse = Float64Array.from({ length: channels * 49 }, () => random.uniform());
    return Uint8Array.from({ length: area }, (_, at) => {
      const x = at % width;
      const y = Math.floor(at / width) % height;
      const channel = Math.floor(at / (width * height));
      return 200 * (coarse[channel * 49 + Math.floor((7 * y) / height) * 7 + Math.floor((7 * x) / width)] as number);
    });
  });
  const images = new Uint8Array(count * area);
  const labels = Uint8Array.from({ length: count }, (_, row) => {
    const label = random.below(classes);
    const template = templates[label] as Uint8Array;
    for (let i = 0; i < area; i++) images[row * area + i] = (template[i] as number) * 0.6 + random.below(120);
    return label;
  });
  return imageSet({ name: 'pictures', images, labels, channels, height, width, classes });
}

export interface PairsFile {
  readonly spec: PermutationSpec;
  readonly path: string;
  /** Of one pair, its target before its source. */
  readonly pairBytes: number;
  readonly decode: (bytes: Uint8Array) => GradientPair;
}

/** The file of a benchmark's pairs, computed where it is not there yet. */
export function pairsFile(core: Core, name: string, graph: ModelGraph, options: PairsOptions): PairsFile {
  const spec = derivePermutationSpec(graph);
  const layout = layoutOf(graph, spec, options.batchSize);
  const factors = layout.some(({ terms }) => terms > 0) ? '-factors' : '';
  const path = join(folder, `${name}-${options.pairs}-${options.batchSize}-${options.trainingSteps}${factors}.f32`);
  if (!existsSync(path)) {
    const pairs = compute(core, graph, spec, options);
    mkdirSync(folder, { recursive: true });
    const file = openSync(path, 'w');
    for (const { target, source, factored } of pairs) {
      for (const [tensors, products] of [[target, factored.target], [source, factored.source]] as const) {
        for (const { name: tensor } of layout) {
          const factor = products.get(tensor);
          const arrays = factor === undefined ? [(tensors.get(tensor) as Tensor).data] : [factor.left, factor.right];
          for (const data of arrays) writeSync(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
        }
      }
    }
    closeSync(file);
  }
  const pairBytes = 8 * layout.reduce((sum, entry) => sum + storedElements(entry), 0);
  return { spec, path, pairBytes, decode: (bytes) => decode(core, bytes, layout) };
}

export function gradientPairs(
  core: Core,
  name: string,
  graph: ModelGraph,
  options: PairsOptions,
): { spec: PermutationSpec; pairs: GradientPair[] } {
  const file = pairsFile(core, name, graph, options);
  const bytes = readFileSync(file.path);
  return {
    spec: file.spec,
    pairs: Array.from({ length: options.pairs }, (_, index) =>
      file.decode(bytes.subarray(index * file.pairBytes, (index + 1) * file.pairBytes)),
    ),
  };
}

function compute(core: Core, graph: ModelGraph, spec: PermutationSpec, options: PairsOptions): GradientPair[] {
  using engine = openGradientEngine(core);
  const factored = layoutOf(graph, spec, options.batchSize).filter(({ terms }) => terms > 0).map(({ name }) => name);
  using network = engine.compile(graph, { factored });
  const [channels = 1, height = 1, width = 1] = graph.input;
  const set = pictureSet(channels, height, width, 512);
  const draw = (size: number): Batch => makeBatch(set, Array.from({ length: size }, () => random.below(set.count)));
  const random = new Random(7, streams.batches);
  const source = initialise(core, graph, { seed: 1 });
  const target = initialise(core, graph, { seed: 2 });
  let end: NamedTensors;
  {
    using trainer = network.trainer(source, { kind: 'sgd', momentum: 0.9, weightDecay: 0 });
    for (let step = 0; step < options.trainingSteps; step++) {
      const loss = trainer.step(draw(options.batchSize), options.learningRate);
      if (step % 10 === 0) console.error(`training step ${step}: loss ${loss.toFixed(3)}`);
    }
    end = trainer.state().parameters;
  }
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 33 });
  let permutations: Permutations = identityPermutations(spec);
  return Array.from({ length: options.pairs }, (_, index) => {
    const share = index / options.pairs;
    const update = map(end, source.parameters, (a, b) => share * (a - b));
    const batches = [draw(options.batchSize)];
    const at = (parameters: NamedTensors): GradientResult => network.gradient({ parameters, buffers: target.buffers }, batches);
    const ofTarget = at(map(target.parameters, permuteTensors(spec, update, permutations), (a, b) => a + b));
    const ofSource = at(map(source.parameters, update, (a, b) => a + b));
    const pair = {
      target: ofTarget.gradients,
      source: ofSource.gradients,
      factored: { target: ofTarget.factors, source: ofSource.factors },
    };
    addPair(history, pair);
    const solved = solveMatching(history, { start: identityPermutations(spec), random: new Random(5, streams.sweepOrder, index) });
    permutations = solved.permutations;
    console.error(`pair ${index}: ${solved.sweeps} sweeps, relative objective ${solved.relativeObjective.toFixed(4)}`);
    return pair;
  });
}

function map(a: NamedTensors, b: NamedTensors, f: (x: number, y: number) => number): NamedTensors {
  return new Map(
    [...a].map(([name, { shape, data }]) => [name, { shape, data: data.map((x, i) => f(x, (b.get(name) as Tensor).data[i] as number)) }]),
  );
}

interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
  /** Outer products that stand for the gradient in the file; 0 where it is stored whole. */
  readonly terms: number;
}

function layoutOf(graph: ModelGraph, spec: PermutationSpec, terms: number): readonly Entry[] {
  const worth = tensorsWorthFactoring(matchingLayout(spec), terms).filter((name) => factorableWeights(graph).includes(name));
  return parameterLayout(graph).parameters.map(({ name, shape }) => ({ name, shape, terms: worth.includes(name) ? terms : 0 }));
}

function storedElements({ shape, terms }: Entry): number {
  return terms === 0 ? elementCount(shape) : terms * ((shape[0] as number) + (shape[1] as number));
}

/** Factored gradients are multiplied out, too, for those who want them whole. */
function decode(core: Core, bytes: Uint8Array, layout: readonly Entry[]): GradientPair {
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  let at = 0;
  const take = (count: number): Float32Array => values.slice(at, (at += count));
  const side = (factors: Map<string, OuterProducts>): NamedTensors =>
    new Map(
      layout.map((entry) => {
        const { name, shape, terms } = entry;
        if (terms === 0) return [name, { shape, data: take(storedElements(entry)) }] as const;
        const [rows, columns] = shape as [number, number];
        const products = { terms, left: take(terms * rows), right: take(terms * columns) };
        factors.set(name, products);
        return [name, { shape, data: multipliedOut(core, products, rows, columns) }] as const;
      }),
    );
  const [targetFactors, sourceFactors] = [new Map<string, OuterProducts>(), new Map<string, OuterProducts>()];
  return { target: side(targetFactors), source: side(sourceFactors), factored: { target: targetFactors, source: sourceFactors } };
}

function multipliedOut(core: Core, { terms, left, right }: OuterProducts, rows: number, columns: number): Float32Array {
  return core.scoped((scratch) => {
    const [a, b, c] = [scratch.upload(left), scratch.upload(right), scratch.f32(rows * columns)];
    matmul(core, { a, b, c, m: rows, n: columns, k: terms, transposeA: true });
    return core.f32(c, rows * columns).slice();
  });
}
