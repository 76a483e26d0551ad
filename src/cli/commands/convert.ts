/** `trajport convert`: weights from a file of one kind into one of another. */
import { isAdapter } from '../../bundle/foreign/adapter.ts';
import { foreignFormatNames, readForeign } from '../../bundle/foreign/formats.ts';
import type { ForeignFileRead, ForeignFormat } from '../../bundle/foreign/formats.ts';
import { mapNames, mappingOptions, requireFit } from '../../bundle/foreign/map-names.ts';
import { type NameRule, type Renamed, idleRules, recordedRules, renameTensors } from '../../bundle/foreign/name-rules.ts';
import { stateFromForeign } from '../../bundle/foreign/network.ts';
import type { WriteForeignOptions, WrittenForeign } from '../../bundle/foreign/write.ts';
import type { RawTensor } from '../../bundle/safetensors.ts';
import { MalformedFileError } from '../../core/errors.ts';
import { parameterLayout } from '../../model/graph.ts';
import type { ModelGraph } from '../../model/graph.ts';
import { formatBytes, formatCount, printable } from '../../report/text.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { readCheckpointFile, readRules, remarkIdleRules, rulesOption, weightFiles } from '../checkpoints.node.ts';
import { defineCommand } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { remarkNotFinite } from '../finite.ts';
import { givenTask, graphOfShape, modelOptions, refuseNetwork, remarkAssumed, shapeOptions } from '../networks.ts';
import type { Output } from '../output.ts';
import { leftOutOf, leftOutSummary, namingOf } from '../summaries.ts';
import { checkpointIndex, isBundle, openBundleFile, refuseAdapter } from '../weights.node.ts';
import { claimParts, filesOf, formatOf, likeOption, readLike, tensorsLike, writeFiles } from '../written-weights.node.ts';
import type { Like } from '../written-weights.node.ts';

const options = {
  ...modelOptions,
  ...shapeOptions,
  rules: {
    ...rulesOption,
    help:
      'JSON list of { from, to, view?, transpose?, shape?, part? }: renames, turns and joins tensors (with --like: those of FILE); ' +
      'see docs/formats.md',
  },
  like: {
    ...likeOption,
    help:
      "under FILE's names and in its layouts, with the masks and counts that its framework keeps beside weights, " +
      'and of a TensorFlow.js model its topology: what a transfer wrote goes back to its framework; ' +
      'FILE is best the fine-tune, whose last layer is there',
  },
  checkpoint: { kind: 'string', metavar: 'LABEL', help: 'bundles: which checkpoint (default: the last)' },
  verbose: { kind: 'flag', help: 'list every tensor' },
  dtype: { kind: 'choice', choices: ['keep', 'f32'], default: 'keep', help: 'f32: all floats become F32, F64 rounded' },
} as const;

