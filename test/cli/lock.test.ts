/** Locks: whose file they may remove, and who of several gets one that is stale. Between processes: resume.test.ts. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileError } from '../../src/cli/exit.ts';
import { replaceFileSystem } from '../../src/cli/file-system.node.ts';
import type { FileSystem } from '../../src/cli/file-system.node.ts';
import { removeLeftovers } from '../../src/cli/leftovers.node.ts';
import { lockOutputs } from '../../src/cli/lock.node.ts';
import { originHere, thisProcess } from '../../src/cli/owner.node.ts';
import { LockedError } from '../../src/core/errors.ts';

let directory: string;
let output: string;
let lock: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-lock-'));
  output = join(directory, 'out');
  lock = `${output}.lock`;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const owned = (pid: number): string => JSON.stringify({ pid, host: hostname(), started: '' });
const STALE = owned(2 ** 22 + 1);
/** Of a process that lives as long as this one: whoever started it. */
const ALIVE = owned(process.ppid);

it.each([
  ['text', 'precious\n'],
  ['nothing', ''],
  ['a number', '12345'],
  ['null', 'null'],
  ['other fields', '{"pid":1,"host":"x"}'],
  ['much', ' '.repeat(5000)],
])('a file of %s at its name is refused and stays', (_, content) => {
  writeFileSync(lock, content);
  expect(() => lockOutputs([output])).toThrow(FileError);
  expect(readFileSync(lock, 'utf8')).toBe(content);
  expect(readdirSync(directory)).toEqual(['out.lock']);
});

it('so are a directory and a link to nothing', () => {
  mkdirSync(lock);
  expect(() => lockOutputs([output])).toThrow(FileError);
  rmSync(lock, { recursive: true });
  symlinkSync('nowhere', lock);
  expect(() => lockOutputs([output])).toThrow(/is none of trajport/);
});

it.each([
  ['released', (locked: Disposable) => locked[Symbol.dispose]()],
  ['interrupted', removeLeftovers],
])('is left to another that took its place when %s', (_, end) => {
  const locked = lockOutputs([output]);
  writeFileSync(lock, ALIVE);
  end(locked);
  expect(readFileSync(lock, 'utf8')).toBe(ALIVE);
  rmSync(lock);
  end(lockOutputs([output]));
  expect(readdirSync(directory)).toEqual([]);
});

it('a stale one is taken over as a whole, whatever a killed taker left', () => {
  for (const left of [[lock], [lock, `${lock}.lock`], [lock, `${lock}.lock`, `${lock}.lock.lock`]]) {
    for (const path of left) writeFileSync(path, STALE);
    writeFileSync(join(directory, `.out.lock.lock.${originHere()}.${2 ** 22 + 1}.0.tmp`), '');
    const locked = lockOutputs([output]);
    expect(JSON.parse(readFileSync(lock, 'utf8'))).toMatchObject({ pid: process.pid });
    expect(readdirSync(directory)).toEqual(['out.lock']);
    locked[Symbol.dispose]();
    expect(readdirSync(directory)).toEqual([]);
  }
});

it('of two that find a stale one at any moment, one has it, and never loses it', () => {
  let taken = 0;
  for (let moment = 1; ; moment++) {
    writeFileSync(lock, STALE);
    let calls = 0;
    let placed = false;
    const violations: number[] = [];
    const before = (): void => {
      calls++;
      if (placed && (!existsSync(lock) || readFileSync(lock, 'utf8') !== ALIVE)) violations.push(calls);
      // The other takes over as we do: only a lock that is stale or gone, and not while somebody holds the lock of the lock.
      if (calls !== moment || existsSync(`${lock}.lock`) || (existsSync(lock) && readFileSync(lock, 'utf8') !== STALE)) return;
      writeFileSync(join(directory, 'other'), ALIVE);
      renameSync(join(directory, 'other'), lock);
      placed = true;
    };
    const restore = replaceFileSystem((real) => ({
      ...real,
      open: (...args) => (before(), real.open(...args)),
      link: (...args) => (before(), real.link(...args)),
      rename: (...args) => (before(), real.rename(...args)),
      unlink: (...args) => (before(), real.unlink(...args)),
    }));
    let locked: Disposable | undefined;
    let error: unknown;
    try {
      locked = lockOutputs([output]);
    } catch (thrown) {
      error = thrown;
    }
    restore();
    expect({ moment, violations, ours: locked !== undefined }).toEqual({ moment, violations: [], ours: !placed });
    if (placed) expect(error).toBeInstanceOf(LockedError);
    locked?.[Symbol.dispose]();
    taken += placed ? 1 : 0;
    rmSync(lock, { force: true });
    expect(readdirSync(directory)).toEqual([]);
    if (calls < moment) break;
  }
  expect(taken).toBeGreaterThan(2);
});

