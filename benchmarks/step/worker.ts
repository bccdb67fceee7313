/**
 * Our training step as a process of its own, answering as benchmarks/baselines/step.py does, so that both are measured the
 * same way: run.ts step-worker <size> <f32|bf16> <threads> <cpu|cuda> <eager|graph>, then lines on stdin.
 *
 *   run N      N steps: seconds of each, memory of the process
 *   stages N   N steps with a wait after every stage: seconds of each stage
 *   quit
 */
import { createInterface } from 'node:readline';
import { addon, type Backend } from '../../lib/native/addon.js';
import { planTraining } from '../../lib/train/plan.js';
import {
  assignTargets,
  computeGradients,
  studentBackward,
  studentForward,
  teacherForward,
  trainStep,
  update,
} from '../../lib/train/step.js';
import { TrainingRun } from '../../lib/train/training_run.js';
import { processMemory, resetPeak } from '../harness/process_memory.js';
import { type OurMode, warmUpSteps } from './implementations.js';
import { RandomBatches } from './random_batches.js';
import { type SizeName, sizeConfig } from './sizes.js';

const stages = [
  ['patches and masks', (run: TrainingRun) => run.batch.prepare()],
  ['teacher', teacherForward],
  ['clustering', assignTargets],
  ['student forward', studentForward],
  ['student backward', studentBackward],
  ['update', update],
] as const;

export type StageName = (typeof stages)[number][0];

export interface StageTimes {
  readonly name: StageName;
  readonly seconds: number[];
}

/** What trainStep enqueues, never as a graph. */
function stepByOps(run: TrainingRun, iteration: number): void {
  run.setIteration(iteration);
  run.batch.prepare();
  run.drawDropPath();
  computeGradients(run);
  update(run);
}

class Stepper {
  readonly #run: TrainingRun;
  readonly #batches: RandomBatches;
  readonly #enqueue: typeof trainStep;
  #iteration = 0;

  constructor(run: TrainingRun, mode: OurMode) {
    this.#run = run;
    this.#enqueue = mode === 'graph' ? trainStep : stepByOps;
    this.#batches = new RandomBatches(run.network.images, run.config.data.images_size);
    run.batch.upload(this.#batches.next());
  }

  /** Seconds of each of `count` steps as the trainer makes them: compute, upload the next batch behind it, read the losses. */
  async run(count: number): Promise<number[]> {
    const seconds: number[] = [];
    for (let i = 0; i < count; i++) seconds.push(await this.#step());
    return seconds;
  }

  /** Seconds of each stage in `count` steps with a wait after every stage. */
  async stages(count: number): Promise<StageTimes[]> {
    const times = stages.map(([name]): StageTimes => ({ name, seconds: [] }));
    for (let i = 0; i < count; i++) {
      this.#run.setIteration(this.#iteration);
      this.#run.drawDropPath();
      await addon.synchronize();
      for (const [stage, [, enqueue]] of stages.entries()) {
        const begin = performance.now();
        enqueue(this.#run);
        await addon.synchronize();
        times[stage]?.seconds.push((performance.now() - begin) / 1e3);
      }
      this.#iteration++;
    }
    return times;
  }

  async #step(): Promise<number> {
    const batch = this.#batches.next();
    const begin = performance.now();
    this.#enqueue(this.#run, this.#iteration++);
    this.#run.batch.upload(batch);
    await this.#run.results.clusteringLoss.read();
    await this.#run.results.capiLoss.read();
    await addon.synchronize();
    return (performance.now() - begin) / 1e3;
  }
}

export async function serveSteps([size, dtype, threads, place, mode]: readonly string[]): Promise<void> {
  const backend: Backend = place === 'cuda' ? 'cuda' : 'cpu';
  addon.setThreads(Number(threads));
  const rssBefore = processMemory('VmRSS');
  const config = sizeConfig(size as SizeName, dtype === 'bf16' ? 'bf16' : 'f32');
  const { images, flopsPerImage, memory } = planTraining(config, backend);
  using run = new TrainingRun(config, { backend });
  run.start();
  const stepper = new Stepper(run, mode === 'eager' ? 'eager' : 'graph');
  await stepper.run(warmUpSteps);
  resetPeak();
  answer({ ready: true, images, flopsPerImage, plannedBytes: memory.peak });
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, count] = line.split(' ');
    if (command === 'quit') return;
    if (command === 'stages') answer({ stages: await stepper.stages(Number(count)) });
    else answer({ ...(await timedSteps(stepper, Number(count))), ...memoryNow(rssBefore, backend) });
  }
}

async function timedSteps(stepper: Stepper, count: number): Promise<object> {
  const before = process.cpuUsage();
  const seconds = await stepper.run(count);
  const { user, system } = process.cpuUsage(before);
  return { seconds, cpu_seconds_a_step: (user + system) / 1e6 / count };
}

/** Memory as step.py reports it, and our own account of it. */
function memoryNow(rssBefore: number, backend: Backend): object {
  const { liveBytes, scratchBytes, deviceLiveBytes, devicePeakBytes } = addon.stats();
  return {
    peak_rss_bytes: processMemory('VmHWM'),
    rss_bytes: processMemory('VmRSS'),
    rss_before_model_bytes: rssBefore,
    ...(backend === 'cuda'
      ? { tensor_bytes: deviceLiveBytes, device_peak_bytes: devicePeakBytes }
      : { tensor_bytes: liveBytes, scratch_bytes: scratchBytes }),
  };
}

function answer(data: object): void {
  console.log(JSON.stringify(data));
}
