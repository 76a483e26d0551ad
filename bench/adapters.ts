/**
 * npm run -s bench:adapters [-- --pairs N] [--json]
 *
 * What is a LoRA adapter worth on the next base? transformers trains two small DistilBERTs, v1 and v2, until they tell four made-up
 * languages apart, and PEFT an adapter on v1 to tell four others. trajport ports it by each method; PEFT loads what comes out on v2 and scores it
 * on texts that nothing was chosen on. Needs a Python with transformers, peft and torch (`PYTHON` names it); without it says so and ends.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { JsonObject } from '../src/bundle/json.ts';
import {
  openCompute, portAdapter, preset, readAdapter, readForeign, sequenceSetFromJsonLines, stateFromAdapter, stateFromForeign,
  trajectoryFromStates, transfer, writeForeign,
} from '../src/index.ts';
import type { ForeignFileRead, NetworkState } from '../src/index.ts';
import { formatTable } from '../src/report/table.ts';
import { Random, streams } from '../src/tensor/random.ts';
import { machine } from './measure.ts';
import { PythonPeer } from './python-peer.ts';

const ADAPTER_ITERATIONS = 200;
const methods = ['naive', 'fgmt', 'gmt'] as const;

const { values } = parseArgs({ options: { pairs: { type: 'string', default: '3' }, json: { type: 'boolean', default: false } } });
const pairs = Number(values.pairs);
if (!Number.isInteger(pairs) || pairs < 1) throw new Error('--pairs is an integer of at least 1');

const peer = await PythonPeer.open('adapters.py');
if (peer === undefined) {
  console.error('SKIPPED: this Python has no transformers, peft and torch; PYTHON=… names one that has');
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), 'trajport-adapters-'));
const at = (...names: readonly string[]): string => join(folder, ...names);
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Texts of 6 to 16 letters, 1 … 24; after each letter comes one that the language and the letter tell, nine times of ten. */
function languages(seed: number, shift: number, count: number): string {
  const random = new Random(seed, streams.generatedImages);
  return Array.from({ length: count }, () => {
    const label = random.below(4);
    const letters = [random.below(24)];
    while (letters.length < 6 + random.below(11))
      letters.push(random.below(10) < 9 ? ((letters.at(-1) as number) * 5 + 3 + shift + label) % 24 : random.below(24));
    return `${JSON.stringify({ input_ids: letters.map((letter) => letter + 1), labels: label })}\n`;
  }).join('');
}
for (const [name, seed, shift, count] of [['before', 1, 0, 4000], ['after', 2, 9, 1500], ['test', 3, 9, 2000]] as const)
  writeFileSync(at(`${name}.jsonl`), languages(seed, shift, count));

const graph = preset('distilbert', { input: [16], classes: 4, vocabulary: 25, width: 64, depth: 2, heads: 4, positions: 16 });
const data = sequenceSetFromJsonLines({
  name: 'after', bytes: readFileSync(at('after.jsonl')), length: 16, padding: 0, vocabulary: 25, classes: 4,
});
const read = (...names: readonly string[]): Promise<ForeignFileRead> =>
  readForeign({ name: names.join('/'), bytes: readFileSync(at(...names)) });
using compute = await openCompute();

if (values.json) console.log(JSON.stringify({ bench: 'machine', ...machine(), ...peer.versions }));
else console.log(Object.entries({ ...machine(), ...peer.versions }).map(([name, value]) => `${name} ${value}`).join(', '));

const scores = new Map<string, number[]>();
function note(what: string, pair: number, accuracy: number): void {
  scores.set(what, [...(scores.get(what) ?? []), accuracy]);
  if (values.json) console.log(JSON.stringify({ bench: 'adapters', pair, what, accuracy }));
}

for (let pair = 1; pair <= pairs; pair++) {
  const [v1, v2, lora] = [`v1-${pair}`, `v2-${pair}`, `lora-${pair}`] as const;
  for (const [i, name] of [v1, v2].entries()) await peer.ask('base', at(name), 2 * pair + i, at('before.jsonl'));
  await peer.ask('adapt', at(v1), at(lora), at('after.jsonl'), ADAPTER_ITERATIONS);
  const score = (base: string, adapter: string): Promise<number> => peer.ask<number>('score', at(base), at(adapter), at('test.jsonl'));
  note('on v1, where it was trained', pair, await score(v1, lora));
  note('on v2 as it is', pair, await score(v2, lora));

  const config = JSON.parse(readFileSync(at(lora, 'adapter_config.json'), 'utf8')) as JsonObject;
  const adapter = readAdapter(await read(lora, 'adapter_model.safetensors'), config);
  const [base, next] = [await read(v1, 'model.safetensors'), await read(v2, 'model.safetensors')];
  const start = (file: ForeignFileRead): NetworkState =>
    stateFromForeign(graph, file, [], 'base', { zeroHead: true }).state as NetworkState;
  const target = start(next);
  const source = trajectoryFromStates(graph, [
    { label: 'v1', state: start(base) }, { label: 'adapted', state: (await stateFromAdapter(graph, base, adapter)).state as NetworkState },
  ]);
  for (const method of methods) {
    const result = await transfer({ source, target, data, method, seed: 1, zeroHead: true, compute });
    const ported = await portAdapter({ graph, adapter, base: next, target, result });
    const name = `${method}-${pair}`;
    mkdirSync(at(name));
    const metadata = new Map([['format', 'pt']]);
    const { files } = await writeForeign(ported, { format: 'safetensors', name: 'adapter_model.safetensors', metadata });
    for (const file of files) writeFileSync(at(name, file.name), file.bytes);
    writeFileSync(at(name, 'adapter_config.json'), JSON.stringify(config));
    note(`on v2, ported by ${method === 'naive' ? 'Naive' : method.toUpperCase()}`, pair, await score(v2, name));
  }
}
peer.close();

const percent = (value: number): string => (100 * value).toFixed(0);
if (!values.json)
  console.log(formatTable(
    [{ title: 'the adapter' }, { title: 'right, %', align: 'right' }, { title: 'of each pair' }],
    [...scores].map(([what, list]) => [what, percent(list.reduce((a, b) => a + b) / list.length), list.map(percent).join(', ')]),
  ));
