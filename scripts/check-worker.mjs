// Does the example Worker start as its README says? Installs a copy beside build/package and asks it once under the oldest and
// a newer Node; a refusal or a warning about what is ours fails.
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import { root } from './setup.mjs';

const START_TIMEOUT_MS = 60_000;
const folder = mkdtempSync(join(tmpdir(), 'trajport-worker-'));
const worker = join(folder, 'examples', 'worker');
const hosts = join(root, 'test', 'hosts', 'node_modules');
const nodes = ['node20', 'node22'].map((line) => {
  const name = readdirSync(hosts).find((candidate) => candidate.startsWith(`${line}-`));
  if (name === undefined) throw new Error(`${line} is not in test/hosts`);
  return { line, binary: join(hosts, name, 'bin', 'node') };
});
// Wrangler keeps its settings in the home directory, and would send statistics.
const env = { ...process.env, XDG_CONFIG_HOME: join(folder, 'config'), WRANGLER_SEND_METRICS: 'false', NO_COLOR: '1', CI: '1' };

try {
  cpSync(join(root, 'build', 'package'), join(folder, 'build', 'package'), { recursive: true });
  cpSync(join(folder, 'build', 'package', 'examples'), join(folder, 'examples'), { recursive: true });
  const { status, stdout, stderr } = spawnSync('npm', ['install', '--no-audit', '--no-fund'], { cwd: worker, encoding: 'utf8' });
  if (status !== 0) throw new Error(`npm install failed:\n${stdout}${stderr}`);
  for (const { line, binary } of nodes) {
    const { said, answer } = await ask(binary);
    // Without a network it cannot fetch what Cloudflare says of a request, which is none of ours.
    const warnings = said
      .split('\n')
      .filter((text) => /warn|error/i.test(text) && !/Request\.cf|getaddrinfo|ECONN|fetch failed/.test(text));
    if (answer.service !== 'trajport' || warnings.length > 0) throw new Error(`${line}: ${JSON.stringify(answer)}\n${said}`);
    console.log(`${line}: the example Worker answers`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Starts wrangler, asks what the Worker accepts, stops it; `said` is all that wrangler wrote. */
async function ask(binary) {
  const child = spawn(binary, [join(worker, 'node_modules', 'wrangler', 'bin', 'wrangler.js'), 'dev', '--port', '0'], {
    cwd: worker,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  const closed = new Promise((resolve) => child.on('close', resolve));
  try {
    const url = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`wrangler did not start:\n${said}`)), START_TIMEOUT_MS);
      void closed.then(() => reject(new Error(`wrangler ended:\n${said}`))).finally(() => clearTimeout(late));
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text) => {
          said += text;
          const address = /Ready on (http:\S+)/.exec(said)?.[1];
          if (address !== undefined) resolve(address);
        });
      }
    });
    return { answer: await (await fetch(url)).json(), said };
  } finally {
    // The group: wrangler has workerd as a child.
    if (child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
    await closed;
  }
}
