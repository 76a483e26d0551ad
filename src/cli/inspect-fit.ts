/** `inspect` with a network: whether the weights of a file fit it, tensor by tensor. */
import { foreignFormatNames } from '../bundle/foreign/formats.ts';
import { type MappingReport, mapNames, mappingOptions } from '../bundle/foreign/map-names.ts';
import { idleRules } from '../bundle/foreign/name-rules.ts';
import { fitsWithoutHead } from '../bundle/foreign/network.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { formatCount, printable } from '../report/text.ts';
import { readCheckpointFile, readRules, remarkIdleRules } from './checkpoints.node.ts';
import type { Context } from './command.ts';
import { exitCodes } from './exit.ts';
import type { ExitCode } from './exit.ts';
import { remarkNotFinite } from './finite.ts';
import { fittingWidth } from './fitting-width.ts';
import type { Output } from './output.ts';
import { graphSummary, namingOf } from './summaries.ts';
import { refuseAdapter } from './weights.node.ts';

type FitValues = Parameters<typeof fittingWidth>[0] & { readonly rules: string | undefined; readonly verbose: boolean };

/** Shows the tensors of the network beside those of the file; the exit code says whether they fit. */
export async function inspectFit({ output, signal }: Context, path: string, graph: ModelGraph, values: FitValues): Promise<ExitCode> {
  const rules = readRules(values.rules);
  const file = await readCheckpointFile(path, signal);
  refuseAdapter(path, file);
  remarkNotFinite(output, path, file.tensors);
  remarkIdleRules(output, values.rules, rules, idleRules(file.tensors.keys(), rules), path);
  const reportOn = (network: ModelGraph): MappingReport =>
    mapNames(file.tensors, parameterLayout(network), rules, mappingOptions(network, file.convention, rules)).report;
  const report = reportOn(graph);
  const headless = fitsWithoutHead(graph, file, rules);
  const fits = (network: ModelGraph): boolean => reportOn(network).fits || fitsWithoutHead(network, file, rules);
  const width = report.fits || headless ? undefined : await fittingWidth(values, report.misshapen, fits);

  output.record({
    event: 'result', command: 'inspect', kind: 'fit', path, format: file.format, ...report, fitsWithoutHead: headless,
    ...onlyDefined({ fittingWidth: width }),
  });
  output.text(`${output.style('bold', printable(path))}\n${foreignFormatNames[file.format]} against ${graphSummary(graph)}\n`);
  showTensors(output, graph, report, values.verbose);
  if (report.ignored.length > 0) output.text(leftOutTable(output, report.ignored, values.verbose));
  output.text(`${report.fits ? 'fits' : 'does not fit'}: ${countsOf(report)}${namingOf(report)}`);
  if (width !== undefined) output.text(`it is of another width: --width ${width}`);
  if (!report.fits && headless)
    output.text('all but the last layer fits: --zero-head of pack and transfer takes the file, with zeros there');
  return report.fits ? exitCodes.ok : exitCodes.fellShort;
}

/** A tensor of the network and what the file has for it. */
interface TensorFit {
  readonly name: string;
  readonly shape: readonly number[];
  /** Names in the file: several where they are joined, or where the tensor is given more than once. */
  readonly from: readonly string[];
  readonly verdict: string;
  readonly fits: boolean;
  /** Under its own name, whole and in its own layout. */
  readonly fitsAsItIs: boolean;
}

const shapeText = (shape: readonly number[]): string => shape.join('×') || 'scalar';

function tensorFits(graph: ModelGraph, report: MappingReport): readonly TensorFit[] {
  const { parameters, buffers } = parameterLayout(graph);
  const mapped = new Map(report.mapped.map((item) => [item.to, item]));
  const misshapen = new Map(report.misshapen.map((item) => [item.to, item]));
  const repeated = new Map(report.repeated.map((item) => [item.to, item]));
  return [...parameters, ...buffers].map(({ name, shape }): TensorFit => {
    const fit = mapped.get(name);
    if (fit !== undefined) {
      return {
        name,
        shape,
        // What is joined of several would be wider than any terminal in one line.
        from: fit.parts?.map((part, i, { length }) => (i < length - 1 ? `${part} +` : part)) ?? [fit.from],
        verdict: fit.turned ? 'fits, turned' : 'fits',
        fits: true,
        fitsAsItIs: fit.from === name && fit.parts === undefined && !fit.turned,
      };
    }
    const unfit = { name, shape, fits: false, fitsAsItIs: false };
    const wrong = misshapen.get(name);
    if (wrong !== undefined) return { ...unfit, from: [wrong.from], verdict: `is ${shapeText(wrong.got)}` };
    const several = repeated.get(name);
    if (several !== undefined) return { ...unfit, from: [several.from.join(', ')], verdict: 'more than one' };
    return { ...unfit, from: [''], verdict: 'missing' };
  });
}

