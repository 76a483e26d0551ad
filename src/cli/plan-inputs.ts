/** How many inputs a transfer would evaluate on, which `plan` needs the data for: often most of the time. */
import { requireData } from '../transfer/inputs.ts';
import { dataSha256 } from '../transfer/record.ts';
import { readSplit } from '../transfer/settings.ts';
import type { ValuesOf } from './arguments.ts';
import type { Context } from './command.ts';
import { givenDataOption, loadData } from './data-options.ts';
import type { DataValues } from './data-options.ts';
import { DEFAULT_DATA, hasPart } from './data.node.ts';
import { UsageError } from './exit.ts';
import type { Task } from './networks.ts';
import { generatedTaskOf, officialTraining } from './task.ts';
import type { scoringOptions } from './transfer-options.ts';

export interface PlannedInputs {
  readonly images: number;
  /** Share of the images that is held out, 0 to 1: they score every step. */
  readonly heldOutFraction: number;
  /** On which `transfer` scores three networks in the end. */
  readonly testImages: number;
}

type Values = DataValues & ValuesOf<typeof scoringOptions>;

/**
 * Of --data; without it, of what the bundle's training was on, where its hash is known: one of the official sets, which
 * need not be read, or a built-in task. Undefined where it is neither. @param task undefined for a network that the
 * data themselves have shaped.
 * @throws what reading the data does; UsageError for options about data that are not known.
 */
export async function plannedInputs(context: Context, values: Values, task: Task | undefined): Promise<PlannedInputs | undefined> {
  // A seed says which, not how many.
  const shareOf = (data: string): number => readSplit(0, choicesOf(values), task?.training, data).heldOutFraction;
  const official = officialTraining(task?.training);
  if (official !== undefined && givenDataOption(values) === undefined) {
    return { images: official.train, testImages: official.test, heldOutFraction: shareOf(official.sha256) };
  }
  const given = givenDataOption(values);
  // Of a task that is drawn only the number of images and its seed are choices.
  const drawn = task === undefined || given === undefined || given === 'train-count' || given === 'data-seed';
  const name = values.data ?? (task === undefined ? DEFAULT_DATA : drawn ? await generatedTaskOf(context, values, task) : undefined);
  if (name === undefined) {
    if (given !== undefined) throw new UsageError(`--${given} goes with --data`);
    return undefined;
  }
  const load = (part: 'train' | 'test') => loadData({ ...values, data: name }, part, context.compute, task?.graph);
  const training = await load('train');
  if (task !== undefined) requireData(task.graph, training);
  return {
    images: training.count,
    heldOutFraction: shareOf(await dataSha256(training)),
    testImages: (await hasPart(name, 'test')) ? (await load('test')).count : 0,
  };
}

function choicesOf(values: Values): { readonly heldOutFraction?: number; readonly heldOutSeed?: number } {
  const { 'held-out': heldOutFraction, 'held-out-seed': heldOutSeed } = values;
  return { ...(heldOutFraction === undefined ? {} : { heldOutFraction }), ...(heldOutSeed === undefined ? {} : { heldOutSeed }) };
}
