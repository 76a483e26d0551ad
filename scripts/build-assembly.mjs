// Compiles assembly/ to assembly/core.wasm, which is committed so that `npm start` needs no compiler
// (assemblyscript and binaryen weigh 100 MB); `--check` fails when the committed binary is not what the sources give.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(root, 'assembly', 'core.wasm');

export async function compileAssembly() {
  const asc = await import('assemblyscript/asc');
  const outputs = new Map();
  const { error, stderr } = await asc.main(
    [
      'index.ts', '--outFile', 'core.wasm', '-O3', '--converge', '--noAssert', '--runtime', 'stub', '--importMemory',
      '--noExportMemory', '--initialMemory', '1', '--enable', 'simd', '--disable', 'mutable-globals', '--use', 'abort=',
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
  return outputs.get('core.wasm');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const bytes = await compileAssembly();
  if (process.argv.includes('--check')) {
    if (!Buffer.from(bytes).equals(readFileSync(target))) {
      console.error('assembly/core.wasm is not what assembly/ compiles to: run npm run build:assembly and commit it');
      process.exit(1);
    }
  } else {
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(`${target}.tmp`, bytes);
    renameSync(`${target}.tmp`, target);
    console.log(`assembly/core.wasm ${bytes.length} bytes`);
  }
}
