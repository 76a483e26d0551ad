// Installs what is missing and builds, saying so on stderr only: goes before commands whose stdout is data. Words name what a command
// takes beside trajport itself: `hosts`, the other runtimes; `check`, compilers and test tools. `unbuilt`: it needs no dist/.
import { ensureBuilt, ensureHosts, ensureInstalled } from './setup.mjs';

const words = process.argv.slice(2);
ensureInstalled(words.includes('check') ? 'check' : 'run');
if (words.includes('hosts')) ensureHosts();
if (!words.includes('unbuilt')) await ensureBuilt();
