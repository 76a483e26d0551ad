/** `trajport pack`: a bundle from checkpoints of any kind. */
import { basename } from 'node:path';
import { type Adapter, isAdapter } from '../../bundle/foreign/adapter.ts';
import type { ForeignCheckpoint } from '../../bundle/foreign/checkpoint.ts';
import { type MappingReport, describeMisfits } from '../../bundle/foreign/map-names.ts';
import { type NameRule, idleRules } from '../../bundle/foreign/name-rules.ts';
import { type CheckpointLabel, checkpointLabels } from '../../bundle/foreign/checkpoint-files.ts';
import { fitsWithoutHead, stateFromAdapter, stateFromForeign } from '../../bundle/foreign/network.ts';
import { type CheckpointContent, writeBundleTo } from '../../bundle/writer.ts';
import { MalformedFileError } from '../../core/errors.ts';
import { normalisationFor, normalisationRecord } from '../../data/normalisation.ts';
import { parameterLayout } from '../../model/graph.ts';
import type { ModelGraph } from '../../model/graph.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { formatBytes, formatCount, printable } from '../../report/text.ts';
import { adapterOf } from '../adapters.node.ts';
import {
  listCheckpoints, packedFiles, readCheckpointFile, readRules, remarkIdleRules, remarkOrder, rulesOption,
} from '../checkpoints.node.ts';
import { type Context, defineCommand } from '../command.ts';
import { normalisationOf, normalisationOptions } from '../data-options.ts';
import { FileError, UsageError, exitCodes } from '../exit.ts';
import { streamAtomically } from '../write-files.node.ts';
import { graphOfShape, modelOptions, remarkAssumed, shapeOptions } from '../networks.ts';
import type { Output } from '../output.ts';
import { graphSummary, leftOutOf, leftOutSummary } from '../summaries.ts';
import { openBundleFile, requireHead } from '../weights.node.ts';

const options = {
  ...modelOptions,
  ...shapeOptions,
  'pixel-mean': {
    ...normalisationOptions['pixel-mean'],
    help:
      'what the images of the training were normalised by, (byte ÷ 255 − mean) ÷ std, a mean per channel or one for all: the bundle ' +
      'tells every command on it',
  },
  'pixel-std': normalisationOptions['pixel-std'],
  rules: {
    ...rulesOption,
    help: "JSON list of { from, to, view?, transpose?, shape?, part? }: names in the files to the network's; see docs/formats.md",
  },
  'zero-head': {
    kind: 'flag',
    help:
      "the first checkpoint's last layer is zeros, whatever its file has: a base with another number of classes, or without a head, " +
      "whose fine-tune " +
      'began with a new one that nobody kept',
  },
  coding: {
    kind: 'choice',
    choices: ['lossless', 'full', 'int8', 'int4'],
    default: 'lossless',
    help: 'how steps are stored; int8 and int4 lose some',
  },
  'key-frame-every': {
    kind: 'integer',
    metavar: 'N',
    minimum: 1,
    maximum: 10_000,
    help: 'a checkpoint that stands alone every N (lossless: 16)',
  },
  out: { kind: 'string', writes: 'bundle', metavar: 'FILE', help: 'the bundle to write, e.g. source.trajectory.zip' },
} as const;

