// `npm run package`: writes build/package, what would be published: no dependencies, because esbuild has bundled tfjs and
// fflate into dist/, and therefore with their licence notices.
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureInstalled, root, run } from './setup.mjs';

const at = (...parts) => join(root, ...parts);
const target = at('build', 'package');

export async function writePackage() {
  // tsc writes the declarations, and with binaryen the package is smaller.
  ensureInstalled('check');
  const { buildAll } = await import('./build.mjs');
  rmSync(at('dist'), { recursive: true, force: true });
  const bundled = await buildAll();
  if (run(process.execPath, [at('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.types.json'], { quiet: true }) !== 0) {
    throw new Error('tsc wrote no declarations: what it said is above');
  }
  // tsc copies no hand-written declaration.
  copyFileSync(at('src', 'core', 'wasm-modules.d.ts'), at('dist', 'types', 'core', 'wasm-modules.d.ts'));

  hideTfjsTypes(at('dist', 'types', 'gradient', 'tfjs-entry.d.ts'));

  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  cpSync(at('dist'), join(target, 'dist'), { recursive: true });
  // npm makes it so when it installs, but an installed folder is a link, whose file the next package replaces.
  chmodSync(join(target, 'dist', 'cli.js'), 0o755);
  for (const file of ['README.md', 'LICENSE', 'CHANGELOG.md']) {
    if (existsSync(at(file))) copyFileSync(at(file), join(target, file));
  }
  // What README.md links to, without what trying an example leaves behind.
  const kept = (path) => !/[\\/](node_modules|\.wrangler)$/.test(path);
  for (const folder of ['docs', 'examples']) cpSync(at(folder), join(target, folder), { recursive: true, filter: kept });
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest(), null, 2)}\n`);
  writeFileSync(join(target, 'THIRD-PARTY.txt'), notices(bundled));
  return target;
}

/** tfjs is inside the package but its declarations are not: they stand for private members only, and become opaque. */
function hideTfjsTypes(file) {
  const lines = [];
  for (const [, type, names] of readFileSync(file, 'utf8').matchAll(/export (type )?\{([^}]*)\}/g)) {
    for (const name of names.split(',').map((part) => part.trim().split(' as ').at(-1))) {
      if (type !== undefined) lines.push(`export type ${name} = any;`);
      else if (name === 'BackendWasm')
        lines.push('export declare class BackendWasm { constructor(...parts: any[]); [member: string]: any }');
      else lines.push(`export declare const ${name}: any;`);
    }
  }
  writeFileSync(file, `${lines.join('\n')}\n`);
}

/** The root manifest without what only a checkout needs. */
function manifest() {
  const { name, version, description, license, type, engines, bin, exports, imports } = JSON.parse(
    readFileSync(at('package.json'), 'utf8'),
  );
  const withTypes = (entry, types) => ({ ...entry, types });
  return {
    name,
    version,
    description,
    license,
    type,
    sideEffects: false,
    engines,
    bin,
    exports,
    imports: {
      '#wasm': withTypes(imports['#wasm'], './dist/types/core/wasm-modules.d.ts'),
      '#tfjs': withTypes(imports['#tfjs'], './dist/types/gradient/tfjs-entry.d.ts'),
    },
    keywords: ['learning transfer', 'fine-tuning', 'permutation symmetry', 'gradient matching', 'weight matching', 'safetensors'],
  };
}

/** Licences of what dist/ contains: the packages that esbuild bundled, and the C++ inside tfjs's binary. */
function notices(bundled) {
  const parts = bundled.map((name) => {
    const folder = at('node_modules', name);
    const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((candidate) => /^licen[cs]e/i.test(candidate));
    const text = file === undefined ? fallback(name, license) : readFileSync(join(folder, file), 'utf8').trim();
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  parts.push(XNNPACK);
  return `The files in dist/ contain the following works.\n\n${parts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

/** Some packages ship no licence file: Apache-2.0 is the same text everywhere, seedrandom's stands in its source. */
function fallback(name, license) {
  if (license === 'Apache-2.0') {
    const holder = name.startsWith('@tensorflow/') ? 'Copyright Google LLC. All Rights Reserved.\n\n' : '';
    return holder + readFileSync(at('node_modules', 'long', 'LICENSE'), 'utf8').trim();
  }
  const comment = /\/\*\s*(Copyright[\s\S]*?)\*\//.exec(readFileSync(at('node_modules', name, `${name}.js`), 'utf8'))?.[1];
  if (comment === undefined) throw new Error(`${name} (${license}) brings no licence text`);
  return comment.trim();
}

const XNNPACK = `XNNPACK, compiled into tfjs's binary, of which dist/tfjs.wasm is a part (BSD-3-Clause)

Copyright (c) Facebook, Inc. and its affiliates. All rights reserved.
Copyright 2019 Google LLC

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote products
   derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES;
LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN
CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
`;

if (process.argv[1] === join(root, 'scripts', 'package.mjs')) console.log(await writePackage());
