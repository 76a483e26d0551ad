// Two generations of resume points on disk, with damage and failing disks; what whole jobs make of it: test/survival.
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { replaceFileSystem } from '../../src/cli/file-system.node.ts';
import { ResumeFile } from '../../src/cli/resume.node.ts';
import { encodeResumePoint } from '../../src/transfer/resume.ts';

let directory: string;
let path: string;
let warnings: string[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-points-'));
  path = join(directory, 'out.resume');
  warnings = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const open = (): ResumeFile => new ResumeFile(path, (text) => warnings.push(text));
const point = (done: number): Promise<Uint8Array> =>
  encodeResumePoint(
    { kind: 'train', settings: { seed: 1 }, inputs: {} },
    { done, facts: null, arrays: new Map([['a', Float32Array.of(done)]]) },
  );
const plain = (points: readonly Uint8Array[]): number[][] => points.map((bytes) => [...bytes]);

it('keeps the newest point and the one before it, and removes both', async () => {
  const store = open();
  expect(await store.load()).toEqual([]);
  const points = [await point(1), await point(2), await point(3)];
  for (const [i, bytes] of points.entries()) await store.save(bytes, i + 1);
  expect(readdirSync(directory).toSorted()).toEqual(['out.resume', 'out.resume.previous']);
  expect(plain(await open().load())).toEqual(plain([points[2]!, points[1]!]));
  store.remove();
  store.remove();
  expect(readdirSync(directory)).toEqual([]);
});

it('a damaged newest point gives way to the one before it, which no later point then overwrites', async () => {
  const store = open();
  const [one, two, three] = [await point(1), await point(2), await point(3)];
  await store.save(one, 1);
  await store.save(two, 2);
  writeFileSync(path, readFileSync(path).subarray(0, 100));
  const resumed = open();
  expect(plain(await resumed.load())).toEqual(plain([one]));
  expect(warnings.join()).toContain('damaged');
  await resumed.save(three, 3);
  expect(plain(await open().load())).toEqual(plain([three, one]));
});

it('a point that cannot be written costs one warning, and the one before it stays', async () => {
  const store = open();
  const one = await point(1);
  await store.save(one, 1);
  const restore = replaceFileSystem((real) => ({
    ...real,
    write: () => {
      throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    },
  }));
  try {
    await store.save(await point(2), 2);
    await store.save(await point(3), 3);
  } finally {
    restore();
  }
  expect(warnings).toEqual([expect.stringMatching(/out\.resume: cannot be written \(the disk is full\); the job goes on$/)]);
  expect(store.done).toBe(1);
  expect(plain(await open().load())).toEqual(plain([one]));
  expect(readdirSync(directory)).toEqual(['out.resume']);
});

it('wants points rarely when writing them takes long, and soon when the clock jumps', async () => {
  const { now } = performance;
  let time = 1000;
  performance.now = () => time;
  const restore = replaceFileSystem((real) => ({ ...real, sync: (file) => ((time += 50), real.sync(file)) }));
  try {
    const store = open();
    expect(store.due()).toBe(true);
    await store.save(await point(1), 1);
    // Two syncs of 50 ms: the next after two seconds.
    time += 1900;
    expect(store.due()).toBe(false);
    time += 100;
    expect(store.due()).toBe(true);
    time -= 86_400_000;
    expect(store.due()).toBe(true);
  } finally {
    restore();
    performance.now = now;
  }
});

it('never removes what is no resume point: refused before a new job, left with a note behind one', async () => {
  const store = open();
  await store.save(await point(1), 1);
  for (const other of [path, `${path}.previous`]) {
    writeFileSync(other, 'PK\u0003\u0004 somebody\'s bundle');
    expect(() => store.requireOwn()).toThrow(`${other}: is no resume point, and would be replaced by one`);
    warnings = [];
    store.remove();
    expect(warnings).toEqual([`${other} is no resume point, and stays`]);
    expect(readdirSync(directory)).toEqual([basename(other)]);
    rmSync(other);
    // An empty file is nobody's, and what a disk may leave of a point.
    writeFileSync(other, '');
    store.requireOwn();
    store.remove();
    expect(readdirSync(directory)).toEqual([]);
  }
});
