/** How running something in a host fails, and the face that every kind of host shows to the launcher. */
import type { Host } from './hosts.ts';
import type { WireError } from './wire.ts';

export type FailureKind =
  | 'absent' // the host is not installed
  | 'threw' // the entry threw; `remote` is its error
  | 'timeout' // no answer in time; the host was killed
  | 'crash'; // the host ended or refused to load the entry

export class HostFailure extends Error {
  readonly host: Host;
  readonly kind: FailureKind;
  readonly remote: WireError | undefined;

  constructor(host: Host, kind: FailureKind, message: string, remote?: WireError) {
    super(`${host} ${kind}: ${remote === undefined ? message : `${remote.name}: ${message}\n${remote.stack}`}`);
    this.name = 'HostFailure';
    this.host = host;
    this.kind = kind;
    this.remote = remote;
  }
}

/** A started host. `send` rejects with a HostFailure of kind `crash` when the host is gone. */
export interface Transport {
  /** Scratch folder, removed by the launcher after `kill`. */
  readonly folder: string;
  send(requestText: string): Promise<string>;
  kill(): Promise<void>;
}
