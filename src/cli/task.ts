/**
 * The data of a bundle's task. The record of its training has a hash of what it was trained on: without --data the built-in task of that
 * hash is taken and no other, and --data that has another hash is remarked on.
 */
import { dataSha256, recordedData } from '../transfer/record.ts';
import type { DataSet } from '../data/data-set.ts';
import { recordedNormalisation, recordedPixelMaximum } from '../data/normalisation.ts';
import { officialTrainings } from '../data/official-files.ts';
import { readsSequences } from '../model/graph.ts';
import { formatInteger } from '../report/text.ts';
import type { Context } from './command.ts';
import { DEFAULT_DATA, generatedTasks, namesFiles } from './data.node.ts';
import { UsageError } from './exit.ts';
import { loadData, normalisationOf } from './data-options.ts';
import type { DataValues } from './data-options.ts';
import type { Task } from './networks.ts';
import { itemsOf } from './summaries.ts';

/**
 * The options with --data filled in, and with what the bundle says that its images were normalised by.
 * @param another what becomes of another normalisation by hand: a transfer takes none, so it is refused before any data is read.
 * @throws UsageError for that, and where --data is not given and the bundle was trained on none of the built-in tasks, or
 *   does not say on what.
 */
export async function withTaskData<V extends DataValues>(
  context: Context,
  values: V,
  task: Task | undefined,
  another: 'remarked on' | 'refused' = 'remarked on',
): Promise<V & { readonly data: string }> {
  if (values.data !== undefined || task === undefined)
    return { ...withRecordedNormalisation(context, values, task, another), data: values.data ?? DEFAULT_DATA };
  const { path, graph, training } = task;
  if (graph.vocabulary !== undefined)
    throw new UsageError(`${path} reads tokens: give --data ${readsSequences(graph) ? 'sequences:PATH' : 'text:PATH or tokens:FILE'}`);
  if (training === undefined) return { ...values, data: DEFAULT_DATA };
  const recorded = recordedData(training);
  if (recorded === undefined)
    throw new UsageError(`${path} does not say what it was trained on: give --data DIR (or ${generatedTasks.join(', ')})`);
  const official = officialTraining(training);
  if (official !== undefined) {
    throw new UsageError(
      `${path} was trained on ${official.dataset}: give --data DIR, the folder of its files (trajport download ` +
      `${official.dataset} fetches them)`,
    );
  }
  const data = await generatedTaskOf(context, values, task);
  if (data === undefined)
    throw new UsageError(
      `${path} was not trained on ${generatedTasks.join(' or ')} as drawn here: give --data DIR, or the --train-count of its training`,
    );
  return { ...values, data };
}

function withRecordedNormalisation<V extends DataValues>(
  { output }: Context, values: V, task: Task | undefined, another: 'remarked on' | 'refused',
): V {
  if (task === undefined || !namesFiles(values.data ?? DEFAULT_DATA)) return values;
  const recorded = recordedNormalisation(task.training);
  const maximum = recordedPixelMaximum(task.training);
  if (recorded === undefined && maximum === undefined) return values;
  const given = normalisationOf(values);
  const givenMaximum = values['pixel-maximum'];
  if (given === undefined && givenMaximum === undefined) {
    return recorded === undefined
      ? { ...values, 'pixel-maximum': maximum }
      : { ...values, 'pixel-mean': recorded.mean, 'pixel-std': recorded.std };
  }
  const isSame = recorded === undefined
    ? given === undefined && givenMaximum === maximum
    : JSON.stringify(given) === JSON.stringify(recorded);
  if (isSame) return values;
  const own = recorded === undefined
    ? `with --pixel-maximum ${maximum}`
    : `normalised by --pixel-mean ${recorded.mean.join(',')} --pixel-std ${recorded.std.join(',')}`;
  const text = `${task.path} is of images ${own}, not as asked for here`;
  // Another byte may be 1 where the images are of another depth, which only they can tell.
  if (another === 'refused' && (recorded !== undefined || given !== undefined))
    throw new UsageError(`${text}; without these options its own are taken`);
  output.warn(text);
  return values;
}

/** The official set whose whole training part it was, with its numbers of images. */
export function officialTraining(training: unknown): (typeof officialTrainings)[number] | undefined {
  const recorded = recordedData(training);
  return officialTrainings.find(({ sha256 }) => sha256 === recorded);
}

/** The built-in task that it was, as the options draw it. */
export async function generatedTaskOf({ compute }: Context, values: DataValues, { graph, training }: Task): Promise<string | undefined> {
  const recorded = recordedData(training);
  if (recorded === undefined || graph.vocabulary !== undefined) return undefined;
  for (const data of generatedTasks) {
    if ((await dataSha256(await loadData({ ...values, data }, 'train', compute, graph))) === recorded) return data;
  }
  return undefined;
}

/** Says so where the bundle was trained on other data than `data`, which may be meant. */
export async function remarkOtherData({ output }: Context, { path, training }: Task, data: DataSet): Promise<void> {
  const recorded = recordedData(training);
  if (recorded === undefined || recorded === (await dataSha256(data))) return;
  output.warn(
    `${path} was trained on other data than the ${formatInteger(data.count)} ${itemsOf(data)} of ` +
    `${data.name}: on another task, or on more or fewer of them; ` +
      'what is held out here its source may have seen',
  );
}
