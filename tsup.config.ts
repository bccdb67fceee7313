// What is published: the library as ES modules and CommonJS with types, the command and the data worker as ES modules.
// The ES modules share chunks, so that one process has one addon, one set of error classes.
import { defineConfig, type Options } from 'tsup';

const common: Options = {
  outDir: 'dist',
  platform: 'node',
  target: 'es2022', // Node 20 does not parse `using`, which this lowers
  sourcemap: true,
  clean: false, // three builds write here at once
  silent: true,
  // Dependencies of package.json stay outside the bundle by default; the addon is found at run time.
};

export default defineConfig([
  {
    ...common,
    entry: { index: 'lib/index.ts', cli: 'lib/cli/main.ts', loader_worker: 'lib/data/loader_worker.ts' },
    format: 'esm',
    splitting: true,
  },
  { ...common, entry: { index: 'lib/index.ts' }, format: 'cjs', shims: true },
  { ...common, entry: { index: 'lib/index.ts' }, format: ['esm', 'cjs'], dts: { only: true } },
]);
