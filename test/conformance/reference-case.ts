// Reads one reference case (`manifest.json` and its little-endian packs): tensors, checkpoints, batches, and the
// recorded permutation names translated to the groups that our own spec derives from the architecture.
import { readFileSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import type { Batch } from '../../src/data/batch.ts';
import { makeBatch } from '../../src/data/data-set.ts';
import { type ImageSet, imageSet, selectRows } from '../../src/data/image-set.ts';
import type { Permutations } from '../../src/matching/permutation.ts';
import { identityPermutations } from '../../src/matching/permutation.ts';
import { graphFromArchitecture } from './architecture.ts';
import { type ModelGraph, parameterLayout } from '../../src/model/graph.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import type { PermutationSpec } from '../../src/model/permutation-spec.ts';
import type { NamedTensors, NetworkState } from '../../src/tensor/tensor.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import type { CheckpointRecord, Manifest, TensorRecord, TensorReference } from './manifest.ts';

export class ReferenceCase {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly graph: ModelGraph;
  readonly spec: PermutationSpec;
  /** All rows: 0 … n_train − 1 for training, then the validation rows. */
  readonly data: ImageSet;
  readonly validation: ImageSet;
  readonly hasBatchNorm: boolean;
  readonly #files = new Map<string, Buffer>();
  /** Recorded permutation name → id of our group. */
  readonly #groups: ReadonlyMap<string, string>;

  constructor(directory: string) {
    this.directory = resolve(directory);
    this.manifest = JSON.parse(readFileSync(join(this.directory, 'manifest.json'), 'utf8')) as Manifest;
    this.graph = graphFromArchitecture(this.manifest.architecture);
    this.spec = derivePermutationSpec(this.graph);
    this.hasBatchNorm = this.graph.nodes.some(({ op }) => op === 'batch_norm');
    this.#requireSameParameters();
    this.#groups = this.#matchGroups();
    const { x_u8: images, y, n_train: training, n_val: validation } = this.manifest.data;
    const [channels, height, width] = this.graph.input.length === 3 ? this.graph.input : [1, 1, ...this.graph.input];
    const { scale, offset } = this.manifest.input_scale_offset;
    const perChannel = (value: number | readonly number[]): number[] =>
      typeof value === 'number' ? Array.from({ length: channels as number }, () => value) : [...value];
    this.data = imageSet({
      name: this.manifest.case,
      images: this.bytes(images),
      labels: Uint8Array.from(this.integers(y)),
      channels: channels as number,
      height: height as number,
      width: width as number,
      scale: perChannel(scale),
      offset: perChannel(offset),
    });
    this.validation = selectRows(this.data, Array.from({ length: validation }, (_, i) => training + i));
  }

  batch(rows: readonly number[]): Batch {
    return makeBatch(this.data, rows);
  }

  /** @throws Error where the manifest names no such checkpoint. */
  checkpoint(name: string): NetworkState {
    const record = this.manifest.checkpoints[name];
    if (record === undefined) throw new Error(`${this.manifest.case}: no checkpoint ${name}`);
    return this.state(record);
  }

  state(record: CheckpointRecord): NetworkState {
    return { parameters: this.tensors(record.params), buffers: this.tensors(record.buffers) };
  }

  tensors(record: TensorRecord): NamedTensors {
    return new Map(Object.entries(record).map(([name, reference]) => [name, { shape: reference.shape, data: this.floats(reference) }]));
  }

  floats(reference: TensorReference): Float32Array {
    return new Float32Array(this.#read(reference, 'f32', 4));
  }

  integers(reference: TensorReference): Int32Array {
    return new Int32Array(this.#read(reference, 'i32', 4));
  }

  bytes(reference: TensorReference): Uint8Array {
    return new Uint8Array(this.#read(reference, 'u8', 1));
  }

  /** Our group for a recorded permutation name. */
  group(name: string): string {
    const id = this.#groups.get(name);
    if (id === undefined) throw new Error(`${this.manifest.case}: our spec has no group for ${name}`);
    return id;
  }

  /** Groups that our spec moves and the recorded one does not: frozen in every replay. */
  get extraGroups(): string[] {
    const known = new Set(this.#groups.values());
    return this.spec.groups.map(({ id }) => id).filter((id) => !known.has(id));
  }

  permutations(record: Readonly<Record<string, TensorReference>>): Permutations {
    const perms = new Map(identityPermutations(this.spec));
    for (const [name, reference] of Object.entries(record)) perms.set(this.group(name), this.integers(reference));
    return perms;
  }

  /** A copy of the referenced bytes (little-endian, as every host of ours is), after checks. */
  #read({ file, offset, shape, dtype }: TensorReference, expected: string, width: number): ArrayBuffer {
    if (dtype !== expected) throw new Error(`${this.manifest.case}: ${file}@${offset}: expected ${expected}, got ${dtype}`);
    const path = resolve(this.directory, file);
    if (!path.startsWith(this.directory + sep)) throw new Error(`${this.manifest.case}: ${file} is outside the case`);
    let pack = this.#files.get(file);
    if (pack === undefined) {
      pack = readFileSync(path);
      this.#files.set(file, pack);
    }
    const bytes = elementCount(shape) * width;
    if (offset < 0 || offset + bytes > pack.length) throw new Error(`${this.manifest.case}: ${file}@${offset}: beyond the end of the pack`);
    return Uint8Array.from(pack.subarray(offset, offset + bytes)).buffer;
  }

  #requireSameParameters(): void {
    const { parameters } = parameterLayout(this.graph);
    const shapes = this.manifest.param_shapes;
    const ours = JSON.stringify(parameters.map(({ name, shape }) => [name, shape]).toSorted());
    const theirs = JSON.stringify(Object.entries(shapes).toSorted());
    if (ours !== theirs) throw new Error(`${this.manifest.case}: our parameters are ${ours}, theirs ${theirs}`);
  }

  #matchGroups(): ReadonlyMap<string, string> {
    const groups = new Map<string, string>();
    for (const [name, axes] of Object.entries(this.manifest.spec_perm_to_axes)) {
      // Recorded axes are of the stored shape; our view refines an axis into several, the first of which starts it.
      const found = this.spec.groups.find(({ members }) =>
        axes.every(([tensor, axis]) =>
          members.some((member) => member.tensor === tensor && this.#storedAxis(tensor, member.axis) === axis),
        ),
      );
      if (found === undefined) throw new Error(`${this.manifest.case}: ${name} [${axes.join('; ')}] is none of our groups`);
      groups.set(name, found.id);
    }
    return groups;
  }

  /** The axis of the stored shape that an axis of the view belongs to. */
  #storedAxis(tensor: string, viewAxis: number): number {
    const { shape, view } = this.spec.tensors.get(tensor) ?? { shape: [], view: [] };
    const before = elementCount(view.slice(0, viewAxis + 1));
    let product = 1;
    for (const [axis, extent] of shape.entries()) {
      product *= extent;
      if (before <= product) return axis;
    }
    return -1;
  }
}