export const packCommand = defineCommand({
  name: 'pack',
  computes: false,
  summary: 'a bundle from checkpoints of PyTorch, Keras, safetensors, ONNX …, in the order of training',
  positionals: [{ name: 'FILES…', reads: packedFiles }],
  options,
  examples: [
    {
      say: 'a folder of PyTorch checkpoints, epoch-0.pt to epoch-10.pt',
      run: 'trajport pack checkpoints/ --model mlp --widths 512 --input 1,28,28 --classes 10 --out source.trajectory.zip',
    },
    {
      say: 'two files, with the network as JSON and names mapped',
      run: 'trajport pack start.safetensors end.safetensors --graph network.json --rules names.json --out source.trajectory.zip',
    },
    {
      say: 'a LoRA adapter on its base, by the folder that PEFT saved',
      run: 'trajport pack v1.safetensors adapter/ --model distilbert --input 128 --classes 2 --zero-head --out fine-tune.zip',
    },
    {
      say: 'a fine-tune to 37 classes of a base that has 1000',
      run: 'trajport pack v1.pth fine-tuned.pth --model resnet18 --input 3,224,224 --classes 37 --zero-head --out fine-tune.zip',
    },
  ],
  notes: [
    "A LoRA adapter that PEFT saved (adapter_model.safetensors with adapter_config.json beside it, or their folder) stands for the " +
    "weights that it makes of the first file's.",
    "Files of a folder come in the order of the numbers in their names; files given one by one, in the order given. Labels are the " +
    "files' names.",
    'Every tensor must fit the network. What does not is listed (missing, unexpected, shape expected and got) and nothing is written. ' +
    'A prefix such as state_dict. or module. is found by itself.',
  ],
  async run({ output, signal, outputs, claim }, values, paths) {
    if (values.out === undefined) throw new UsageError('nothing would be written: give --out FILE');
    const graph = await graphOfShape(values);
    if (graph === undefined) throw new UsageError('checkpoints hold no network: give --graph FILE or --model NAME');
    if (values['zero-head']) requireHead('zero-head', graph);
    const files = listCheckpoints(paths);
    const labels = checkpointLabels(files.map((path) => path.replaceAll('\\', '/')));
    const given = normalisationOf(values);
    if (given !== undefined && graph.vocabulary !== undefined) throw new UsageError('--pixel-mean is for images');
    const normalisation = given && normalisationFor(graph.input, given);
    claim(outputs);
    if (files.length === 1)
      output.warn('one checkpoint is no trajectory: transfer needs the weights before a fine-tune and those after it');
    const rules = readRules(values.rules);
    output.text(graphSummary(graph));
    remarkAssumed(output, values, graph);
    remarkOrder(output, paths);

    const content = {
      graph,
      checkpoints: readCheckpoints({ output, signal }, graph, files, labels, rules, values),
      training: {
        packedFrom: files.map((path) => basename(path)), ...normalisationRecord(normalisation),
        ...(values['zero-head'] ? { zeroHead: true } : {}),
        // By which a target's file, which has the same names, is read too.
        ...(rules.length === 0 ? {} : { rules }),
      },
    };
    const keyFrameEvery = values['key-frame-every'];
    const bytes = await streamAtomically(values.out, async (sink) =>
      writeBundleTo(sink, content, { coding: values.coding, ...(keyFrameEvery === undefined ? {} : { keyFrameEvery }), signal }),
    );

    using opened = await openBundleFile(values.out, signal);
    const { bundle } = opened;
    output.record({ event: 'result', command: 'pack', output: values.out, bytes, checkpoints: bundle.checkpoints });
    output.text(
      output.table(
        [
          { title: 'checkpoint' },
          { title: 'epoch', align: 'right' },
          { title: 'coding' },
          { title: 'stored', align: 'right' },
          { title: 'step norm', align: 'right' },
          { title: 'error', align: 'right' },
          { title: 'file' },
        ],
        bundle.checkpoints.map(({ label, epoch, coding, storedBytes, stepNorm, stepError }, i) => [
          printable(label),
          epoch === null ? '' : String(epoch),
          coding,
          formatBytes(storedBytes),
          stepNorm.toPrecision(4),
          stepError === 0 ? 'none' : stepError.toExponential(1),
          files[i] ?? '',
        ]),
      ),
    );
    output.text(`wrote ${printable(values.out)} (${formatBytes(bytes)})`);
    return exitCodes.ok;
  },
});

