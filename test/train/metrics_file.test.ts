import { appendFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type IterationMetrics,
  MetricsFile,
  readMetrics,
  readSaveFailures,
  type SaveFailure,
} from '../../lib/train/metrics_file.js';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'capi-metrics-'));
  path = join(folder, 'training_metrics.json');
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function metrics(iteration: number): IterationMetrics {
  return {
    lr: iteration / 1000,
    mom: 0.99,
    current_batch_size: 32,
    total_loss: 9 - iteration,
    target_entropy: 2,
    capi_loss: Math.sin(iteration),
    clustering_loss: 4,
  };
}

function run(file: MetricsFile, from: number, to: number, period = 20): void {
  for (let i = from; i < to; i += 1) {
    file.update(metrics(i), { iter_time: 0.5, data_time: 0.25 });
    if (i % period === 0) file.write(i, { dead_prototypes: i });
  }
}

test('a line has the published keys in order, then the extra ones', async () => {
  using file = await MetricsFile.open(path, 0);
  run(file, 0, 1);
  const [line] = (await readFile(path, 'utf8')).split('\n');
  expect(Object.keys(JSON.parse(line!))).toEqual([
    'iteration',
    'iter_time',
    'data_time',
    'lr',
    'mom',
    'current_batch_size',
    'total_loss',
    'target_entropy',
    'capi_loss',
    'clustering_loss',
    'dead_prototypes',
  ]);
});

test('values are the lower medians of the last 20, times are means', async () => {
  using file = await MetricsFile.open(path, 0);
  for (let i = 0; i < 40; i += 1) {
    file.update({ ...metrics(i), lr: i }, { iter_time: i, data_time: 0 });
  }
  expect(file.write(39)).toMatchObject({ iteration: 39, lr: 29, iter_time: 29.5 });
});

test('a number that is not finite is null, and the line is JSON', async () => {
  using file = await MetricsFile.open(path, 0);
  file.update(
    { ...metrics(0), capi_loss: Number.NaN, total_loss: Number.POSITIVE_INFINITY },
    { iter_time: 1, data_time: 0 },
  );
  file.write(0, { health: Number.NEGATIVE_INFINITY, absent: undefined });
  expect(readMetrics(path)[0]).toMatchObject({ capi_loss: null, total_loss: null, health: null, lr: 0 });
  expect(Object.values(file.windows()).flat()).toContain(null);
});

test('a resumed run ends with the bytes of an uninterrupted one', async () => {
  {
    using whole = await MetricsFile.open(path, 0);
    run(whole, 0, 200);
  }
  const expected = await readFile(path, 'utf8');
  {
    using first = await MetricsFile.open(path, 0);
    run(first, 0, 107);
    const saved = JSON.parse(JSON.stringify(first.windows()));
    run(first, 107, 150); // past the checkpoint, then killed
    using second = await MetricsFile.open(path, 107, saved);
    run(second, 107, 200);
  }
  expect(await readFile(path, 'utf8')).toBe(expected);
  expect(await readdir(folder)).toEqual(['training_metrics.json']);
});

test('lines from the next iteration on, and a line cut short, are dropped; a run from 0 starts anew', async () => {
  {
    using file = await MetricsFile.open(path, 0);
    run(file, 0, 100);
    await appendFile(path, '{"iteration": 3, "lr"');
  }
  (await MetricsFile.open(path, 60))[Symbol.dispose]();
  expect(readMetrics(path).map(({ iteration }) => iteration)).toEqual([0, 20, 40]);
  (await MetricsFile.open(path, 0))[Symbol.dispose]();
  expect(await readFile(path, 'utf8')).toBe('');
});

test('a record stands among the lines, is no measurement, and goes with the iterations it is about', async () => {
  const failure: SaveFailure = {
    event: 'save_failed',
    iteration: 30,
    reason: 'the disk is full (ENOSPC)',
    last_checkpoint: null,
  };
  {
    using file = await MetricsFile.open(path, 0);
    run(file, 0, 30);
    file.record(failure);
    run(file, 30, 60);
  }
  expect(readMetrics(path).map(({ iteration }) => iteration)).toEqual([0, 20, 40]);
  expect(readSaveFailures(path)).toEqual([failure]);
  (await MetricsFile.open(path, 31))[Symbol.dispose]();
  expect(readSaveFailures(path)).toHaveLength(1);
  (await MetricsFile.open(path, 30))[Symbol.dispose]();
  expect(readSaveFailures(path)).toEqual([]);
});

test('a disposed file takes no more lines, and disposing twice is safe', async () => {
  const file = await MetricsFile.open(path, 0);
  file[Symbol.dispose]();
  file[Symbol.dispose]();
  file.write(0);
  expect(readMetrics(path)).toEqual([]);
  expect(readMetrics(join(folder, 'none.json'))).toEqual([]);
});
