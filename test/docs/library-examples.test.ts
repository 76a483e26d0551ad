/** The library's examples in docs, as they stand there, in a process of their own. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { transformSync } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  generateTaskPair, initialise, openCompute, parameterLayout, preset, stateToSafetensors, train, writeBundle,
} from '../../src/index.ts';
import { idxImages, idxLabels, root } from '../cli/fixtures.ts';

const examplesOf = (page: string): string[] =>
  [...readFileSync(join(root, 'docs', page), 'utf8').matchAll(/^```[tj]s\n(.*?)^```/gms)].map(([, code]) => code as string);

let folder: string;
const library = pathToFileURL(join(root, 'dist', 'index.js')).href;
/** Runs TypeScript where the files of `beforeAll` are; the imports of several examples may repeat one another. */
function run(...parts: readonly string[]): string {
  const imports = new Set<string>();
  const rest = parts.map((part) => part.replace(/^import .*;.*\n/gm, (line) => (imports.add(line), '')));
  const named = new Map<string, Set<string>>();
  for (const line of imports) {
    const [, names, from] = /^import \{ (.*) \} from '(.*)'/.exec(line) as RegExpExecArray;
    const known = named.get(from as string) ?? new Set();
    named.set(from as string, new Set([...known, ...(names as string).split(', ')]));
  }
  const head = [...named].map(([from, names]) => `import { ${[...names].join(', ')} } from '${from === 'trajport' ? library : from}';`);
  const { code } = transformSync([...head, ...rest].join('\n'), { loader: 'ts', target: 'node20', format: 'esm' });
  writeFileSync(join(folder, 'example.mjs'), code);
  return execFileSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8' }).trim();
}

const DATA = `
import { readFileSync } from 'node:fs';
import { imageSetFromIdx } from 'trajport';
const data = await imageSetFromIdx({ name: 'b', images: readFileSync('images'), labels: readFileSync('labels') });
`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'trajport-examples-'));
  using compute = await openCompute();
  const { before } = generateTaskPair(compute.core, { seed: 1, trainCount: 200, testCount: 10 });
  const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [512] });
  const { checkpoints } = await train({ graph, data: before.train, seed: 1, epochs: 1, compute });
  const states = [checkpoints[0], checkpoints[1], { state: initialise(compute.core, graph, { seed: 2 }) }];
  for (const [i, name] of ['v1.pt', 'v1-fine-tuned.pt', 'v2.pt'].entries()) {
    // A file is known by its bytes.
    const { state } = states[i] as NonNullable<(typeof states)[0]>;
    writeFileSync(join(folder, name), stateToSafetensors(parameterLayout(graph), state));
  }
  writeFileSync(join(folder, 'images'), idxImages(200, 28, 28, before.train.images));
  writeFileSync(join(folder, 'labels'), idxLabels(before.train.labels));
  const renamed = checkpoints.map((one) => ({ ...one, label: one.label.replace('epoch-1', 'epoch-10') }));
  writeFileSync(join(folder, 'fine-tune.zip'), await writeBundle({ graph, checkpoints: renamed }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('docs/formats.md: there and back again', () => {
  const [there, back] = examplesOf('formats.md') as [string, string];
  const port =
    "import { transfer } from 'trajport';\n" +
    "const result = await transfer({ source, target, data, method: 'naive', seed: 1, stopRule: 'last' });\n";
  const said = run(DATA, there, port, back, "console.log(result.record.sha256);");
  const written = readFileSync(join(folder, 'v2-ported.safetensors'));
  // What Hugging Face asks for is in the header, so the hash is not that of the record.
  expect(said).not.toBe(createHash('sha256').update(written).digest('hex'));
  const headerBytes = Number(written.readBigUInt64LE(0));
  expect(JSON.parse(written.toString('utf8', 8, 8 + headerBytes))).toMatchObject({
    __metadata__: { format: 'pt' }, 'linear1.weight': { shape: [512, 784] },
  });
  // Naive's last step is v2 with all of v1's change.
  const [v1, tuned, v2, ported] = ['v1.pt', 'v1-fine-tuned.pt', 'v2.pt', 'v2-ported.safetensors'].map((name) => {
    const bytes = readFileSync(join(folder, name));
    return new Float32Array(Uint8Array.from(bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)))).buffer);
  }) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const off = ported.map((value, i) => Math.abs(value - ((v2[i] as number) + (tuned[i] as number) - (v1[i] as number))));
  expect(off).toHaveLength(407_050);
  expect(off.reduce((most, one) => Math.max(most, one), 0)).toBeLessThan(1e-6);
});

it('docs/formats.md: labelled texts', () => {
  const [, , example] = examplesOf('formats.md') as [string, string, string];
  const lines = [...readFileSync(join(root, 'docs', 'cli.md'), 'utf8').matchAll(/^\{"tokens".*\}$/gm)].map(([line]) => line);
  writeFileSync(join(folder, 'reviews.jsonl'), lines.join('\n'));
  const check =
    "import { predict } from 'trajport';\n" +
    "await predict({ graph, state: {}, data }).catch(({ message }) => console.log(message));\n";
  // Graph and data fit: what is missing are weights.
  expect(run(example, check, 'console.log(data.count, data.labels.join());')).toMatch(/^state.*\n2 1,0$/);
});

it('docs/resume.md: goes on from the point in the file, and to the same weights', () => {
  const [example] = examplesOf('resume.md') as [string];
  const graph =
    "import { preset, stateSha256 } from 'trajport';\n" +
    "const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [16] });\n";
  const hash = 'console.log(await stateSha256(graph, state));\n';
  const whole = run(DATA, graph, example, hash);
  expect(whole).toMatch(/^[0-9a-f]{64}$/);
  expect(existsSync(join(folder, 'job.resume'))).toBe(true);
  const again = run(DATA, graph, example, hash).split('\n');
  expect(again).toEqual(['continued from 60 of 60', whole]);
});

it('docs/format.md: a checkpoint from a bucket', () => {
  const [example] = examplesOf('format.md') as [string];
  const bucket = `
import { readFileSync } from 'node:fs';
const bytes = readFileSync('fine-tune.zip');
const get = async (key, { range }) => {
  const begin = range.offset ?? bytes.length - range.suffix;
  return { size: bytes.length, etag: 'e', body: new Blob([bytes.subarray(begin, begin + (range.length ?? range.suffix))]).stream() };
};
const env = { BUCKET: { get } };
`;
  expect(run(bucket, example, "console.log(state.parameters.get('linear1.weight').shape.join());")).toBe('512,784');
});

it('docs/gradient.md: two workers, and the bytes of none', () => {
  const [worker, example] = examplesOf('gradient.md') as [string, string];
  const served = worker.replace("'trajport'", JSON.stringify(library)).replace('(self)', '(parentPort)');
  writeFileSync(join(folder, 'gradient-worker.js'), `import { parentPort } from 'node:worker_threads';\n${served}`);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const [there] = examplesOf('formats.md') as [string];
  const said = run(
    DATA, there, "import { Worker } from 'node:worker_threads';\n", example,
    "const alone = await transfer({ source, target, data, method: 'fgmt', seed: 1 });\n",
    'console.log(workers.size, result.record.sha256 === alone.record.sha256);\n',
  );
  expect(said).toBe('2 true');
});
