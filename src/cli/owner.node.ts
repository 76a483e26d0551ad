/** Who a process is, and whether another still lives: for locks, and for the temporary files that name their maker. */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import process from 'node:process';

export interface Owner {
  readonly pid: number;
  readonly host: string;
  /** Among which process numbers `pid` is one: containers have their own, also of one host name. Empty where the system does not tell. */
  readonly namespace: string;
  /** Boot and clock tick of the process's start; empty where the system does not tell. */
  readonly started: string;
}

export function thisProcess(): Owner {
  return { pid: process.pid, host: hostname(), namespace: namespaceHere(), started: startOf(process.pid) };
}

/** A process of another machine or container cannot be asked and counts as alive. */
export function isAlive(owner: Owner): boolean {
  const { pid, started } = owner;
  if (placeOf(owner) !== undefined) return true;
  if (!processExists(pid)) return false;
  const start = startOf(pid);
  return start === '' || started === '' || start === started;
}

/** Where the process is, in words; undefined where it is here, or may be. */
export function placeOf({ host, namespace }: Owner): string | undefined {
  if (host !== hostname()) return `on ${host}`;
  const here = namespaceHere();
  return namespace === '' || here === '' || namespace === here ? undefined : 'of another container';
}

/** What stands for this machine and container in a name. */
export function originHere(): string {
  return createHash('sha256').update(`${hostname()} ${namespaceHere()}`).digest('hex').slice(0, 8);
}

/** Whether a process of this machine and container is there. */
export function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Whoever may not ask (EPERM, Deno without --allow-run) cannot know that it is gone.
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH');
  }
}

function namespaceHere(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

/** Linux says when a process started, in ticks since boot; elsewhere the process number must do. */
function startOf(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const ticks = fields.slice(fields.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${ticks}`;
  } catch {
    return '';
  }
}
