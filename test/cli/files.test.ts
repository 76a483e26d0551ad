/** Reading with caps and writing atomically, on a real disk. */
import {
  chmodSync, lstatSync, mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileError } from '../../src/cli/exit.ts';
import { replaceFileSystem } from '../../src/cli/file-system.node.ts';
import { openRandomAccess, readWhole } from '../../src/cli/read-files.node.ts';
import { prepareOutput, streamAtomically, writeAtomically, writtenPath } from '../../src/cli/write-files.node.ts';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'trajport-files-'))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('writing', () => {
  it('replaces a file as a whole and leaves no other behind', () => {
    const path = join(directory, 'a.bin');
    writeAtomically(path, 'old');
    writeAtomically(path, new Uint8Array([1, 2, 3]));
    expect([...readFileSync(path)]).toEqual([1, 2, 3]);
    expect(readdirSync(directory)).toEqual(['a.bin']);
  });

  it('keeps the old file and removes the temporary one where the new cannot be put in place', () => {
    mkdirSync(join(directory, 'taken', 'inside'), { recursive: true });
    expect(() => writeAtomically(join(directory, 'taken'), 'x')).toThrow(FileError);
    expect(() => writeAtomically(join(directory, 'missing', 'x'), 'x')).toThrow(/no such file/);
    expect(readdirSync(directory)).toEqual(['taken']);
  });

  it.each([
    ['writeAtomically', async (path: string): Promise<void> => writeAtomically(path, 'x')],
    ['streamAtomically', async (path: string): Promise<void> => streamAtomically(path, async (sink) => sink(new Uint8Array(1)))],
  ])('%s: bytes are on the disk before their name is, and the name before it returns', async (_name, write) => {
    const calls: string[] = [];
    const opened = new Map<number, string>();
    const named = (path: string): string => (path === directory ? 'directory' : path.endsWith('.tmp') ? 'temporary' : basename(path));
    const restore = replaceFileSystem((real) => ({
      ...real,
      open: (...args: Parameters<typeof real.open>) => {
        const file = real.open(...args);
        opened.set(file, named(args[0]));
        return file;
      },
      write: (...args: Parameters<typeof real.write>) => {
        calls.push(`write ${opened.get(args[0])}`);
        return real.write(...args);
      },
      sync: (file: number) => {
        calls.push(`sync ${opened.get(file)}`);
        real.sync(file);
      },
      rename: (from: string, to: string) => {
        calls.push(`${named(from)} becomes ${named(to)}`);
        real.rename(from, to);
      },
    }));
    try {
      await write(join(directory, 'a.bin'));
    } finally {
      restore();
    }
    expect(calls).toEqual(['write temporary', 'sync temporary', 'temporary becomes a.bin', 'sync directory']);
  });

  it('writes through a link to the file it names', () => {
    writeFileSync(join(directory, 'real'), 'old');
    symlinkSync(join(directory, 'real'), join(directory, 'link'));
    writeAtomically(join(directory, 'link'), 'new');
    expect(readFileSync(join(directory, 'real'), 'utf8')).toBe('new');
  });

  it('writes through links to what is not there yet: of a link, of a folder on the way, each from where it stands', async () => {
    const at = (...names: string[]): string => join(directory, ...names);
    mkdirSync(at('d', 'e'), { recursive: true });
    symlinkSync('d/e/second', at('first'));
    symlinkSync('../real', at('d', 'e', 'second'));
    symlinkSync('d/new', at('folder'));
    expect([writtenPath(at('first')), writtenPath(at('d', 'e', 'second'))]).toEqual([at('d', 'real'), at('d', 'real')]);
    expect(writtenPath(at('folder', 'x'))).toBe(at('d', 'new', 'x'));
    writeAtomically(at('first'), 'whole');
    await streamAtomically(at('first'), async (sink) => sink(new TextEncoder().encode('pieces')));
    prepareOutput(at('folder', 'x'));
    writeAtomically(at('folder', 'x'), 'x');
    expect(readFileSync(at('d', 'real'), 'utf8')).toBe('pieces');
    expect(readFileSync(at('d', 'new', 'x'), 'utf8')).toBe('x');
    expect([at('first'), at('d', 'e', 'second'), at('folder')].map((link) => lstatSync(link).isSymbolicLink())).toEqual([true, true, true]);
    expect(readdirSync(at('d')).toSorted()).toEqual(['e', 'new', 'real']);
  });

  it('refuses links that lead in a circle, and follows forty', () => {
    for (let i = 0; i < 40; i++) symlinkSync(`${i + 1}`, join(directory, `${i}`));
    expect(writtenPath(join(directory, '0'))).toBe(join(directory, '40'));
    symlinkSync('0', join(directory, '40'));
    expect(() => prepareOutput(join(directory, '0'))).toThrow(/\/0: is a link of too many, or of some that lead in a circle$/);
    expect(readdirSync(directory)).toHaveLength(41);
  });

  const modes = [0o600, 0o640, 0o666, 0o444];
  it.skipIf(process.platform === 'win32').each(modes)('keeps the permissions of a file that is replaced: %i', async (mode) => {
    const path = join(directory, 'private');
    const permissions = (name: string): number => statSync(join(directory, name)).mode & 0o777;
    // Seen while it is written: no reader may open it in between.
    const during: number[] = [];
    const restore = replaceFileSystem((real) => ({
      ...real,
      write: (...args) => {
        during.push(...readdirSync(directory).filter((name) => name.endsWith('.tmp')).map(permissions));
        return real.write(...args);
      },
    }));
    try {
      writeFileSync(path, 'old');
      chmodSync(path, mode);
      writeAtomically(path, 'new');
      await streamAtomically(path, async (sink) => sink(new Uint8Array(3)));
    } finally {
      restore();
    }
    expect({ during, after: permissions('private') }).toEqual({ during: [mode, mode], after: mode });
    writeFileSync(join(directory, 'plain'), '');
    writeAtomically(join(directory, 'fresh'), 'x');
    expect(permissions('fresh')).toBe(permissions('plain'));
  });

  it('takes a large file in pieces, and keeps the old one whatever fails on the way', async () => {
    const path = join(directory, 'a.bin');
    const produce = async (sink: (bytes: Uint8Array) => void): Promise<string> => {
      for (let i = 0; i < 3; i++) {
        sink(new Uint8Array([i]));
        await Promise.resolve();
      }
      return 'done';
    };
    expect(await streamAtomically(path, produce)).toBe('done');
    expect([...readFileSync(path)]).toEqual([0, 1, 2]);
    const interrupted = async (sink: (bytes: Uint8Array) => void): Promise<void> => {
      sink(new Uint8Array(9));
      throw new RangeError('the producer failed');
    };
    await expect(streamAtomically(path, interrupted)).rejects.toThrow(RangeError);
    await expect(streamAtomically(join(directory, 'missing', 'x'), produce)).rejects.toThrow(/no such file/);
    for (let nth = 1; nth <= 3; nth++) {
      let calls = 0;
      const restore = replaceFileSystem((real) => ({
        ...real,
        write: (...args: Parameters<typeof real.write>) => {
          if (++calls === nth) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
          return real.write(...args);
        },
      }));
      await expect(streamAtomically(path, produce)).rejects.toThrow(/a\.bin: cannot be written \(the disk is full\)/);
      restore();
    }
    expect([...readFileSync(path)]).toEqual([0, 1, 2]);
    expect(readdirSync(directory)).toEqual(['a.bin']);
  });

  it('finds out before the work that a result could not be written', () => {
    prepareOutput(join(directory, 'deep', 'er', 'x'));
    expect(() => prepareOutput(directory)).toThrow(/is a directory/);
    expect(() => prepareOutput('/dev/null')).toThrow(/is a device or a pipe/);
    writeFileSync(join(directory, 'file'), '');
    expect(() => prepareOutput(join(directory, 'file', 'x'))).toThrow(FileError);
    // Node's own recursive mkdir never returns from this one.
    if (process.platform === 'linux') expect(() => prepareOutput('/proc/missing/x')).toThrow(/cannot be made/);
    if (process.getuid?.() !== 0) {
      chmodSync(directory, 0o500);
      expect(() => prepareOutput(join(directory, 'x'))).toThrow(/no permission/);
      chmodSync(directory, 0o700);
    }
    expect(readdirSync(join(directory, 'deep', 'er'))).toEqual([]);
  });

  it('says of what cannot be looked at that it cannot be written', () => {
    expect(() => prepareOutput(join(directory, 'x'.repeat(300)))).toThrow(/cannot be written \(its name is too long\)/);
    // A folder that others may not enter; to root every folder is open.
    const denied = Object.assign(new Error('EACCES: permission denied, stat'), { code: 'EACCES' });
    const restore = replaceFileSystem((real) => ({ ...real, status: () => { throw denied; } }));
    try {
      expect(() => prepareOutput(join(directory, 'x'))).toThrow(new FileError(join(directory, 'x'), 'cannot be written (no permission)'));
    } finally {
      restore();
    }
  });
});

describe('reading', () => {
  it('says which file, why, and how much is read at most', () => {
    writeFileSync(join(directory, 'big'), new Uint8Array(3000));
    expect(readWhole(join(directory, 'big'), 3000)).toHaveLength(3000);
    expect(() => readWhole(join(directory, 'big'), 2048)).toThrow(/big: has 2\.9 KiB; at most 2\.0 KiB are read/);
    expect(() => readWhole(join(directory, 'none'), 10)).toThrow(/none: no such file/);
    expect(() => readWhole(directory, 10)).toThrow(/is a folder, where one file is read/);
  });

  it('reads parts of a file, and refuses those beyond its end', async () => {
    writeFileSync(join(directory, 'part'), Uint8Array.from({ length: 100 }, (_, i) => i));
    const file = openRandomAccess(join(directory, 'part'));
    expect(file.byteLength).toBe(100);
    expect([...(await file.read(10, 3))]).toEqual([10, 11, 12]);
    await expect(async () => file.read(98, 3)).rejects.toThrow(/ended at byte 100, 1 bytes early/);
    const aborted = AbortSignal.abort();
    await expect(async () => file.read(0, 1, aborted)).rejects.toThrow(/abort/i);
    file.close();
  });
});
