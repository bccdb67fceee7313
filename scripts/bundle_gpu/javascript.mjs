// The JavaScript of the GPU bundle, which Node runs without node_modules: commands, and the tests with what they use of jest.
//
//   node scripts/bundle_gpu/javascript.mjs <folder>
import { readdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const repository = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const adapter = join(repository, 'test/gpu/jest_on_node.ts');

const commands = {
  capi: 'lib/cli/main.ts',
  check: 'test/gpu/check.ts',
  bench: 'benchmarks/run.ts',
  jest_on_node: 'test/gpu/jest_on_node.ts', // by itself too, for a test file that is added by hand
};
const ops = readdirSync(join(repository, 'test/ops')).map((file) => `test/ops/${file}`);
/** By the stage of gpu-check that runs them. */
const tests = {
  ops,
  graph: ['test/interpreter/graph.test.ts', 'test/interpreter/step.test.ts'],
  trajectory: ['test/gpu/trajectory.check.ts'],
  demo: ['test/gpu/demo.check.ts'],
  conformance: ['test/gpu/conformance.check.ts'],
};

/** `with-jest:<file>` is that file after the globals that it uses. */
const withJest = {
  name: 'with-jest',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^with-jest:/ }, ({ path }) => ({
      path: join(repository, path.slice('with-jest:'.length)),
      namespace: 'with-jest',
    }));
    onLoad({ filter: /./, namespace: 'with-jest' }, ({ path }) => ({
      contents: `import ${JSON.stringify(adapter)}; import ${JSON.stringify(path)};`,
      resolveDir: repository,
    }));
  },
};

const entries = [
  ...Object.entries(commands).map(([out, file]) => ({ in: join(repository, file), out })),
  ...Object.entries(tests).flatMap(([stage, files]) =>
    files.map((file) => ({ in: `with-jest:${file}`, out: `tests/${stage}/${basename(file).split('.')[0]}` })),
  ),
];

await build({
  entryPoints: entries,
  outdir: resolve(process.argv[2]),
  bundle: true,
  splitting: true, // one addon and one set of error classes a process
  format: 'esm',
  platform: 'node',
  target: 'node20', // lowers `using`
  alias: { sharp: join(repository, 'test/gpu/no_sharp.ts') },
  plugins: [withJest],
  // For the CommonJS in it.
  banner: {
    js: `import { createRequire as requireOf } from 'node:module';
const require = requireOf(import.meta.url), __dirname = import.meta.dirname;`,
  },
  logLevel: 'warning',
});
