/** What a worker of `--workers` runs: `dist/gradient-worker.js`, beside the command line itself. */
import { parentPort } from 'node:worker_threads';
import { serveGradients } from '../index.ts';
import type { NodePort } from '../index.ts';

serveGradients(parentPort as NodePort);
