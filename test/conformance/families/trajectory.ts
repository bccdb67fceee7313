/** Training steps end to end, by the run and the step that the trainer drives, on the file's pixels and masks. */
import { resolveConfig } from '../../../lib/config/load.js';
import { clusteringNames } from '../../../lib/loss/clustering_head.js';
import type { ParameterSet } from '../../../lib/tensor/parameters.js';
import { computeGradients, update } from '../../../lib/train/step.js';
import { TrainingRun } from '../../../lib/train/training_run.js';
import { backend } from '../../support/tensor.js';
import type { GoldenFile } from '../golden_file.js';
import { cutPatches } from '../pixels.js';
import { type Checks, largestError } from '../report.js';
import { maxAbs, schedules, trajectoryConstant, trajectoryScalars, trajectoryUpdate } from '../tolerances.js';

interface ScheduleSettings {
  readonly base_value: number;
  readonly final_value: number;
  readonly warmup_iters: number;
  readonly start_warmup_value?: number;
  readonly freeze_iters?: number;
  readonly truncate_cos?: number;
}

interface Settings {
  readonly patch: number;
  readonly img: number;
  readonly registers: number;
  readonly dim: number;
  readonly heads: number;
  readonly enc: number;
  readonly dec: number;
  readonly K: number;
  readonly b: number;
  readonly ratio: number;
  readonly sub: number;
  readonly clustering: Readonly<Record<string, unknown>>;
  readonly student_temp: number;
  readonly optim: {
    readonly total_iters: number;
    readonly betas: readonly [number, number];
    readonly weight_decay: number;
    readonly patch_embed_lr_mult: number;
    readonly rope_lr_mult: number;
    readonly layernorm_wd_mult: number;
    readonly lr: ScheduleSettings;
    readonly momentum: ScheduleSettings;
    readonly clustering_lr: ScheduleSettings;
  };
}

/**
 * The reference computes the gradient of the rotary frequencies and multiplies their learning rate by 0; a run with
 * rate 0 does not compute it. This rate is above 0 and too small to move an f32 of any frequency.
 */
const vanishingRate = 1e-30;

export async function checkTrajectory(file: GoldenFile, checks: Checks): Promise<void> {
  const settings = file.config as unknown as Settings;
  using run = new TrainingRun(configOf(settings), { backend });
  run.start();
  const groups = groupsOf(run);
  for (const { prefix, values } of groups) load(file, `init.${prefix}`, values, prefix);
  load(file, 'init.student.', run.studentEma, 'student.');
  run.refreshCopies();

  const log = new Log();
  const steps = file.shape('images')[0] as number;
  for (let iteration = 0; iteration < steps; iteration++) {
    giveBatch(file, run, settings, iteration);
    run.setIteration(iteration);
    computeGradients(run);
    await log.record(run, iteration);
    if (iteration === 0) await checkFirstGradients(file, checks, run);
    update(run);
    if (iteration + 1 < steps)
      await checkParameters(file, checks, run, `after${iteration + 1}`, iteration + 1);
  }
  await checkParameters(file, checks, run, 'final', steps);
  log.check(file, checks);
}

function configOf(settings: Settings) {
  const { optim } = settings;
  const schedule = (from: ScheduleSettings) => ({
    base_value: from.base_value,
    final_value: from.final_value,
    warmup_iters: from.warmup_iters,
    start_warmup_value: from.start_warmup_value ?? 0,
    freeze_iters: from.freeze_iters ?? 0,
    truncate_cos: from.truncate_cos ?? 1,
  });
  const kwargs = { betas: optim.betas };
  return resolveConfig({
    capi: {
      num_clusters: settings.K,
      student_temp: settings.student_temp,
      clustering_kwargs: settings.clustering,
      clustering_optimizer: { kwargs, lr_schedule: schedule(optim.clustering_lr) },
    },
    optim: {
      total_iters: optim.total_iters,
      batch_size_per_gpu: settings.b,
      optimizer_kwargs: kwargs,
      weight_decay: optim.weight_decay,
      lr_schedule: schedule(optim.lr),
      momentum_schedule: schedule(optim.momentum),
      patch_embed_lr_mult: optim.patch_embed_lr_mult,
      rope_lr_mult: optim.rope_lr_mult || vanishingRate,
      layernorm_wd_mult: optim.layernorm_wd_mult,
    },
    data: {
      mask_ratio: settings.ratio,
      prediction_subsampling: settings.sub,
      images_size: settings.img,
    },
    model: {
      patch_size: settings.patch,
      n_registers: settings.registers,
      transformers_kwargs: {
        embed_dim: settings.dim,
        drop_path_rate: 0,
        block_kwargs: { attn_kwargs: { num_heads: settings.heads } },
      },
      encoder_kwargs: { depth: settings.enc },
      decoder_kwargs: { depth: settings.dec },
    },
    efficiency: { param_dtype: 'float32' },
  }).config;
}

interface Group {
  /** In the file. */
  readonly prefix: string;
  readonly values: ParameterSet;
  /** The group that this one started from. */
  readonly initial: string;
}

function groupsOf(run: TrainingRun): Group[] {
  return [
    { prefix: 'student.', values: run.student, initial: 'student.' },
    { prefix: 'clustering.', values: run.clusteringWeights, initial: 'clustering.' },
  ];
}