/** As a run in another container of this host name, or on another machine, leaves it: its process number is nobody's here. */
it.skipIf(thisProcess().namespace === '').each([
  ['of another container', { ...thisProcess(), namespace: 'pid:[1]' }],
  ['on elsewhere', { ...thisProcess(), host: 'elsewhere' }],
] as const)('one of a process %s stays, and its temporary files do', (place, owner) => {
  const theirs = JSON.stringify({ ...owner, pid: 2 ** 22 + 1 });
  writeFileSync(lock, theirs);
  expect(() => lockOutputs([output])).toThrow(new RegExp(`got process ${2 ** 22 + 1} ${place}`));
  expect(readFileSync(lock, 'utf8')).toBe(theirs);
  // Their next one is about to be made.
  rmSync(lock);
  const temporary = join(directory, `.out.lock.00000000.${2 ** 22 + 1}.0.tmp`);
  writeFileSync(temporary, theirs);
  lockOutputs([output])[Symbol.dispose]();
  expect(readdirSync(directory)).toEqual([basename(temporary)]);
});

it('temporary files of another process that is still there stay', () => {
  const [theirs, gone] = [process.ppid, 2 ** 22 + 1].map((pid) => `.out.${originHere()}.${pid}.0.tmp`) as [string, string];
  for (const name of [theirs, gone]) writeFileSync(join(directory, name), '');
  lockOutputs([output])[Symbol.dispose]();
  expect(readdirSync(directory)).toEqual([theirs]);
});

describe('without hard links', () => {
  const linkless = (code: string, more: (real: FileSystem) => Partial<FileSystem> = () => ({})): (() => void) =>
    replaceFileSystem((real) => ({
      ...real,
      link: () => {
        throw Object.assign(new Error(`${code}: injected`), { code });
      },
      ...more(real),
    }));

  it.each([
    'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EISDIR',
  ])('%s: a lock is made, kept from others, taken over when stale and released', (code) => {
    const restore = linkless(code);
    try {
      const locked = lockOutputs([output]);
      expect(JSON.parse(readFileSync(lock, 'utf8'))).toMatchObject({ pid: process.pid });
      expect(readdirSync(directory)).toEqual(['out.lock']);
      locked[Symbol.dispose]();
      expect(readdirSync(directory)).toEqual([]);
      writeFileSync(lock, ALIVE);
      expect(() => lockOutputs([output])).toThrow(LockedError);
      expect(readFileSync(lock, 'utf8')).toBe(ALIVE);
      writeFileSync(lock, STALE);
      lockOutputs([output])[Symbol.dispose]();
      expect(readdirSync(directory)).toEqual([]);
    } finally {
      restore();
    }
  });

  it.each([0, 10, ALIVE.length - 1])('a lock of which another has written %d bytes is waited for, and then its', (bytes) => {
    writeFileSync(lock, ALIVE.slice(0, bytes));
    let looks = 0;
    const restore = linkless('EPERM', (real) => ({
      open: (path, flags) => {
        // The other is done by the third look.
        if (path === lock && flags === 'wx' && ++looks === 3) writeFileSync(lock, ALIVE);
        return real.open(path, flags);
      },
    }));
    try {
      expect(() => lockOutputs([output])).toThrow(LockedError);
    } finally {
      restore();
    }
    expect({
      looks, left: readFileSync(lock, 'utf8'), names: readdirSync(directory),
    }).toEqual({ looks: 3, left: ALIVE, names: ['out.lock'] });
  });

  it('a disk that is full meanwhile leaves no lock', () => {
    const restore = linkless('EPERM', (real) => {
      let ofLock: number | undefined;
      return {
        open: (path, flags) => {
          const file = real.open(path, flags);
          if (path === lock) ofLock = file;
          return file;
        },
        write: (file, ...rest) => {
          if (file === ofLock) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
          return real.write(file, ...rest);
        },
      };
    });
    try {
      expect(() => lockOutputs([output])).toThrow(/out\.lock: cannot be written \(the disk is full\)/);
    } finally {
      restore();
    }
    expect(readdirSync(directory)).toEqual([]);
  });
});