/** One checkpoint after the other, so that no two files are in memory at a time, but for the base that adapters are merged into. */
async function* readCheckpoints(
  { output, signal }: Pick<Context, 'output' | 'signal'>,
  graph: ModelGraph,
  files: readonly string[],
  labels: readonly CheckpointLabel[],
  rules: readonly NameRule[],
  values: { readonly rules: string | undefined; readonly 'zero-head': boolean },
): AsyncGenerator<CheckpointContent> {
  let idle = [...rules.keys()];
  let base: ForeignCheckpoint | undefined;
  for (const [i, path] of files.entries()) {
    output.progress('packing', i, files.length, { file: basename(path) });
    const file = await readCheckpointFile(path, signal);
    const zeroHead = values['zero-head'] && i === 0;
    const adapter = isAdapter(file) ? adapterOn(output, files[0], path, file) : undefined;
    if (adapter !== undefined) base ??= await readCheckpointFile(files[0] as string, signal);
    const { state, report, narrow, zeroed } = adapter === undefined || base === undefined
      ? stateFromForeign(graph, file, rules, path, { zeroHead })
      : await stateFromAdapter(graph, base, adapter, rules, path, { signal });
    // An adapter's tensors have the base's names once they are merged.
    const idleHere = new Set(adapter === undefined ? idleRules(file.tensors.keys(), rules) : idle);
    idle = idle.filter((rule) => idleHere.has(rule));
    if (!report.fits) remarkIdleRules(output, values.rules, rules, [...idleHere], path);
    requireMapping(output, path, report, !report.fits && i === 0 && files.length > 1 && fitsWithoutHead(graph, file, rules));
    if (narrow.length > 0)
      output.warn(`${path} holds ${narrow.length} tensors of 16-bit floats: late steps may be smaller than their spacing`);
    if (zeroHead) output.text(`${printable(path)}: ${zeroedHead(graph, zeroed, file, report)}`);
    const leftOut = leftOutSummary(leftOutOf(report));
    if (leftOut !== undefined) output.text(`${printable(path)}: ${leftOut}`);
    const { label, epoch } = labels[i] as CheckpointLabel;
    yield { label, state: state as NetworkState, ...(epoch === undefined ? {} : { epoch }) };
  }
  remarkIdleRules(output, values.rules, rules, idle, files.length === 1 ? (files[0] as string) : `any of the ${files.length} files`);
}

/** Reads an adapter, and says what it has. @throws FileError where it is the first file itself. */
function adapterOn(output: Output, basePath: string | undefined, path: string, file: ForeignCheckpoint): Adapter {
  if (path === basePath)
    throw new FileError(path, 'is a LoRA adapter: the first file is to be its base, trajport pack BASE ADAPTER');
  const { adapter } = adapterOf(path, file);
  const { factors, whole } = adapter;
  output.text(
    `${printable(path)}: a LoRA adapter on the first file, ${formatCount(factors.length, 'weight')} of rank ` +
      `${[...new Set(factors.map(({ rank }) => rank))].toSorted((a, b) => a - b).join(', ')}` +
      `${whole.length === 0 ? '' : `, ${formatCount(whole.length, 'whole tensor')}`}`,
  );
  return adapter;
}

/** What became zeros, and what the file has there. */
function zeroedHead(
  graph: ModelGraph, zeroed: ReadonlySet<string>, { tensors }: ForeignCheckpoint, { ignored }: MappingReport,
): string {
  const named = (name: string, shape: readonly number[] = []): string => `${printable(name)} ${shape.join('×')}`;
  const zeros = parameterLayout(graph).parameters.flatMap(({ name, shape }) => (zeroed.has(name) ? [named(name, shape)] : []));
  const replaced = ignored.flatMap(({ from, kind }) => (kind === 'replaced' ? [named(from, tensors.get(from)?.shape)] : []));
  return `the last layer becomes zeros, ${zeros.join(', ')}; the file has ${replaced.length === 0 ? 'none' : replaced.join(', ')}`;
}

/** @throws MalformedFileError where not every tensor fits; which ones do not stands above it, all of them. */
function requireMapping(output: Context['output'], path: string, report: MappingReport, isHeadless: boolean): void {
  output.record({ event: 'mapping', path, ...report });
  if (report.fits) return;
  const misfits = describeMisfits(report);
  output.text(`${path} does not fit:\n${misfits.map((line) => `  ${printable(line)}`).join('\n')}`);
  throw new MalformedFileError({
    field: path,
    expected: `the network's tensors${isHeadless ? ' (--zero-head replaces the last layer of the first file)' : ''}`,
    got: `${misfits.length} that do not fit, listed on stdout`,
  });
}
