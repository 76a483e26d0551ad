/**
 * Which element of a network is which element of a file: for an adapter, whose factors know the file's rows and columns only.
 *
 * Nothing of names, joined tensors and layouts is known here. A tensor of the file is read once more with the numbers of its rows, and
 * of its columns, as elements, and where these arrive is where the elements belong. Rows and columns are fewer than 2²⁴, which f32
 * holds, where elements may be more.
 */
import { type Adapter, changedTensors } from '../bundle/foreign/adapter.ts';
import { baseForAdapter, meantFor } from '../bundle/foreign/adapter-merge.ts';
import type { ForeignCheckpoint } from '../bundle/foreign/checkpoint.ts';
import { mapNames, mappingOptions } from '../bundle/foreign/map-names.ts';
import type { MappedTensors } from '../bundle/foreign/map-names.ts';
import type { NameRule } from '../bundle/foreign/name-rules.ts';
import { adapterFields, requireUntied } from '../bundle/foreign/network.ts';
import { toFloat32 } from '../bundle/dtype.ts';
import type { RawTensor } from '../bundle/safetensors.ts';
import { KernelError, MalformedFileError } from '../core/errors.ts';
import { permuteTensors } from '../matching/permutation.ts';
import type { Permutations } from '../matching/permutation.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { elementCount, getTensor, sameShape } from '../tensor/tensor.ts';
import type { NamedTensors, NetworkState, Tensor } from '../tensor/tensor.ts';

/** A tensor of the file: its rows are along its first axis, its columns along all others. */
interface FilePart {
  readonly name: string;
  readonly shape: readonly number[];
  readonly rows: number;
  readonly columns: number;
  /** Numbers of the first of each, counted through all parts of a tensor of the network. */
  readonly firstRow: number;
  readonly firstColumn: number;
}

/** A tensor of the network, and those of the file that are joined to it: one as a rule. */
interface Owner {
  readonly to: string;
  readonly parts: readonly FilePart[];
}

/** An owner, with the numbers of every element's row and column in the file. */
interface PlacedOwner {
  readonly owner: Owner;
  readonly rows: Tensor;
  readonly columns: Tensor;
}

/**
 * Elements that are numbered together: some megabytes. One tensor at a time, all names of the file were read for each: of 500 layers of
 * one number a port and its check took 14 s, where together they take 0.2.
 */
const ELEMENTS_AT_ONCE = 2 ** 18;

/** Where each row and each column of a tensor comes from. */
export interface Origins {
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/** A tensor of the file as several states of the network have it. */
export interface FileValues {
  readonly name: string;
  /** A state each, in the file's layout. */
  readonly values: readonly Float32Array[];
}

export class AdapterPlaces {
  readonly #spec: PermutationSpec;
  readonly #tensors: ReadonlyMap<string, RawTensor>;
  readonly #map: (tensors: ReadonlyMap<string, RawTensor>) => MappedTensors;
  readonly #owners: readonly Owner[];

