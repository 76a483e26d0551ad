// Installs what is missing and builds, saying so on stderr only: goes before commands whose stdout is data.
import { ensureBuilt, ensureHosts, ensureInstalled } from './setup.mjs';

ensureInstalled('run');
ensureHosts();
await ensureBuilt();