/** The product's name of a parameter: the file's without the group, whose clustering head has no `head.`. */
function productName(prefix: string, tensor: string): string {
  const name = tensor.slice(tensor.indexOf(prefix) + prefix.length);
  if (!prefix.startsWith('clustering')) return name;
  return name === 'layer.weight' ? clusteringNames.weight : clusteringNames.bias;
}

function load(file: GoldenFile, from: string, set: ParameterSet, prefix: string): void {
  for (const name of file.names(from)) set.matrix(productName(prefix, name)).write(file.floats(name));
}

/** What the loader and `batch.prepare` would have made. */
function giveBatch(file: GoldenFile, run: TrainingRun, { patch }: Settings, iteration: number): void {
  const row = (name: string) => {
    const all = file.values(name);
    const size = all.length / (file.shape(name)[0] as number);
    return all.subarray(iteration * size, (iteration + 1) * size);
  };
  const shape = file.shape('images').slice(1);
  run.batch.patches.write(cutPatches(row('images') as Float32Array, { shape, patch }));
  run.batch.visible.write(row('visible_indices'));
  run.batch.predict.write(row('predict_indices'));
  run.batch.selectVisible();
}

async function checkFirstGradients(file: GoldenFile, checks: Checks, run: TrainingRun): Promise<void> {
  checks.tensor('step0', 'targets', await run.targets.readFloats());
  const sets = { 'student.': run.gradients, 'clustering.': run.clusteringGradients };
  for (const [prefix, set] of Object.entries(sets)) {
    for (const name of file.names(`step0.grad.${prefix}`)) {
      const gradient = set.matrix(productName(prefix, name));
      checks.tensor('step0', name.slice('step0.'.length), await gradient.readFloats());
    }
  }
}

/** Compares each group through |p − golden| / |golden − initial|; the frequencies must not have moved. */
async function checkParameters(
  file: GoldenFile,
  checks: Checks,
  run: TrainingRun,
  caseName: string,
  steps: number,
): Promise<void> {
  const ema: Group = { prefix: 'student_ema.', values: run.studentEma, initial: 'student.' };
  for (const { prefix, values, initial } of [...groupsOf(run), ema]) {
    const start = `${caseName}.${prefix}`;
    const names = file.names(start);
    if (names.length === 0) continue;
    let [error, change] = [0, 0];
    let frequencies = 0;
    for (const name of names) {
      const ours = await values.matrix(productName(prefix, name)).readFloats();
      const golden = file.values(name);
      const before = file.values(`init.${initial}${name.slice(start.length)}`);
      if (ours.length !== golden.length) throw new Error(`${name} has another shape`);
      if (name.includes('rope')) {
        frequencies = Math.max(frequencies, largestError(ours, golden) / maxAbs(golden));
        continue;
      }
      error += distance(ours, golden) ** 2;
      change += distance(golden, before) ** 2;
    }
    const note = '|p - golden| / |golden - initial|';
    checks.most(caseName, `${prefix}*`, Math.sqrt(error / change), trajectoryUpdate, note);
    if (names.some((name) => name.includes('rope'))) {
      const limit = trajectoryConstant(steps);
      checks.most(caseName, `${prefix}*.rope.freqs`, frequencies, limit, 'relative; they do not move');
    }
  }
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let squares = 0;
  for (let i = 0; i < a.length; i++) squares += ((a[i] as number) - (b[i] as number)) ** 2;
  return Math.sqrt(squares);
}

/** What the file logs of each step. */
class Log {
  readonly #values: Record<string, number[]> = {};

  async record(run: TrainingRun, iteration: number): Promise<void> {
    const { results } = run;
    const one = async (tensor: { readFloats(): Promise<ArrayLike<number>> }) =>
      (await tensor.readFloats())[0] as number;
    const norm = async (set: ParameterSet) => {
      let squares = 0;
      for (const { name } of set.layout.parameters) {
        for (const value of await set.matrix(name).readFloats()) squares += value ** 2;
      }
      return Math.sqrt(squares);
    };
    const entries = {
      student_loss: await one(results.capiLoss),
      clustering_loss: await one(results.clusteringLoss),
      target_entropy: await one(results.targetEntropy),
      lr: run.schedules.learningRate.at(iteration),
      momentum: run.schedules.momentum.at(iteration),
      clustering_lr: run.schedules.clusteringLearningRate.at(iteration),
      student_grad_norm: await norm(run.gradients),
      clustering_grad_norm: await norm(run.clusteringGradients),
    };
    for (const [name, value] of Object.entries(entries)) {
      this.#values[name] ??= [];
      this.#values[name].push(value);
    }
  }

  /** `log` is the reference's fp32 run, `log64` the same in float64. Relative errors, step by step. */
  check(file: GoldenFile, checks: Checks): void {
    const rates = ['lr', 'momentum', 'clustering_lr'];
    for (const [name, ours] of Object.entries(this.#values)) {
      for (const run of ['log', 'log64'].filter((prefix) => file.has(`${prefix}.${name}`))) {
        const golden = file.values(`${run}.${name}`);
        const errors = ours.map((value, i) => relative(value, golden[i] as number));
        const largest = errors.reduce(
          (most, error) => (error > most || Number.isNaN(error) ? error : most),
          0,
        );
        const note = golden.length === ours.length ? 'relative' : 'another number of steps';
        const tolerance = rates.includes(name) ? schedules : trajectoryScalars;
        checks.most(run, name, golden.length === ours.length ? largest : Number.NaN, tolerance, note);
      }
    }
  }
}

function relative(value: number, golden: number): number {
  return value === golden ? 0 : Math.abs(value - golden) / Math.abs(golden);
}
