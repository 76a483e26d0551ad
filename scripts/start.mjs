// `npm start`: the main job on the embedded default, from a fresh clone with only Node and npm.
import { join } from 'node:path';
import { ensureBuilt, ensureInstalled, root, run } from './setup.mjs';

ensureInstalled('run');
await ensureBuilt();
process.exit(run(process.execPath, [join(root, 'dist', 'cli.js'), 'demo', ...process.argv.slice(2)]));
