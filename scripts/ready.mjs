// Installs what is missing and builds, saying so on stderr only: goes before commands whose stdout is data. Words name what a command
// takes beside trajport itself: `hosts`, the other runtimes; `check`, compilers and test tools; `package`, build/package. `unbuilt`: it
// needs no dist/.
import { ensureReady } from './setup.mjs';

await ensureReady(process.argv.slice(2));
