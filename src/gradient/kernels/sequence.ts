/** Norms and softmax over features, tokens and their tables: thin wrappers of `assembly/{row-norm,exponential,token}.ts`. */
import type { TensorInfo } from '#tfjs';
import {
  defineGradient, defineKernel, outputLike, required, run, runAll, sizeOf, sumInDoubles, together, type KernelCall,
} from './support.ts';

/** [.., columns] as [rows, columns]. */
function matrixOf(x: TensorInfo): readonly [number, number] {
  const columns = x.shape.at(-1) ?? 1;
  return [sizeOf(x) / columns, columns];
}

function registerNorm(): void {
  // {x, scale, shift?}, {epsilon, centre}
  defineKernel('RowNorm', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const shift = call.inputs['shift'];
    const y = backend.makeOutput(x.shape, 'float32');
    backend.core.kernels.rowNormF32(
      backend.pointer(x), backend.pointer(y), ...matrixOf(x), backend.pointer(required(call, 'scale')),
      shift === undefined ? 0 : backend.pointer(shift), call.attrs['epsilon'] as number, Number(call.attrs['centre']),
    );
    return y;
  });
  // → [dx, gradient of scale, gradient of shift]
  defineKernel('RowNormGrad', (call) => {
    const { backend } = call;
    const { core } = backend;
    const x = required(call, 'x');
    const [rows, columns] = matrixOf(x);
    const dScale = backend.makeOutput([columns], 'float32');
    const dShift = backend.makeOutput([columns], 'float32');
    const dy = required(call, 'dy');
    const dx = outputLike(call, dy);
    core.scoped((scratch) => {
      const sums = scratch.f64(2 * columns, 'sums of a norm');
      core.f64(sums, 2 * columns).fill(0);
      core.kernels.rowNormGradientF32(
        backend.pointer(dy), backend.pointer(x), backend.pointer(dx), rows, columns, backend.pointer(required(call, 'scale')),
        call.attrs['epsilon'] as number, Number(call.attrs['centre']), sums,
      );
      core.f32(backend.pointer(dScale), columns).set(core.f64(sums, columns));
      core.f32(backend.pointer(dShift), columns).set(core.f64(sums + 8 * columns, columns));
    });
    return [dx, dScale, dShift];
  });
  defineGradient('RowNorm', {
    inputs: ['x', 'scale'],
    gradient: (dy, [x, scale], { epsilon, centre, gradientInPlace }) => {
      const result = together(() => runAll('RowNormGrad', { dy, x, scale }, { epsilon, centre, inPlace: gradientInPlace }));
      return { x: result(0), scale: result(1), shift: result(2) };
    },
  });
}

function registerSoftmax(): void {
  defineKernel('SoftmaxRows', (call) => {
    const x = required(call, 'x');
    const y = outputLike(call, x);
    call.backend.core.kernels.softmaxF32(call.backend.pointer(x), call.backend.pointer(y), ...matrixOf(x));
    return y;
  });
  defineKernel('SoftmaxRowsGrad', (call) => {
    const { backend } = call;
    const dy = required(call, 'dy');
    const dx = outputLike(call, dy);
    const yPtr = backend.pointer(required(call, 'y'));
    backend.core.kernels.softmaxGradientF32(backend.pointer(dy), yPtr, backend.pointer(dx), ...matrixOf(dy));
    return dx;
  });
  defineGradient('SoftmaxRows', {
    outputs: [true],
    gradient: (dy, [y], { gradientInPlace }) => ({ x: () => run('SoftmaxRowsGrad', { dy, y }, { inPlace: gradientInPlace }) }),
  });
}

function registerScale(): void {
  // y = x · scale over the last axis.
  defineKernel('ScaleFeatures', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const y = outputLike(call, x);
    backend.core.kernels.multiplyRowF32(backend.pointer(x), backend.pointer(required(call, 'scale')), backend.pointer(y), ...matrixOf(x));
    return y;
  });
  // Σ a · b over all but the last axis, as `shape`.
  defineKernel('ProductSums', (call) => {
    const { backend } = call;
    const [a, b] = [required(call, 'a'), required(call, 'b')];
    const [rows, columns] = matrixOf(a);
    const out = backend.makeOutput(call.attrs['shape'] as number[], 'float32');
    sumInDoubles(backend, backend.pointer(out), columns, (sums) =>
      backend.core.kernels.columnProductSumsF32(backend.pointer(a), backend.pointer(b), rows, columns, sums),
    );
    return out;
  });
  defineGradient('ScaleFeatures', {
    inputs: ['x', 'scale'],
    gradient: (dy, [x, scale], { gradientInPlace }) => ({
      scale: () => run('ProductSums', { a: dy, b: x }, { shape: scale?.shape }),
      x: () => run('ScaleFeatures', { x: dy, scale }, { inPlace: gradientInPlace }),
    }),
  });
}