  /**
   * @param base a file with the names that a base of the adapter has. @param rules those with which it is read.
   * @throws MalformedFileError where the file or the network has not what the adapter changes, UnsupportedError as `stateFromAdapter`.
   */
  constructor(graph: ModelGraph, adapter: Adapter, base: ForeignCheckpoint, rules: readonly NameRule[]) {
    const { tensors, convention } = baseForAdapter(base, adapter, adapterFields(graph, base, rules, 'base', 'adapter'));
    const mapping = mappingOptions(graph, convention, rules);
    this.#spec = derivePermutationSpec(graph);
    this.#tensors = new Map([...tensors, ...adapter.whole.map(({ name, tensor }) => [name, tensor] as const)]);
    this.#map = (given) => mapNames(given, parameterLayout(graph), rules, mapping);
    const changed = changedTensors(adapter);
    const { report } = this.#map(this.#tensors);
    requireUntied(graph, adapter, report, 'adapter');
    this.#owners = report.mapped.flatMap(({ to, from, parts = [from] }) =>
      parts.some((part) => changed.has(part)) ? [{ to, parts: this.#partsOf(parts) }] : [],
    );
    const found = new Set(this.#owners.flatMap(({ parts }) => parts.map(({ name }) => name)));
    // Batch norms that were trained whole count their batches, which nothing of ours reads.
    const counts = new Set(report.ignored.flatMap(({ from, kind }) => (kind === 'count' ? [from] : [])));
    const missing = [...changed].find((name) => !found.has(name) && !counts.has(name));
    if (missing !== undefined) {
      const shape = this.#tensors.get(missing)?.shape ?? [];
      const meant = meantFor(missing, this.#tensors, changed, (tensor) => sameShape(tensor.shape, shape));
      throw new MalformedFileError({
        field: `adapter: ${missing}`, expected: "one of the network's tensors", got: `none of that name and shape${meant}`,
      });
    }
  }

  /** The network's tensors that the adapter changes, some only in part. */
  get owners(): ReadonlySet<string> {
    return new Set(this.#owners.map(({ to }) => to));
  }

  /** Extents of a tensor in the file. */
  shapeOf(name: string): readonly number[] {
    return (this.#tensors.get(name) as RawTensor).shape;
  }

  /**
   * Where rows and columns of the file's tensors come from once the network is permuted, by the names of `baseForAdapter`.
   * @throws KernelError where it is no permutation of rows and one of columns.
   */
  origins(permutations: Permutations): ReadonlyMap<string, Origins> {
    const origins = new Map<string, Origins>();
    for (const placed of this.#placed()) {
      const permuted = (axis: 'rows' | 'columns'): NamedTensors =>
        permuteTensors(this.#spec, new Map(placed.map(({ owner, [axis]: numbers }) => [owner.to, numbers])), permutations);
      const [movedRows, movedColumns] = [permuted('rows'), permuted('columns')];
      for (const { owner: { to, parts }, rows, columns } of placed) {
        const fromRows = originsOf(to, rows, getTensor(movedRows, to));
        const fromColumns = originsOf(to, columns, getTensor(movedColumns, to));
        for (const part of parts)
          origins.set(part.name, {
            rows: within(to, fromRows, part.firstRow, part.rows),
            columns: within(to, fromColumns, part.firstColumn, part.columns),
          });
      }
    }
    return origins;
  }

  /** Every tensor of the file that is part of one that the adapter changes, one after the other. */
  *inFile(states: readonly NetworkState[]): Generator<FileValues> {
    for (const { owner, ...places } of this.#eachPlaced()) {
      const [rows, columns] = [places.rows.data, places.columns.data];
      const sources = states.map(({ parameters, buffers }) => getTensor(parameters.has(owner.to) ? parameters : buffers, owner.to).data);
      for (const part of owner.parts) {
        const values = states.map(() => new Float32Array(part.rows * part.columns));
        for (let i = 0; i < rows.length; i++) {
          const row = (rows[i] as number) - part.firstRow;
          if (row < 0 || row >= part.rows) continue;
          const at = row * part.columns + (columns[i] as number) - part.firstColumn;
          for (let k = 0; k < values.length; k++) (values[k] as Float32Array)[at] = (sources[k] as Float32Array)[i] as number;
        }
        yield { name: part.name, values };
      }
    }
  }

  #partsOf(names: readonly string[]): readonly FilePart[] {
    let [firstRow, firstColumn] = [0, 0];
    return names.map((name) => {
      const { shape } = this.#tensors.get(name) as RawTensor;
      const rows = shape[0] ?? 1;
      const part = { name, shape, rows, columns: elementCount(shape) / rows, firstRow, firstColumn };
      firstRow += part.rows;
      firstColumn += part.columns;
      return part;
    });
  }

  *#eachPlaced(): Generator<PlacedOwner> {
    for (const placed of this.#placed()) yield* placed;
  }

  /** All owners, some at a time: the numbers of all together are twice the network. */
  *#placed(): Generator<readonly PlacedOwner[]> {
    for (const owners of grouped(this.#owners)) {
      const rows = this.#arrivals(owners, ({ firstRow, columns }, element) => firstRow + Math.floor(element / columns));
      const columns = this.#arrivals(owners, ({ firstColumn, columns: width }, element) => firstColumn + (element % width));
      yield owners.map((owner) => ({ owner, rows: getTensor(rows, owner.to), columns: getTensor(columns, owner.to) }));
    }
  }

  /** Where the numbers of elements of the file arrive in the network. */
  #arrivals(owners: readonly Owner[], numberOf: (part: FilePart, element: number) => number): NamedTensors {
    const numbered = owners.flatMap(({ parts }) => parts.map((part): [string, RawTensor] => {
      const values = new Int32Array(part.rows * part.columns);
      for (let element = 0; element < values.length; element++) values[element] = numberOf(part, element);
      return [part.name, { dtype: 'I32', shape: part.shape, bytes: new Uint8Array(values.buffer) }];
    }));
    const { tensors } = this.#map(new Map([...this.#tensors, ...numbered]));
    return new Map(owners.map(({ to }) => {
      const { dtype, shape, bytes } = tensors.get(to) as RawTensor;
      return [to, { shape, data: toFloat32(to, dtype, bytes) }];
    }));
  }
}

function* grouped(owners: readonly Owner[]): Generator<readonly Owner[]> {
  let group: Owner[] = [];
  let elements = 0;
  for (const owner of owners) {
    const more = owner.parts.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
    if (group.length > 0 && elements + more > ELEMENTS_AT_ONCE) {
      yield group;
      [group, elements] = [[], 0];
    }
    group.push(owner);
    elements += more;
  }
  if (group.length > 0) yield group;
}

/** origins[number] = the number that stands in its place once permuted. */
function originsOf(field: string, before: Tensor, after: Tensor): Int32Array {
  const count = before.data.reduce((most, number) => Math.max(most, number), 0) + 1;
  const origins = new Int32Array(count).fill(-1);
  for (const [i, number] of before.data.entries()) {
    const origin = after.data[i] as number;
    if (origins[number] !== -1 && origins[number] !== origin) throw notByAxes(field);
    origins[number] = origin;
  }
  return origins;
}

/** Places of one part, counted from its own first. */
function within(field: string, origins: Int32Array, first: number, count: number): Int32Array {
  const own = origins.slice(first, first + count).map((origin) => origin - first);
  if (own.some((origin) => origin < 0 || origin >= count)) throw notByAxes(field);
  return own;
}

function notByAxes(field: string): KernelError {
  return new KernelError({ field, expected: 'a permutation of rows and one of columns', got: 'elements that move otherwise' });
}
