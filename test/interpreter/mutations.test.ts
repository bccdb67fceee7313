/** The tests of ops on the interpreter are worth something: each mistake planted in a kernel makes them fail. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { TemporaryFolder } from '../support/images.js';

const build = resolve(dirname(dirname(process.env.CAPI_ADDON ?? 'build-interpreter/Release/capi.node')));

interface Mutation {
  readonly mistake: string;
  readonly kernel: string;
  readonly right: string;
  readonly wrong: string;
  /** The tests that must fail, and what they must say. */
  readonly tests: string;
  readonly found: RegExp;
}

const mutations: readonly Mutation[] = [
  {
    mistake: 'a loop that runs one element too far',
    kernel: 'native/ops/norm/rms_norm_cuda.cu',
    right: 'for (int i = lane; i < dim; i += kWarpSize) mine[i] = 0.0f;',
    wrong: 'for (int i = lane; i <= dim; i += kWarpSize) mine[i] = 0.0f;',
    tests: 'test/ops/rms_norm_backward.test.ts',
    found: /shared memory|without a barrier/,
  },
  {
    mistake: 'a missing barrier',
    kernel: 'native/ops/norm/rms_norm_cuda.cu',
    right: '  __syncthreads();\n',
    wrong: '',
    tests: 'test/ops/rms_norm_backward.test.ts',
    found: /without a barrier between them/,
  },
  {
    mistake: 'wide accesses to rows that are not aligned',
    kernel: 'native/ops/linear/gemm_cuda.cu',
    right: 'if (aligned_rows({op.c, op.bias, op.residual, op.pre}, kVec)) {',
    wrong: 'if (true) {',
    tests: 'test/ops/gemm.test.ts',
    found: /misaligned.*; the op is gemm/,
  },
  {
    mistake: 'swapped fragments',
    kernel: 'native/ops/attention/attention_mma_backward_cuda.cu',
    right: 'pack_bf16(sums.values[c][2 * half], sums.values[c][2 * half + 1]);',
    wrong: 'pack_bf16(sums.values[c][2 * half + 1], sums.values[c][2 * half]);',
    tests: 'test/ops/attention.test.ts',
    found: /●.* bf16/,
  },
];

/** Compiles the kernel with its mistake and links an addon around it. */
function plant(folder: string, { kernel, right, wrong }: Mutation): string {
  const source = readFileSync(kernel, 'utf8');
  expect(source.split(right).length).toBe(2); // found, and only once
  const mutated = join(folder, 'mutated.cu');
  writeFileSync(mutated, source.replace(right, wrong));

  const commands: { file: string; output?: string; command: string }[] = JSON.parse(
    readFileSync(join(build, 'compile_commands.json'), 'utf8'),
  );
  const original = commands.find(({ file }) => file === resolve(kernel));
  if (original === undefined) throw new Error(`Expected ${kernel} in ${build}/compile_commands.json`);
  const output = / -o (\S+)/.exec(original.command)?.[1] as string;
  const object = join(folder, 'mutated.o');
  const compile = original.command.replaceAll(output, object).replaceAll(original.file, mutated);
  run('bash', ['-c', compile]);

  const objects = readFileSync(join(build, 'objects.txt'), 'utf8').trim().split('\n');
  const replaced = objects.map((path) => (path.replace('/./', '/').endsWith(output) ? object : path));
  expect(replaced).toContain(object);
  const addon = join(folder, 'capi.node');
  run('g++', ['-shared', '-o', addon, '-Wl,-Bsymbolic', '-pthread', ...replaced]);
  return addon;
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { cwd: build, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr}`);
}

test.each(mutations.map((mutation) => ({ ...mutation, name: mutation.mistake })))(
  '$name in $kernel',
  (mutation) => {
    using folder = new TemporaryFolder();
    const child = spawnSync(process.execPath, ['node_modules/.bin/jest', mutation.tests], {
      encoding: 'utf8',
      env: { ...process.env, CAPI_ADDON: plant(folder.path, mutation) },
    });
    expect(child.stderr).toMatch(mutation.found);
    expect(child.status).toBe(1);
  },
  180_000,
);
