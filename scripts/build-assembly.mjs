// Compiles assembly/ to two binaries, which are committed so that `npm start` needs no compiler (assemblyscript and binaryen
// weigh 100 MB): core.wasm, all kernels in strict arithmetic, and relaxed.wasm, the products once more with relaxed SIMD. `--check`
// fails when a committed binary is not what the sources give.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const binaries = [
  { file: 'core.wasm', entry: 'index.ts', features: ['simd'] },
  { file: 'relaxed.wasm', entry: 'index-relaxed.ts', features: ['simd', 'relaxed-simd'] },
];

async function compile({ file, entry, features }) {
  const asc = await import('assemblyscript/asc');
  const outputs = new Map();
  const { error, stderr } = await asc.main(
    [
      entry, '--outFile', file, '-O3', '--converge', '--noAssert', '--runtime', 'stub', '--importMemory',
      '--noExportMemory', '--initialMemory', '1', ...features.flatMap((feature) => ['--enable', feature]),
      '--disable', 'mutable-globals', '--use', 'abort=',
    ],
    {
      readFile: (name, base) => {
        try {
          return readFileSync(join(root, 'assembly', base === '.' ? '' : base, name), 'utf8');
        } catch {
          return null;
        }
      },
      writeFile: (name, contents) => void outputs.set(name, contents),
      listFiles: () => [],
    },
  );
  if (error) throw new Error(`assembly does not compile:\n${stderr.toString()}`);
  return outputs.get(file);
}

for (const binary of binaries) {
  const target = join(root, 'assembly', binary.file);
  const bytes = await compile(binary);
  if (process.argv.includes('--check')) {
    if (!Buffer.from(bytes).equals(readFileSync(target))) {
      console.error(`assembly/${binary.file} is not what assembly/ compiles to: run npm run build:assembly and commit it`);
      process.exitCode = 1;
    }
  } else {
    writeFileSync(`${target}.tmp`, bytes);
    renameSync(`${target}.tmp`, target);
    console.log(`assembly/${binary.file} ${bytes.length} bytes`);
  }
}