function registerTables(): void {
  // {x, table}, {columns}: adds the first `columns` numbers of the table to every so many of x.
  defineKernel('AddRows', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const columns = call.attrs['columns'] as number;
    const y = outputLike(call, x);
    const tablePtr = backend.pointer(required(call, 'table'));
    backend.core.kernels.addRowF32(backend.pointer(x), tablePtr, backend.pointer(y), sizeOf(x) / columns, columns);
    return y;
  });
  defineGradient('AddRows', {
    inputs: ['table'],
    gradient: (dy, [table], { columns }) => ({
      table: () => run('ColumnSums', { x: dy }, { columns, shape: table?.shape }),
      x: () => run('Identity', { x: dy }),
    }),
  });
}

/** What tells the types of tokens, by their numbers; `padding` where the graph has one. */
export type TypeAttributes = {
  readonly separator: number;
  readonly padding: number | undefined;
};

/**
 * Calls `each` with runs of consecutive tokens of one type, in their order: the first, how many, the type. What stands behind the first
 * separator of its sequence and is not padding is of type 1, all else of type 0. Runs reach across sequences: single texts, whose types
 * are all 0, are one run, so that they are added up as they would be without types.
 * @param tokens [count, tokens] int32
 */
function eachTypeRun(call: KernelCall, tokens: TensorInfo, each: (first: number, rows: number, type: 0 | 1) => void): void {
  const { separator, padding } = call.attrs as TypeAttributes;
  const numbers = call.backend.core.i32(call.backend.pointer(tokens), sizeOf(tokens));
  const length = tokens.shape.at(-1) ?? 1;
  let [first, type]: [number, 0 | 1] = [0, 0];
  let behind = false;
  for (let i = 0; i < numbers.length; i++) {
    if (i % length === 0) behind = false;
    const own = behind && numbers[i] !== padding ? 1 : 0;
    behind ||= numbers[i] === separator;
    if (own === type) continue;
    if (i > first) each(first, i - first, type);
    [first, type] = [i, own];
  }
  each(first, numbers.length - first, type);
}

function registerTypes(): void {
  // {x [count, tokens, features], tokens [count, tokens] int32, table [types, features]}, {separator, padding}: adds to each token the row
  // of its type.
  defineKernel('AddTypeRows', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const columns = x.shape.at(-1) ?? 1;
    const y = outputLike(call, x);
    const [from, to, tablePtr] = [x, y, required(call, 'table')].map((info) => backend.pointer(info)) as [number, number, number];
    eachTypeRun(call, required(call, 'tokens'), (first, rows, type) => {
      const offset = 4 * columns * first;
      backend.core.kernels.addRowF32(from + offset, tablePtr + 4 * columns * type, to + offset, rows, columns);
    });
    return y;
  });
  // {dy, tokens}, {separator, padding, shape [types, features]}: sums of the rows of each type, zeros for types that no token has
  defineKernel('TypeRowSums', (call) => {
    const { backend } = call;
    const { core } = backend;
    const dy = required(call, 'dy');
    const shape = call.attrs['shape'] as [number, number];
    const [, columns] = shape;
    const out = backend.makeOutput(shape, 'float32');
    const to = backend.pointer(out);
    sumInDoubles(backend, to, 2 * columns, (sums) =>
      eachTypeRun(call, required(call, 'tokens'), (first, rows, type) =>
        core.kernels.columnSumsF32(backend.pointer(dy) + 4 * columns * first, rows, columns, sums + 8 * columns * type),
      ),
    );
    core.f32(to, sizeOf(out)).fill(0, 2 * columns);
    return out;
  });
  defineGradient('AddTypeRows', {
    inputs: ['tokens', 'table'],
    gradient: (dy, [tokens, table], { separator, padding }) => ({
      table: () => run('TypeRowSums', { dy, tokens }, { separator, padding, shape: table?.shape }),
      x: () => run('Identity', { x: dy }),
    }),
  });
}

