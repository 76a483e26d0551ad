import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/portable/**', 'node_modules/**'],
    // A check that takes half a minute alone took 130 s on a machine with five times the work.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    pool: 'forks',
    // Vitest takes one process less than there are processors: on two the tests took 640 s, in two processes 391.
    maxWorkers: 2,
  },
});