export const convertCommand = defineCommand({
  name: 'convert',
  computes: false,
  summary: 'weights of PyTorch, Keras, TensorFlow.js, ONNX, GGUF, numpy or a bundle as safetensors, npz or TensorFlow.js weights',
  positionals: [
    { name: 'IN', reads: weightFiles },
    { name: 'OUT', writes: 'any' },
  ],
  options,
  examples: [
    { say: 'a PyTorch file, without executing anything in it', run: 'trajport convert model.pt model.safetensors' },
    { say: "a Keras file, with PyTorch's names and layouts", run: 'trajport convert model.keras model.safetensors --rules names.json' },
    {
      say: "Hugging Face's ViT by the names of the preset",
      run: 'trajport convert model.safetensors vit.safetensors --model vit --width 768 --input 3,224,224 --classes 1000',
    },
    {
      say: 'what a transfer wrote, for the framework that the fine-tune came from',
      run: 'trajport convert v2-ported.safetensors model.safetensors --graph fine-tune.zip --like fine-tuned.safetensors',
    },
    {
      say: 'a checkpoint out of a bundle; inspect lists them',
      run: 'trajport convert fine-tune.zip epoch-3.safetensors --checkpoint epoch-3',
    },
    { say: 'for numpy', run: 'trajport convert model.safetensors model.npz' },
    { say: 'for TensorFlow.js: model.json and its parts', run: 'trajport convert model.safetensors model.json' },
  ],
  notes: [
    'OUT is safetensors, npz or TensorFlow.js weights by its ending: .safetensors, .npz, .json. Files in parts are given by their ' +
    'index or model.json.',
    "With --model or --graph, OUT holds that network's tensors by its names and in its layouts, also of Keras files whose images are " +
    "flattened; what does not fit is refused.",
    'With --like FILE, OUT has what FILE has, by its names and in its layouts: the weights from IN as F32, and what belongs beside ' +
    'them as it is. FILE holds the same network; its last layer may have another number of classes, but must be there: the file of the ' +
    'fine-tune has it, a published base may not.',
    'Without these and --rules, names and layouts stay as they are. With --rules alone, kernels of Keras and TensorFlow.js files that ' +
    'no rule says otherwise of are turned to [out, in] and OIHW.',
    'An element type that OUT cannot hold becomes one that holds all of its values; where there is none, nothing is written.',
  ],
  async run({ output, signal, outputs, claim }, values, [input, target]) {
    const [from, to] = [input as string, target as string];
    const format = formatOf('OUT', to);
    if (values.verbose && output.json) throw new UsageError('--verbose is for text: --json lists every tensor anyway');
    claim(outputs);
    if (isBundle(from)) refuseNetwork(values);
    const given = await graphOfShape(values);
    remarkAssumed(output, values, given);
    const { read, kind, graph = given, training = (await givenTask(values))?.training } = isBundle(from)
      ? await readBundled(from, values.checkpoint, signal)
      : await readFile(from, values.checkpoint, signal);
    if (graph !== undefined) refuseAdapter(from, read);
    remarkNotFinite(output, from, read.tensors);
    const rules = readRules(values.rules);
    if (values.like !== undefined && graph === undefined)
      throw new UsageError('--like needs the network: give --graph BUNDLE, --graph FILE.json or --model NAME');
    const like = await readLike(values.like, signal);
    if (like !== undefined && isAdapter(like.file))
      throw new UsageError(`--like ${like.path} is a LoRA adapter: transfer writes one, which knows the order of the target's units`);
    const ruled = like?.file ?? read;
    remarkIdleRules(output, values.rules, rules, idleRules(ruled.tensors.keys(), rules), like?.path ?? from);
    const taken =
      like !== undefined && graph !== undefined
        ? asIn(like, from, read, graph, rules.length > 0 ? rules : recordedRules(training))
        : given === undefined
          ? withRules(from, read, values.rules === undefined ? undefined : rules)
          : forNetwork(from, read, given, rules);
    const besides = taken.besides ?? { metadata: read.metadata };
    const { files, changed } = await filesOf(to, taken.tensors, { format, dtype: values.dtype, ...besides });
    claimParts(claim, 'OUT', files.map(({ path }) => path));
    writeFiles(files);

    const tensors = listed(taken, changed);
    output.record({
      event: 'result',
      command: 'convert',
      input: from,
      format: kind.format,
      ...(kind.checkpoint === undefined ? {} : { checkpoint: kind.checkpoint }),
      output: to,
      files: files.map(({ name, bytes }) => ({ name, bytes: bytes.byteLength })),
      tensors,
      ...(values.like === undefined ? {} : { like: values.like }),
      ...(taken.leftOut === undefined ? {} : { leftOut: taken.leftOut }),
    });
    output.text(`${printable(from)} (${printable(kind.name)}): ${formatCount(tensors.length, 'tensor')}${taken.naming ?? ''}`);
    const besideThem = leftOutSummary(taken.leftOut ?? []);
    if (besideThem !== undefined) output.text(`  ${besideThem}`);
    showChanges(output, tensors);
    if (values.verbose) output.text(tensorsTable(output, tensors));
    for (const { path, bytes } of files) output.text(`wrote ${printable(path)} (${formatBytes(bytes.byteLength)})`);
    return exitCodes.ok;
  },
});

/** A written tensor, as --json and --verbose list it. */
interface Listed {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The type that its numbers are kept as. */
  readonly becomes: string;
  readonly parts?: readonly string[];
}

function listed({ tensors, partsOf }: Taken, changed: WrittenForeign['changed']): readonly Listed[] {
  return [...tensors].map(([name, { dtype, shape }]) => {
    const parts = partsOf.get(name);
    const becomes = changed.find((change) => change.name === name)?.to ?? dtype;
    return { name, dtype, shape, becomes, ...(parts === undefined ? {} : { parts }) };
  });
}

/** A line for each element type that became another. */
function showChanges(output: Output, tensors: readonly Listed[]): void {
  const changes = new Map<string, string[]>();
  for (const { name, dtype, becomes } of tensors) {
    if (becomes === dtype) continue;
    const types = `${dtype} → ${becomes}`;
    changes.set(types, [...(changes.get(types) ?? []), name]);
  }
  for (const [types, names] of changes) {
    const [first = '', ...others] = names;
    output.text(`  ${types}: ${formatCount(names.length, 'tensor')}, ${printable(first)}${others.length === 0 ? '' : ' and others'}`);
  }
}

