/** A loop of a benchmark in WebAssembly, compiled for the occasion: it takes its memory from `env.memory`. */
export async function compiled(name: string, source: string): Promise<WebAssembly.Module> {
  const asc = await import('assemblyscript/asc');
  let binary: Uint8Array<ArrayBuffer> | undefined;
  const { error, stderr } = await asc.main(
    [`${name}.ts`, '--outFile', `${name}.wasm`, '-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--enable', 'simd'],
    {
      readFile: (file) => (file === `${name}.ts` ? source : null),
      writeFile: (file, contents) => {
        if (file === `${name}.wasm`) binary = Uint8Array.from(contents as Uint8Array);
      },
      listFiles: () => [],
    },
  );
  if (error !== null || binary === undefined) throw new Error(`the loop "${name}" does not compile: ${stderr.toString()}`);
  return new WebAssembly.Module(binary);
}
