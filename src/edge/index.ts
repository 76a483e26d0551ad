/// <reference lib="esnext.disposable" preserve="true" />
/** The door for fetch-style runtimes: Workers, Deno.serve, Bun.serve, service workers. */
export { createTransferHandler } from './handler.ts';
export type { TransferHandlerOptions } from './caps.ts';