function tensorsTable(output: Output, tensors: readonly Listed[]): string {
  const joined = tensors.some(({ parts }) => parts !== undefined);
  return output.table(
    [{ title: 'tensor' }, { title: 'shape', align: 'right' }, { title: 'dtype' }, { title: joined ? 'joined of' : '' }],
    tensors.map(({ name, dtype, shape, becomes, parts = [] }) => [
      printable(name),
      shape.join('×') || 'scalar',
      becomes === dtype ? dtype : `${dtype} → ${becomes}`,
      printable(parts.join(' + ')),
    ]),
  );
}

/** Tensors, and how what they were read from is called. */
interface Read {
  readonly read: ForeignFileRead;
  /** A bundle's own. */
  readonly graph?: ModelGraph;
  readonly training?: unknown;
  readonly kind: { readonly format: ForeignFormat | 'bundle'; readonly name: string; readonly checkpoint?: string };
}

async function readFile(path: string, checkpoint: string | undefined, signal: AbortSignal): Promise<Read> {
  if (checkpoint !== undefined) throw new UsageError('--checkpoint needs a bundle');
  const read = await readCheckpointFile(path, signal);
  return { read, kind: { format: read.format, name: foreignFormatNames[read.format] } };
}

/** A checkpoint of a bundle is a safetensors file, once decoded. */
async function readBundled(path: string, wanted: string | undefined, signal: AbortSignal): Promise<Read> {
  using opened = await openBundleFile(path, signal);
  const { bundle } = opened;
  const { index, label: checkpoint } = bundle.checkpoint(checkpointIndex(bundle, wanted));
  const read = await readForeign({ name: path, bytes: await bundle.readCheckpointFile(index, signal) }, { signal });
  const kind = { format: 'bundle', name: `bundle, checkpoint ${checkpoint}`, checkpoint } as const;
  return { read, graph: bundle.graph, training: bundle.training, kind };
}

/** What is written, and by its name what each joined tensor was joined of. */
interface Taken {
  readonly tensors: ReadonlyMap<string, RawTensor>;
  readonly partsOf: ReadonlyMap<string, readonly string[] | undefined>;
  /** How the file's names became the network's, in words. */
  readonly naming?: string;
  /** What the file, or that of --like, has besides the network. */
  readonly leftOut?: readonly string[];
  /** What the written file says besides; what the file read says, unless given. */
  readonly besides?: Pick<WriteForeignOptions, 'metadata' | 'modelJson'>;
}

function withRules(field: string, { tensors, convention }: ForeignFileRead, rules: readonly NameRule[] | undefined): Taken {
  if (rules === undefined) return { tensors, partsOf: new Map() };
  const items = [...renamed(field, renameTensors(tensors, convention, rules))];
  return {
    tensors: new Map(items.map(([name, { tensor }]) => [name, tensor])),
    partsOf: new Map(items.map(([name, { parts }]) => [name, parts])),
  };
}

/** The network's tensors under its names, in its layouts and order. @throws MalformedFileError where not every tensor fits. */
function forNetwork(field: string, { tensors, convention }: ForeignFileRead, graph: ModelGraph, rules: readonly NameRule[]): Taken {
  const mapped = mapNames(tensors, parameterLayout(graph), rules, mappingOptions(graph, convention, rules));
  requireFit(field, mapped.report);
  return {
    tensors: mapped.tensors,
    partsOf: new Map(mapped.report.mapped.map(({ to, parts }) => [to, parts])),
    naming: namingOf(mapped.report),
    leftOut: leftOutOf(mapped.report),
  };
}

/** As the file of --like has them. @throws MalformedFileError where either file does not hold the network. */
function asIn(like: Like, from: string, read: ForeignFileRead, graph: ModelGraph, rules: readonly NameRule[]): Taken {
  const { state, report } = stateFromForeign(graph, read, [], from);
  requireFit(from, report);
  return {
    ...tensorsLike(like, graph, state as NetworkState, rules),
    partsOf: new Map(),
    naming: ` as ${printable(like.path)} has them`,
  };
}

/** @throws MalformedFileError where rules give two tensors one name, or leave none. */
function renamed(field: string, list: readonly Renamed[]): ReadonlyMap<string, Renamed> {
  const result = new Map<string, Renamed>();
  for (const item of list) {
    const { from, to } = item;
    if (to === undefined) continue;
    if (result.has(to))
      throw new MalformedFileError({
        field,
        expected: 'one tensor for each name',
        got: `${printable(from)} and another as ${printable(to)}`,
      });
    result.set(to, item);
  }
  if (result.size === 0) throw new MalformedFileError({ field, expected: 'rules that keep a tensor', got: 'none left' });
  return result;
}
