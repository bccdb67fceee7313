/** Runs of the smallest size that has every part of the method: 16×16 grey images, 16 patches, width 16, one block a stack. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type LoadedCheckpoint, latestCheckpoint, loadCheckpoint } from '../../lib/checkpoint/checkpoint.js';
import { resolveConfig } from '../../lib/config/load.js';
import type { Config } from '../../lib/config/schema.js';
import type { HostBatch } from '../../lib/train/batch.js';
import { METRICS_FILE_NAME } from '../../lib/train/metrics_file.js';
import { idxFile, type TemporaryFolder } from './images.js';
import { randomNumbers } from './random.js';

const tinySettings = {
  train: { log_loss_every: 7, checkpointing: { period: 1000, max_to_keep: 2 } },
  capi: {
    num_clusters: 16,
    clustering_optimizer: { lr_schedule: { base_value: 1e-3, warmup_iters: 2 } },
  },
  optim: {
    total_iters: 10,
    batch_size_per_gpu: 6,
    lr_schedule: { base_value: 1e-3, warmup_iters: 2 },
    momentum_schedule: { base_value: 0.9, warmup_iters: 2 },
  },
  data: { images_size: 16, mask_ratio: 0.5, prediction_subsampling: 0.5 },
  model: {
    patch_size: 4,
    n_registers: 4,
    transformers_kwargs: {
      embed_dim: 16,
      drop_path_rate: 0.34,
      block_kwargs: { attn_kwargs: { num_heads: 2 } },
    },
    encoder_kwargs: { depth: 1 },
    decoder_kwargs: { depth: 1 },
  },
  efficiency: { param_dtype: 'float32', dataloader_num_workers: 0, threads: 2 },
};

/** A configuration whose data set, 40 images, is written into `folder` and whose run folder is `folder`/run. */
export function tinyConfig(folder: TemporaryFolder, overrides: readonly string[] = []): Config {
  const dataset = folder.write('train-images-idx3-ubyte', idxFile([40, 16, 16], tinyImages(40)));
  const places = [`data.dataset=${dataset}`, `train.output_dir=${join(folder.path, 'run')}`];
  return resolveConfig(tinySettings, [...places, ...overrides]).config;
}

/** [count, 16, 16]: a bright square somewhere on noise. */
function tinyImages(count: number): Uint8Array {
  const next = randomNumbers(7);
  const pixels = Uint8Array.from({ length: count * 256 }, () => 100 * next());
  for (let image = 0; image < count; image++) {
    const [top, left] = [Math.floor(11 * next()), Math.floor(11 * next())];
    for (let i = 0; i < 25; i++) pixels[image * 256 + (top + Math.floor(i / 5)) * 16 + left + (i % 5)] = 250;
  }
  return pixels;
}

/** Random pixels, flips and sample numbers. */
export function randomBatch({ optim, data }: Config, seed: number): HostBatch {
  const next = randomNumbers(seed);
  const images = optim.batch_size_per_gpu;
  return {
    images: Uint8Array.from({ length: images * data.images_size ** 2 * 3 }, () => 256 * next()),
    flips: Uint8Array.from({ length: images }, () => 2 * next()),
    samples: Int32Array.from({ length: 2 * images }, (_, i) => (i % 2 === 0 ? 1000 * seed + i / 2 : 0)),
  };
}

/** The newest checkpoint of a run, verified. */
export async function lastCheckpoint({ train }: Config): Promise<LoadedCheckpoint> {
  return loadCheckpoint((await latestCheckpoint(join(train.output_dir, 'checkpoints'))) as string);
}

/** Every tensor of the newest checkpoint as `name shape bytes`: compares quickly and says which one differs. */
export async function lastTensors(config: Config): Promise<string[]> {
  const { tensors } = await lastCheckpoint(config);
  return tensors.map(
    ({ name, dtype, shape, data }) => `${name} ${dtype} ${shape} ${Buffer.from(data).toString('base64')}`,
  );
}

const times = ['iter_time', 'data_time', 'data_wait_share'];

/** The lines of the metrics file without the times. */
export function metricsWithoutTimes({ train }: Config): object[] {
  const text = readFileSync(join(train.output_dir, METRICS_FILE_NAME), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) =>
      Object.fromEntries(Object.entries(JSON.parse(line)).filter(([key]) => !times.includes(key))),
    );
}

/** How a run in a process of its own ended. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Lines of stdout: `start <iteration>`, `step <iteration>`, `note <text>`, `end <result>`, `error <code> <message>`. */
  readonly lines: readonly string[];
  readonly stderr: string;
}

export interface ChildOptions {
  /** Called with every line of stdout as it comes. */
  readonly onLine?: (line: string, child: ChildProcess) => void;
  /** The process kills itself with SIGKILL this many steps after its start, a fraction being time within a step. */
  readonly dieAfterSteps?: number;
  /** Environment variables besides this process's. */
  readonly env?: Readonly<Record<string, string>>;
  /** Largest file that it may write, KiB. */
  readonly fileLimit?: number;
}

/** Trains in a child process (child_run.ts). */
export function trainInChild(
  folder: TemporaryFolder,
  config: Config,
  { onLine, dieAfterSteps, env, fileLimit }: ChildOptions = {},
): Promise<ChildEnd> {
  const path = folder.write('child.json', JSON.stringify(config));
  const node = [process.execPath, '--import', 'tsx', join('test', 'support', 'child_run.ts'), path];
  if (dieAfterSteps !== undefined) node.push(String(dieAfterSteps));
  const limit = fileLimit === undefined ? '' : `ulimit -f ${fileLimit}; `;
  const child = spawn('bash', ['-c', `${limit}exec "$@"`, 'bash', ...node], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const lines: string[] = [];
  let stderr = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    onLine?.(line, child);
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, lines, stderr }));
  });
}