/** The network's tensors beside the file's, then what the file has besides; those that fit as they are only where `verbose`. */
function showTensors(output: Output, graph: ModelGraph, report: MappingReport, verbose: boolean): void {
  const tensors = tensorFits(graph, report);
  const shown = tensors.filter(({ fitsAsItIs }) => verbose || !fitsAsItIs);
  const rowsOf = ({ name, shape, from: [first = '', ...others], verdict }: TensorFit): readonly (readonly string[])[] => [
    [printable(name), shapeText(shape), printable(first), verdict],
    ...others.map((part) => ['', '', printable(part), '']),
  ];
  const unexpected = report.unexpected.map(({ from, to, shape }) => {
    const renamed = from === report.prefix + to ? from : `${from} → ${to}`;
    return ['', '', printable(renamed), `unexpected, ${shapeText(shape)}`];
  });
  // What does not fit comes first: among hundreds of rows that do it would not be seen.
  const rows = [
    ...shown.filter(({ fits }) => !fits).flatMap(rowsOf),
    ...unexpected,
    ...shown.filter(({ fits }) => fits).flatMap(rowsOf),
  ];
  if (rows.length > 0)
    output.text(output.table([{ title: 'network' }, { title: 'shape', align: 'right' }, { title: 'file' }, { title: '' }], rows));
  const hidden = tensors.length - shown.length;
  if (hidden === 0) return;
  output.text(
    hidden === tensors.length
      ? `all ${formatCount(hidden, 'tensor')} fit`
      : `${formatCount(hidden, 'tensor')} besides fit as they are (--verbose lists them)`,
  );
}

/** What is in the file and no weight of the network. */
function leftOutTable(output: Output, ignored: MappingReport['ignored'], verbose: boolean): string {
  const rows = verbose ? ignored.map(({ from, why }) => [from, why]) : foldedByModule(ignored);
  return output.table(
    [{ title: 'left out' }, { title: 'why' }],
    rows.map((row) => row.map(printable)),
  );
}

function countsOf({ mapped, missing, unexpected, misshapen, repeated, ignored }: MappingReport): string {
  return [
    `${mapped.length} fit`,
    `${missing.length} missing`,
    `${unexpected.length} unexpected`,
    `${misshapen.length} of another shape`,
    ...(repeated.length > 0 ? [`${repeated.length} given more than once`] : []),
    ...(ignored.length > 0 ? [`${ignored.length} left out`] : []),
  ].join(', ');
}

/**
 * Names and why they are left out; those that begin with the same part for the same reason in one row, by what all of them begin
 * with: an optimiser has hundreds, and under a prefix all of a network begins the same.
 */
function foldedByModule(ignored: MappingReport['ignored']): readonly (readonly string[])[] {
  const rows = new Map<string, { readonly why: string; readonly names: string[] }>();
  for (const { from, why } of ignored) {
    const module = /^[^./]*[./]/.exec(from)?.[0] ?? from;
    const key = `${module}\n${why}`;
    const row = rows.get(key);
    if (row === undefined) rows.set(key, { why, names: [from] });
    else row.names.push(from);
  }
  const called = (names: readonly string[]): string =>
    (names.length === 1 ? (names[0] as string) : `${commonModules(names)}* (${names.length})`);
  return [...rows.values()].map(({ why, names }) => [called(names), why]);
}

/** The parts, `.` or `/` behind each, that all names begin with. */
function commonModules([first = '', ...others]: readonly string[]): string {
  const parts = first.match(/[^./]*[./]/g) ?? [];
  let common = '';
  for (const part of parts) {
    if (!others.every((name) => name.startsWith(common + part))) break;
    common += part;
  }
  return common;
}
