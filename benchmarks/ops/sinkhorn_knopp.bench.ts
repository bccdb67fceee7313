/**
 * Positionwise Sinkhorn-Knopp with clustering loss and gradient, against the same in PyTorch, in turn:
 *
 *   npx tsx benchmarks/ops/sinkhorn_knopp.bench.ts [--torch <python>] [--dtype f32|bf16] [--rounds 6] [--threads 2]
 *
 * `bytes` counts the logits once for each of the passes that read or write them from memory (maximum, exponential, last
 * pass, gradient); what stays in the caches is not counted.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { Tensor } from '../../lib/tensor/tensor.js';

const [positions, images, clusters] = [64, 256, 4096];
const { values: options } = parseArgs({
  options: {
    torch: { type: 'string' },
    dtype: { type: 'string', default: 'f32' },
    rounds: { type: 'string', default: '6' },
    threads: { type: 'string', default: '2' },
  },
});
const dtype = options.dtype === 'bf16' ? 'bf16' : 'f32';

/** One line a request, one JSON line an answer: benchmarks/baselines/process.py. */
class Baseline implements Disposable {
  readonly name: string;
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(python: string, mode: 'eager' | 'compile') {
    this.name = `PyTorch ${mode}`;
    const script = fileURLToPath(new URL('../baselines/ops.py', import.meta.url));
    const type = dtype === 'bf16' ? 'bfloat16' : 'float32';
    const args = [script, '--serve', '--mode', mode, '--dtype', type, '--threads', options.threads];
    this.#process = spawn(python, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** The line that says it is ready. */
  async ready(): Promise<void> {
    await this.#lines.next();
  }

  async seconds(): Promise<number> {
    this.#process.stdin.write(`run sinkhorn:${positions},${images},${clusters} 1\n`);
    const { value } = await this.#lines.next();
    const answer: { seconds: number | number[] } = JSON.parse(value);
    return Array.isArray(answer.seconds) ? (answer.seconds[0] as number) : answer.seconds;
  }

  [Symbol.dispose](): void {
    this.#process.kill();
  }
}

/** Uniform in ±2, from a counter: what the values are does not change the time. */
function randomLogits(length: number): Float32Array {
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = (Math.imul(i, 0x9e3779b1) >>> 8) / 2 ** 22 - 2;
  return values;
}

function report(name: string, seconds: readonly number[], ours: number): void {
  const sorted = [...seconds].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] as number;
  const range = `${((sorted[0] as number) * 1e3).toFixed(0)}–${((sorted.at(-1) as number) * 1e3).toFixed(0)}`;
  const ratio = ours === median ? '' : `   ${(median / ours).toFixed(2)}× ours`;
  console.log(`${name.padEnd(16)} ${(median * 1e3).toFixed(0).padStart(6)} ms  (${range})${ratio}`);
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

async function main(): Promise<void> {
  addon.setThreads(Number(options.threads));
  const rows = positions * images;
  using logits = Tensor.from(randomLogits(rows * clusters), [rows, clusters], dtype);
  using kept = Tensor.zeros([rows, clusters], dtype);
  ops.copy({ x: logits, y: kept });
  using gradBias = Tensor.zeros([1, clusters], 'f32');
  using loss = Tensor.zeros([1, 1], 'f64');
  const work = async (): Promise<number> => {
    // As in a step, the gradient replaces the logits.
    ops.copy({ x: kept, y: logits });
    await addon.synchronize();
    const start = performance.now();
    ops.sinkhornKnoppLoss({
      logits,
      groups: positions,
      targetTemp: 0.06,
      predTemp: 0.12,
      totalRows: rows,
      loss,
      gradLogits: logits,
      gradBias,
    });
    await addon.synchronize();
    return (performance.now() - start) / 1e3;
  };

  const baselines = options.torch
    ? [new Baseline(options.torch, 'eager'), new Baseline(options.torch, 'compile')]
    : [];
  try {
    for (const baseline of baselines) {
      await baseline.ready();
      await baseline.seconds(); // compiles
    }
    await work();
    const ours: number[] = [];
    const theirs = baselines.map((): number[] => []);
    for (let round = 0; round < Number(options.rounds); round++) {
      ours.push(await work());
      for (const [i, baseline] of baselines.entries()) theirs[i]?.push(await baseline.seconds());
    }
    const middle = median(ours);
    console.log(
      `[${positions}, ${images}, ${clusters}] ${dtype}, ${options.threads} threads, ${addon.cpuIsa()}`,
    );
    report('ours', ours, middle);
    baselines.forEach((baseline, i) => {
      report(baseline.name, theirs[i] ?? [], middle);
    });
    const bytes = 4 * logits.bytes;
    console.log(`${(bytes / middle / 1e9).toFixed(1)} GB/s of logits`);
  } finally {
    for (const baseline of baselines) baseline[Symbol.dispose]();
  }
}

await main();
