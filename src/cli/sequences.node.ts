/**
 * Labelled token sequences for classifiers of texts: `sequences:PATH` is JSON Lines that a tokeniser of one's own has written. Of a
 * single file a tenth of the lines, drawn the same every time, is the test part; a folder holds train.jsonl and test.jsonl.
 */
import { basename } from 'node:path';
import { sequenceSetFromJsonLines } from '../bundle/json-lines.ts';
import { selectSequences } from '../data/sequence-set.ts';
import type { SequenceForm, SequenceSet } from '../data/sequence-set.ts';
import { splitRows } from '../data/split.ts';
import { FileError } from './exit.ts';
import { isFolder } from './read-files.node.ts';
import { partFile, pathOf, readText } from './tokens.node.ts';
import type { DataPart } from './tokens.node.ts';

export interface SequenceChoices extends Omit<SequenceForm, 'name'> {
  /** Only the first so many sequences of the training part. */
  readonly trainCount?: number;
}

/** Files are sorted by label often enough that their end would be one class. */
const TEST_SHARE = 0.1;

/** @throws FileError for a file that is missing, empty or of a single line; the errors of `sequenceSetFromJsonLines` for what is in it. */
export async function loadSequences(data: string, part: DataPart, choices: SequenceChoices): Promise<SequenceSet> {
  const path = pathOf(data);
  const { trainCount, ...form } = choices;
  const file = isFolder(path) ? partFile(path, part, 'jsonl') : path;
  if (file === undefined) throw new FileError(path, `holds no ${part}.jsonl or ${part}.jsonl.gz`);
  const bytes = await readText(file);
  const whole = sequenceSetFromJsonLines({ name: file, bytes, ...form });
  const named = { ...whole, name: basename(path) };
  const set = file === path ? selectSequences(named, rowsOfPart(path, whole.count, part)) : named;
  if (part === 'test' || trainCount === undefined || trainCount >= set.count) return set;
  return selectSequences(set, Int32Array.from({ length: trainCount }, (_, row) => row));
}

function rowsOfPart(path: string, count: number, part: DataPart): Int32Array {
  if (count < 2) throw new FileError(path, 'holds one sequence: two are the fewest that divide into a training and a test part');
  const { training, heldOut } = splitRows(count, TEST_SHARE, 0);
  return part === 'train' ? training : heldOut;
}
