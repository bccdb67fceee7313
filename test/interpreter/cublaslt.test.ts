/** How cuBLASLt is found and its algorithms are chosen, with the stand-in of the interpreter. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runModule } from '../support/addon_child.js';

const standIn = process.env.CAPI_CUBLASLT ?? '';
const nowhere = '/nowhere/libcublasLt.so.13';
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'capi-cublaslt-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function report(env: Record<string, string>) {
  const { stdout, stderr } = runModule('console.log(JSON.stringify(addon.cuda()))', env);
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

describe('the library', () => {
  test('is the one that CAPI_CUBLASLT names', () => {
    const { cublaslt, problem } = report({});
    expect(cublaslt).toEqual({ path: standIn, version: '13.0.0' });
    expect(problem).toBeUndefined();
  });

  // Both come after what the loader finds by itself, which no machine without a GPU has.
  test.each([
    ['CUDA_HOME', 'lib64'],
    ['VIRTUAL_ENV', 'lib/python3.12/site-packages/nvidia/cu13/lib'],
  ])('is found below %s in %s', (variable, place) => {
    mkdirSync(join(folder, place), { recursive: true });
    const file = join(folder, place, 'libcublasLt.so.13');
    symlinkSync(standIn, file);
    expect(report({ CAPI_CUBLASLT: '', [variable]: folder }).cublaslt.path).toBe(file);
  });

  test('is named with the reason when CAPI_CUBLASLT names none, and nothing else is tried', () => {
    const named = report({ CAPI_CUBLASLT: nowhere });
    expect(named.cublaslt).toBeUndefined();
    expect(named.problem).toContain(`${nowhere}: cannot open shared object file`);
    expect(report({ CAPI_CUBLASLT: process.env.CAPI_ADDON ?? '' }).problem).toContain(
      'lacks cublasLtGetVersion',
    );
  });

  test('is missed by products only', () => {
    const { stdout } = runModule(
      `
      const x = Tensor.from([3, 4], [1, 2], 'f32', 'cuda');
      const y = Tensor.zeros([1, 2], 'f32', 'cuda');
      ops.rmsNormForward({ x, y, eps: 1e-5 });
      await addon.synchronize();
      const c = Tensor.zeros([1, 1], 'f32', 'cuda');
      ops.gemm({ a: x, b: y, c, transposeB: true });
      console.log(await addon.synchronize().catch((error) => error.code + ' ' + error.message));`,
      { CAPI_CUBLASLT: nowhere },
    );
    expect(stdout).toMatch(/^ERR_CAPI_BACKEND_UNAVAILABLE \[gemm\] Expected cuBLASLt but .*\/nowhere/);
  });
});

describe('with CAPI_CUBLASLT_TUNE=1', () => {
  /** Two products, one of which adds to c; c is 1 + 2 * 3 * 5 where it ran once. */
  function tune(body = '') {
    const run = runModule(
      `
      const a = Tensor.from(new Float32Array(5).fill(2), [1, 5], 'f32', 'cuda');
      const b = Tensor.from(new Float32Array(15).fill(3), [3, 5], 'f32', 'cuda');
      const c = Tensor.from([1, 1, 1], [1, 3], 'f32', 'cuda');
      const d = Tensor.zeros([1, 3], 'f32', 'cuda');
      ${body}
      ops.gemm({ a, b, c, transposeB: true, accumulate: true });
      ops.gemm({ a, b, c: d, transposeB: true });
      console.log([...(await c.readFloats()), ...(await d.readFloats())].join(' '));`,
      { CAPI_CUBLASLT_TUNE: '1', XDG_CACHE_HOME: folder },
    );
    expect(run.stdout).toBe('31 31 31 30 30 30');
    return run.stderr;
  }
  const file = () => join(folder, 'capi-vit', 'cublaslt-13.0.0-interpreter.txt');
  const lines = () => readFileSync(file(), 'utf8').trim().split('\n').slice(1);
  /** The stand-in's own number of an algorithm: 0 is estimated to be the best, and slow. */
  const algorithmOf = (line: string) => Number.parseInt((line.split('\t')[1] as string).slice(0, 16), 16);

  test('products are timed once and the fastest algorithm is kept', () => {
    expect(tune()).toBe('');
    expect(lines()).toEqual([
      expect.stringMatching(/^1x3x5 a f32\/5\/\d+ b' f32\/5\/\d+ d f32\/3\/\d+\t[0-9a-f]{128}$/),
      expect.stringMatching(
        /^1x3x5 a f32\/5\/\d+ b' f32\/5\/\d+ onto f32\/3\/\d+ d f32\/3\/\d+\t[0-9a-f]{128}$/,
      ),
    ]);
    for (const line of lines()) expect(algorithmOf(line)).toBeGreaterThan(0);
    expect(readdirSync(join(folder, 'capi-vit'))).toHaveLength(1);
  });

  test('what was kept is used again', () => {
    tune();
    const slow = readFileSync(file(), 'utf8').replace(/\t[0-9a-f]{16}/g, `\t${'0'.repeat(16)}`);
    writeFileSync(file(), slow);
    tune();
    expect(readFileSync(file(), 'utf8')).toBe(slow);
  });

  test('an algorithm that does not fit its product is replaced', () => {
    tune();
    const kept = readFileSync(file(), 'utf8');
    writeFileSync(file(), kept.replace(/\t[0-9a-f]{32}/g, `\t${'7'.repeat(32)}`));
    expect(tune()).toBe('');
    for (const line of lines()) expect(algorithmOf(line)).toBeLessThan(3);
  });

  test.each(['something else\n', 'capi-vit cublaslt algorithms 1\nhalf a li'])(
    'a damaged file (%j) is replaced, and stderr says so',
    (content) => {
      mkdirSync(join(folder, 'capi-vit'));
      writeFileSync(file(), content);
      expect(tune()).toBe(`[gemm] Expected algorithms in ${file()}; it is damaged and will be replaced\n`);
      expect(lines()).toHaveLength(2);
    },
  );

  test('a folder that cannot be written to is named, and the run goes on', () => {
    writeFileSync(join(folder, 'capi-vit'), 'not a folder');
    expect(tune()).toContain(`[gemm] Expected to write ${file()} but could not`);
  });

  test('nothing is timed while a graph is captured', () => {
    tune(`
      const one = Tensor.zeros([1, 1], 'f32', 'cuda'); // what a graph cannot allocate
      ops.gemm({ a, b: a, c: one, transposeB: true });
      const graph = new addon.Graph();
      graph.begin();
      ops.gemm({ a, b, c: d, transposeB: true });
      graph.end();
      await addon.synchronize();`);
    expect(lines()).toHaveLength(3);
  });
});

test('without it, nothing is written', () => {
  runModule(
    `
    const a = Tensor.zeros([1, 5], 'f32', 'cuda');
    const c = Tensor.zeros([1, 1], 'f32', 'cuda');
    ops.gemm({ a, b: a, c: c, transposeB: true });
    await addon.synchronize();`,
    { XDG_CACHE_HOME: folder },
  );
  expect(readdirSync(folder)).toEqual([]);
});
