/** The two tasks of `demo`: generated, or two folders of images of the user's. */
import { join } from 'node:path';
import type { ImageSet } from '../data/image-set.ts';
import type { Task } from '../experiments/port-fine-tune.ts';
import type { Context } from './command.ts';
import { dataFiles, hasPart, loadImages, requireFolder } from './data.node.ts';
import { UsageError } from './exit.ts';
import { dataSummary } from './summaries.ts';
import { namesTokens } from './tokens.node.ts';

/** Options that say which they are. */
interface TaskValues {
  readonly data: string | undefined;
  readonly 'data-after': string | undefined;
  readonly 'train-count': number;
}

/** A text for each of the tasks. */
interface Names {
  readonly before: string;
  readonly after: string;
}

export interface DemoTasks {
  readonly before: Task;
  readonly after: Task;
  readonly names: Names;
  /** Of each as it is: one network reads both, with as many classes as the one that has more. */
  readonly summaries: Names;
}

/**
 * The images of both tasks, as one network reads them: with the classes of the one that has more.
 * @throws UsageError for tasks that no one network reads.
 */
export async function loadTasks({ compute }: Context, values: TaskValues): Promise<DemoTasks> {
  const names = await namesOf(values);
  // The generated pair is drawn from a seed of its own, so that --seed varies the networks and not the tasks.
  const choices = { seed: 1, trainCount: values['train-count'] };
  const load = async (name: string, classes?: number): Promise<Task> => {
    const chosen = classes === undefined ? choices : { ...choices, classes };
    return { train: await loadImages(name, 'train', chosen, compute), test: await loadImages(name, 'test', chosen, compute) };
  };
  let before = await load(names.before);
  let after = await load(names.after);
  const summaries = { before: dataSummary(before.train), after: dataSummary(after.train) };
  const classes = Math.max(...[before.train, before.test, after.train, after.test].map((set: ImageSet) => set.classes));
  if ([before.train, before.test, after.train, after.test].some((set) => set.classes !== classes)) {
    before = await load(names.before, classes);
    after = await load(names.after, classes);
  }
  const shape = ({ channels, height, width }: ImageSet): string => `${channels}×${height}×${width}`;
  if (shape(before.train) !== shape(after.train)) {
    throw new UsageError(
      `--data-after ${names.after} has images of ${shape(after.train)}, and --data ${names.before} of ${shape(before.train)}: one ` +
      `network is to read both`,
    );
  }
  return { before, after, summaries, names: { before: before.train.name, after: after.train.name } };
}

/** The two tasks that --data and --data-after name; without either, the generated pair. */
async function namesOf({ data, 'data-after': dataAfter }: TaskValues): Promise<Names> {
  if (data === undefined) {
    if (dataAfter !== undefined) throw new UsageError('--data-after needs --data for task A');
    return { before: 'generated:before', after: 'generated:after' };
  }
  const names = dataAfter === undefined ? await pairIn(data) : { before: data, after: dataAfter };
  for (const name of [names.before, names.after])
    if (namesTokens(name)) throw new UsageError(`${name === names.before ? '--data' : '--data-after'} of demo takes images, not ${name}`);
  return names;
}

/** Where a folder of both tasks has each. */
function foldersIn(directory: string): Names {
  return { before: join(directory, 'mnist'), after: join(directory, 'fashion-mnist') };
}

/** What may be read of a value of --data: one task, or both. */
export function taskFiles(value: string): readonly string[] {
  return [value, ...Object.values(foldersIn(value))].flatMap(dataFiles);
}

/** MNIST and Fashion-MNIST under one folder. */
async function pairIn(directory: string): Promise<Names> {
  if (directory.startsWith('generated:') || namesTokens(directory))
    throw new UsageError(`--data ${directory} is one task: give the other with --data-after, or neither for the generated pair`);
  requireFolder(directory);
  const pair = foldersIn(directory);
  const there = (name: string): Promise<boolean> => hasPart(name, 'train').catch(() => false);
  if ((await there(pair.before)) && (await there(pair.after))) return pair;
  throw new UsageError(`--data ${directory} has no mnist/ and fashion-mnist/ in it: give task B with --data-after DIR`);
}
