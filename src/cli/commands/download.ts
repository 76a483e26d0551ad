/** `trajport download`: the official image files, each checked against its SHA-256 before it gets its name. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { IntegrityError } from '../../core/errors.ts';
import { sha256Hex } from '../../core/sha256.ts';
import { gunzip } from '../../data/gzip.ts';
import { officialFiles } from '../../data/official-files.ts';
import type { OfficialFile } from '../../data/official-files.ts';
import { readTar } from '../../data/tar.ts';
import { formatBytes } from '../../report/text.ts';
import { defineCommand } from '../command.ts';
import type { Context } from '../command.ts';
import { UsageError, exitCodes } from '../exit.ts';
import { fetchFile } from '../fetch-file.ts';
import { readWhole } from '../read-files.node.ts';
import { writeAtomically } from '../write-files.node.ts';
import { nearestName } from '../../core/nearest-name.ts';

/** Largest file or archive content: CIFAR-10's archive has 170 MB and unpacks to 184 MB. */
const LIMIT_BYTES = 256 * 2 ** 20;

const names = [...new Set(officialFiles.map(({ dataset }) => dataset as string))];

const options = {
  to: { kind: 'string', metavar: 'DIR', default: 'images', help: 'the folder that gets one folder a data set' },
  mirror: { kind: 'string', metavar: 'URL', help: 'fetch from URL + file name instead (the hashes stay)' },
} as const;

export const download = defineCommand({
  name: 'download',
  computes: false,
  summary: `fetch the official files of ${names.join(', ')}, checking SHA-256`,
  positionals: names.map(() => ({ name: 'SET?' })),
  options,
  examples: [
    {
      say: "both data sets of the paper's smallest experiment, 42 MB (what no SET means)",
      run: 'trajport download mnist fashion-mnist --to images',
    },
    { say: 'then the demo on them', run: 'trajport demo --data images' },
    { say: 'CIFAR, 170 MB each, unpacked into a folder for --data', run: 'trajport download cifar10 cifar100 --to images' },
  ],
  notes: ['Files that are there with the right hash are not fetched again.'],
  async run(context, values, wanted) {
    const { output, claim } = context;
    const chosen = wanted.length === 0 ? ['mnist', 'fashion-mnist'] : [...new Set(wanted)];
    for (const name of chosen) {
      if (names.includes(name)) continue;
      const nearest = nearestName(name, names);
      throw new UsageError(
        `there is no data set ${JSON.stringify(name)} to download; there are ${names.join(', ')}`,
        nearest && `trajport download ${nearest}`,
      );
    }
    for (const file of officialFiles.filter(({ dataset }) => chosen.includes(dataset))) {
      const path = join(values.to, file.dataset, file.file);
      const members = (file.members ?? []).map((member) => ({
        member,
        path: join(values.to, file.dataset, member.split('/').at(-1) as string),
      }));
      claim([path, ...members.map((member) => member.path)].map((one) => ({ by: '--to', path: one })));
      const urls =
        values.mirror === undefined ? file.urls : [(values.mirror.endsWith('/') ? values.mirror : `${values.mirror}/`) + file.file];
      const present = existsSync(path) ? await whenRight(path, file) : undefined;
      const bytes = present ?? (await fetchChecked(context, urls, file));
      if (present === undefined) writeAtomically(path, bytes);
      output.text(`${present === undefined ? 'fetched' : 'have   '} ${path}  ${formatBytes(bytes.length)}`);
      output.record({ event: 'file', path, sha256: file.sha256, bytes: bytes.length, fetched: present === undefined });
      if (members.length > 0) await unpack(context, members, file, bytes);
    }
    output.record({ event: 'result', command: 'download', sets: chosen, to: values.to });
    return exitCodes.ok;
  },
});

/** The file's bytes where its hash is right; anything else there is fetched anew and replaced. */
async function whenRight(path: string, { sha256 }: OfficialFile): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const bytes = readWhole(path, LIMIT_BYTES);
  return (await sha256Hex(bytes)) === sha256 ? bytes : undefined;
}

async function unpack(
  { output, signal }: Context,
  members: readonly { readonly member: string; readonly path: string }[],
  file: OfficialFile,
  archive: Uint8Array,
): Promise<void> {
  const entries = readTar(file.file, await gunzip(file.file, archive, LIMIT_BYTES));
  for (const { member, path } of members) {
    signal.throwIfAborted();
    const bytes = entries.get(member);
    if (bytes === undefined) throw new IntegrityError({ field: file.file, expected: `an entry ${member}`, got: 'none' });
    writeAtomically(path, bytes);
    output.text(`        ${path}  ${formatBytes(bytes.length)}`);
    output.record({ event: 'file', path, bytes: bytes.length, fetched: false });
  }
}

/** @throws NetworkError when no mirror answers, IntegrityError when what came is not the official file. */
async function fetchChecked({ output, signal }: Context, urls: readonly string[], file: OfficialFile): Promise<Uint8Array<ArrayBuffer>> {
  const maximumBytes = file.bytes ?? LIMIT_BYTES;
  let failure: unknown;
  for (const url of urls) {
    try {
      const bytes = await fetchFile(url, {
        signal, maximumBytes, onProgress: (done, total) => output.progress(file.file, done, file.bytes ?? total ?? maximumBytes, {}),
      });
      const sha256 = await sha256Hex(bytes);
      if (sha256 === file.sha256) return bytes;
      failure = new IntegrityError({ field: url, expected: `SHA-256 ${file.sha256}`, got: sha256 });
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  throw failure;
}
