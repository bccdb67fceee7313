/** A process that runs steps and tells the counts of memory at every stage: `memory_child.ts <config.json>`. */
import { readFileSync } from 'node:fs';
import type { Config } from '../../lib/config/schema.js';
import { addon, type RuntimeStats } from '../../lib/native/addon.js';
import { type Plan, planTraining } from '../../lib/train/plan.js';
import { trainStep } from '../../lib/train/step.js';
import { train } from '../../lib/train/trainer.js';
import { TrainingRun } from '../../lib/train/training_run.js';
import { randomBatch } from './tiny_run.js';

export interface MemoryReport {
  readonly memory: Plan['memory'];
  readonly planned: RuntimeStats;
  readonly started: RuntimeStats;
  readonly firstStep: RuntimeStats;
  readonly fiftyMore: RuntimeStats;
  readonly disposed: RuntimeStats;
  readonly trained: RuntimeStats;
  readonly refused: RuntimeStats;
}

async function report(config: Config): Promise<MemoryReport> {
  addon.setThreads(config.efficiency.threads);
  const { memory } = planTraining(config);
  const planned = addon.stats();
  const run = new TrainingRun(config);
  run.start();
  const started = addon.stats();
  const step = async (iteration: number) => {
    run.batch.upload(randomBatch(config, iteration));
    trainStep(run, iteration);
    await run.results.capiLoss.read();
  };
  await step(0);
  const firstStep = addon.stats();
  for (let iteration = 1; iteration <= 50; iteration++) await step(iteration);
  const fiftyMore = addon.stats();
  run[Symbol.dispose]();
  await addon.synchronize();
  const disposed = addon.stats();
  await train(config);
  const trained = addon.stats();
  await train({ ...config, data: { ...config.data, dataset: 'nowhere' } }).catch(() => undefined);
  return { memory, planned, started, firstStep, fiftyMore, disposed, trained, refused: addon.stats() };
}

console.log(JSON.stringify(await report(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')))));
