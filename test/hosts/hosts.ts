/**
 * The runtimes that trajport promises, where their binaries are, and which are here.
 * All but Chromium come from npm (`test/hosts/package.json`): platform packages that hold just a binary, so nothing
 * depends on install scripts.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './root.ts';

export const hosts = ['node20', 'node22', 'node24', 'deno', 'bun', 'workerd', 'chromium'] as const;
export type Host = (typeof hosts)[number];

export type HostStatus =
  | { readonly host: Host; readonly available: true; readonly binary: string; readonly version: string }
  | { readonly host: Host; readonly available: false; readonly reason: string };

/** Set by CI: a host that is not there is then a failure, not a skip. */
export const requireAllHosts = process.env['TRAJPORT_REQUIRE_ALL_HOSTS'] === '1';

export function isHost(name: string): name is Host {
  return (hosts as readonly string[]).includes(name);
}

const known = new Map<Host, HostStatus>();

/** Looks for a host's binary and asks it its version; the answer is kept for the life of the process. */
export function hostStatus(host: Host): HostStatus {
  let status = known.get(host);
  if (status === undefined) known.set(host, (status = look(host)));
  return status;
}

export function availableHosts(): HostStatus[] {
  return hosts.map(hostStatus);
}

function look(host: Host): HostStatus {
  const candidates = binaries(host);
  const reasons: string[] = [];
  for (const binary of candidates) {
    if (!isExecutable(binary)) continue;
    const { stdout, status, error } = spawnSync(binary, ['--version'], { encoding: 'utf8', timeout: 30_000 });
    // node: v22.1.0 · deno: deno 2.9.5 (…) · bun: 1.4.5 · workerd: workerd 2026-10-23 · chromium: Chromium 156.0…
    const version = status === 0 ? /\d+[.-]\d+[.-][\d.]+/.exec(stdout)?.[0] : undefined;
    if (version !== undefined) return { host, available: true, binary, version };
    reasons.push(`${binary} does not run here (${error?.message ?? `exit status ${status}`})`);
  }
  const advice = host === 'chromium' ? "install Debian's package chromium, or set TRAJPORT_CHROMIUM" : 'npm ci in test/hosts';
  return {
    host,
    available: false,
    reason: reasons.join('; ') || `no binary for ${process.platform} ${process.arch} (${advice})`,
  };
}

function binaries(host: Host): string[] {
  const installed = (...parts: string[]): string => join(root, 'test', 'hosts', 'node_modules', ...parts);
  const { platform, arch } = process;
  switch (host) {
    case 'node20':
    case 'node22':
    case 'node24': {
      const paths = [installed(`${host}-${platform}-${arch}`, 'bin', 'node')];
      // Without a package for this platform, the Node that runs us will do when it is of that line.
      if (process.versions['bun'] === undefined && process.versions.node.startsWith(`${host.slice(4)}.`)) paths.push(process.execPath);
      return paths;
    }
    case 'deno':
      return [installed('@deno', `${platform}-${arch}${platform === 'linux' ? '-glibc' : ''}`, 'deno')];
    case 'bun':
      return [installed('@oven', `bun-${platform}-${arch === 'arm64' ? 'aarch64' : arch}`, 'bin', 'bun')];
    case 'workerd':
      return [installed('@cloudflare', `workerd-${platform}-${arch === 'x64' ? '64' : arch}`, 'bin', 'workerd')];
    case 'chromium': {
      const given = process.env['TRAJPORT_CHROMIUM'];
      if (given !== undefined) return [given];
      const folders = (process.env['PATH'] ?? '').split(delimiter);
      return ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) => folders.map((folder) => join(folder, name)));
    }
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