function registerEmbedding(): void {
  // {table [vocabulary, features], indices [count, tokens] int32} → [count, tokens, features]
  defineKernel('Embedding', (call) => {
    const { backend } = call;
    const table = required(call, 'table');
    const indices = required(call, 'x');
    const features = table.shape.at(-1) ?? 1;
    const y = backend.makeOutput([...indices.shape, features], 'float32');
    backend.core.kernels.gatherRowsF32(backend.pointer(table), backend.pointer(indices), backend.pointer(y), sizeOf(indices), features);
    return y;
  });
  defineKernel('EmbeddingGrad', (call) => {
    const { backend } = call;
    const { kernels } = backend.core;
    const indices = required(call, 'indices');
    const shape = call.attrs['shape'] as [number, number];
    const out = backend.makeOutput(shape, 'float32');
    backend.core.scoped((scratch) =>
      kernels.sumRowsF32(
        backend.pointer(required(call, 'dy')), backend.pointer(indices), backend.pointer(out), sizeOf(indices), ...shape,
        scratch.bytes(kernels.sumRowsScratchBytes(sizeOf(indices), ...shape), 'sums of rows'),
      ),
    );
    return out;
  });
  defineGradient('Embedding', {
    inputs: ['x', 'table'],
    gradient: (dy, [indices, table]) => ({ table: () => run('EmbeddingGrad', { dy, indices }, { shape: table?.shape }) }),
  });
}

function registerTokens(): void {
  // {x [count, tokens, features], token} → [count, 1 + tokens, features]
  defineKernel('PrependToken', (call) => {
    const { backend } = call;
    const { kernels } = backend.core;
    const x = required(call, 'x');
    const [count = 0, tokens = 0, features = 0] = x.shape;
    const y = backend.makeOutput([count, tokens + 1, features], 'float32');
    const [row, rows] = [4 * features, 4 * features * tokens];
    const to = backend.pointer(y);
    kernels.copyBlocks(backend.pointer(required(call, 'token')), 0, to, row + rows, row, count);
    kernels.copyBlocks(backend.pointer(x), rows, to + row, row + rows, rows, count);
    return y;
  });
  // {x [count, tokens, features]}, {first, tokens} → those tokens
  defineKernel('TakeTokens', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const [count = 0, all = 0, features = 0] = x.shape;
    const { first, tokens } = call.attrs as { first: number; tokens: number };
    const y = backend.makeOutput([count, tokens, features], 'float32');
    backend.core.kernels.copyBlocks(
      backend.pointer(x) + 4 * features * first, 4 * features * all, backend.pointer(y), 4 * features * tokens,
      4 * features * tokens, count,
    );
    return y;
  });
  // {dy [count, .., features]}, {first, tokens}: back to where they were taken from, zeros elsewhere
  defineKernel('PlaceTokens', (call) => {
    const { backend } = call;
    const dy = required(call, 'dy');
    const [count = 0] = dy.shape;
    const features = dy.shape.at(-1) ?? 1;
    const taken = sizeOf(dy) / count;
    const { first, tokens } = call.attrs as { first: number; tokens: number };
    const dx = backend.makeOutput([count, tokens, features], 'float32');
    backend.core.f32(backend.pointer(dx), sizeOf(dx)).fill(0);
    backend.core.kernels.copyBlocks(
      backend.pointer(dy), 4 * taken, backend.pointer(dx) + 4 * features * first, 4 * features * tokens, 4 * taken, count,
    );
    return dx;
  });
  defineGradient('PrependToken', {
    inputs: ['token'],
    gradient: (dy, [token]) => ({
      token: () => {
        const firsts = run('TakeTokens', { x: dy }, { first: 0, tokens: 1 });
        return run('ColumnSums', { x: firsts }, { columns: token?.size, shape: token?.shape });
      },
      x: () => run('TakeTokens', { x: dy }, { first: 1, tokens: (dy.shape[1] as number) - 1 }),
    }),
  });
  defineGradient('TakeTokens', {
    gradient: (dy, _saved, { first, from }) => ({ x: () => run('PlaceTokens', { dy }, { first, tokens: from }) }),
  });
}

export function registerSequence(): void {
  registerNorm();
  registerSoftmax();
  registerScale();
  registerTables();
  registerTypes();
  registerEmbedding();
  registerTokens();
}
