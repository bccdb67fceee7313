/** The runner itself, on small golden folders made here from float64 references. */
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TensorEntry, writeSafetensors } from '../../lib/checkpoint/safetensors.js';
import { randomNormal } from '../support/random.js';
import { conform } from './conformance.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'golden-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

type Tensors = Record<string, { readonly shape: readonly number[]; readonly values: ArrayLike<number> }>;

async function writeGolden(name: string, config: object, tensors: Tensors, dtype: 'f32' | 'f64' = 'f32') {
  const entries = Object.entries(tensors).map(([tensor, { shape, values }]): TensorEntry => {
    const array = dtype === 'f32' ? new Float32Array(values) : new Float64Array(values);
    return { name: tensor, dtype, shape, data: new Uint8Array(array.buffer) };
  });
  const metadata = { config: JSON.stringify(config), fp64_error: '{}' };
  await writeSafetensors(join(folder, `${name}.safetensors`), entries, metadata);
}

const eps = 1e-5;
const rows = 5;
const width = 24;

/** RMSNorm without a weight and its gradient, in float64. */
function rmsNorm(caseName: string): { config: object; tensors: Tensors } {
  const x = randomNormal(rows * width, 1);
  const cotangent = randomNormal(rows * width, 2);
  const y = new Float64Array(x.length);
  const gradX = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += width) {
    const at = (values: ArrayLike<number>, i: number) => values[row + i] as number;
    let [squares, product] = [0, 0];
    for (let i = 0; i < width; i++) {
      squares += at(x, i) ** 2;
      product += at(x, i) * at(cotangent, i);
    }
    const rstd = 1 / Math.sqrt(squares / width + eps);
    for (let i = 0; i < width; i++) {
      y[row + i] = at(x, i) * rstd;
      gradX[row + i] = rstd * (at(cotangent, i) - (at(x, i) * rstd * rstd * product) / width);
    }
  }
  const tensor = (values: ArrayLike<number>) => ({ shape: [rows, width], values });
  return {
    config: { [caseName]: { shape: [rows, width], affine: false, eps } },
    tensors: {
      [`${caseName}.in.x`]: tensor(x),
      [`${caseName}.out.y`]: tensor(y),
      [`${caseName}.cot.y`]: tensor(cotangent),
      [`${caseName}.grad.in.x`]: tensor(gradX),
    },
  };
}

async function run(): Promise<{ code: number; lines: string[]; failures: string[] }> {
  const lines: string[] = [];
  const code = await conform(folder, (line) => lines.push(line));
  return { code, lines, failures: lines.filter((line) => line.startsWith('FAIL')) };
}

describe('conform', () => {
  test('passes files that agree, whatever the cases are called, and ignores the README', async () => {
    const { config, tensors } = rmsNorm('some_case');
    await writeGolden('rmsnorm', config, tensors);
    const settings = { base_value: 2, final_value: 1, total_iters: 3, warmup_iters: 2 };
    const values = [0, 2, 2, 1, 1, 1];
    await writeGolden('schedules', { ramp: settings }, { 'ramp.values': { shape: [6], values } }, 'f64');
    await writeFile(join(folder, 'README.md'), 'what these files are');
    const { code, lines } = await run();
    expect(lines.at(-1)).toBe('conformance: 3 passed, 0 failed');
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/^pass +rmsnorm +some_case +out\.y +\d\.\d\de[-+]\d+ +\d\.\d\de[-+]\d+$/);
  });

  test('fails on one value that is off by more than the tolerance', async () => {
    const { config, tensors } = rmsNorm('c0');
    const y = Float64Array.from(tensors['c0.out.y']?.values ?? []);
    y[7] = (y[7] as number) + 1e-4;
    await writeGolden('rmsnorm', config, { ...tensors, 'c0.out.y': { shape: [rows, width], values: y } });
    const { code, lines, failures } = await run();
    expect(code).toBe(1);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatch(/c0 +out\.y +1\.00e-4/);
    expect(lines.at(-1)).toBe('conformance: 1 passed, 1 failed');
  });

  test('fails on NaN even where both sides have it', async () => {
    const { config, tensors } = rmsNorm('c0');
    const poisoned = Object.entries(tensors).map(([name, { shape, values }]) => {
      const copy = Float64Array.from(values);
      copy.fill(Number.NaN, 0, width); // the whole first row, as RMSNorm of NaN is
      return [name, { shape, values: copy }] as const;
    });
    await writeGolden('rmsnorm', config, Object.fromEntries(poisoned));
    const { code, failures } = await run();
    expect(code).toBe(1);
    expect(failures).toHaveLength(2);
    expect(failures[0]).toMatch(/NaN/);
  });

  test('fails on a tensor of another shape', async () => {
    const { config, tensors } = rmsNorm('c0');
    const y = {
      shape: [rows - 1, width],
      values: Array.from(tensors['c0.out.y']?.values ?? []).slice(width),
    };
    await writeGolden('rmsnorm', config, { ...tensors, 'c0.out.y': y });
    const { code, failures } = await run();
    expect(code).toBe(1);
    expect(failures[0]).toMatch(/120 values instead of 96/);
  });

  test('fails on a tensor that no check looks at', async () => {
    const { config, tensors } = rmsNorm('c0');
    const stray = { shape: [1], values: [1] };
    await writeGolden('rmsnorm', config, { ...tensors, 'c0.out.z': stray });
    const { code, failures } = await run();
    expect(code).toBe(1);
    expect(failures[0]).toMatch(/nothing looked at c0\.out\.z/);
  });

  test('fails on a case without its tensors and goes on with the next file', async () => {
    await writeGolden('rmsnorm', { c0: { shape: [1, 4], affine: false, eps } }, {});
    const settings = { base_value: 1, final_value: 1, total_iters: 1 };
    await writeGolden('schedules', { c0: settings }, { 'c0.values': { shape: [2], values: [1, 1] } }, 'f64');
    const { code, lines, failures } = await run();
    expect(code).toBe(1);
    expect(failures[0]).toMatch(/there is no tensor c0\.in\.x/);
    expect(lines.at(-1)).toBe('conformance: 1 passed, 1 failed');
  });

  test.each([['unheard_of.safetensors'], ['notes.txt'], ['constructor.safetensors']])(
    'fails on the unknown file %s',
    async (name) => {
      const { config, tensors } = rmsNorm('c0');
      await writeGolden('rmsnorm', config, tensors);
      await writeFile(join(folder, name), '');
      const { code, failures } = await run();
      expect(code).toBe(1);
      expect(failures).toHaveLength(1);
      expect(failures[0]).toMatch(/unknown file/);
    },
  );

  test('fails on a folder inside the folder', async () => {
    const { config, tensors } = rmsNorm('c0');
    await writeGolden('rmsnorm', config, tensors);
    await mkdir(join(folder, 'more'));
    expect((await run()).code).toBe(1);
  });

  test('fails on a truncated file', async () => {
    const { config, tensors } = rmsNorm('c0');
    await writeGolden('rmsnorm', config, tensors);
    await truncate(join(folder, 'rmsnorm.safetensors'), 700);
    const { code, failures } = await run();
    expect(code).toBe(1);
    expect(failures[0]).toMatch(/truncated/);
  });

  test('fails when nothing was checked', async () => {
    const { code, lines } = await run();
    expect(code).toBe(1);
    expect(lines[0]).toBe('conformance: 0 passed, 0 failed');
    await rm(folder, { recursive: true });
    expect((await run()).code).toBe(1);
  });
});
