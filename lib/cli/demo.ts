/**
 * `capi demo`: a tiny ViT learns from images without labels, then a linear classifier tells how much it learned. The recipe
 * is configs/demo.yaml.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describeDifferences, trajectoryDifferences } from '../config/compare.js';
import { loadConfig } from '../config/load.js';
import { stepsOverrides } from '../config/run_length.js';
import type { Config } from '../config/schema.js';
import type { ImageSource } from '../data/image_source.js';
import { openSource } from '../data/source.js';
import { loadImages } from '../eval/load_images.js';
import { type LabelledImages, probe } from '../eval/probe.js';
import type { ProbeReport, ProbeScores, ReportMetrics } from '../eval/report/data.js';
import { writeReport } from '../eval/report/page.js';
import { loadModel, VisionModel } from '../eval/vision_model.js';
import { CapiError } from '../native/errors.js';
import { packageRoot } from '../native/package_root.js';
import { Progress } from '../train/progress.js';
import { RESOLVED_CONFIG_NAME } from '../train/resolved_config.js';
import { runReport } from '../train/run_report.js';
import { train } from '../train/trainer.js';
import { fashionMnist } from './fashion_mnist.js';
import { table } from './format.js';

export interface DemoOptions {
  /** Folder of images (classes = first-level folders) or any other data set; default: Fashion-MNIST. */
  readonly data?: string;
  readonly seed: number;
  readonly output: string;
  readonly steps?: number;
}

export const defaultOutput = 'runs/demo';

/** Images that the classifier is fitted to, and that it is judged by. */
const trainImages = 5000;
const testImages = 2000;
/** What another implementation of this recipe must reach over random initialisation, in points. */
const required = { C: 1, points: 10, neighboursPoints: 12 } as const;

export async function demoCommand(options: DemoOptions): Promise<void> {
  const data = await demoData(options.data);
  const { config, recipeSteps } = await demoConfig(options, data.train);
  console.error(
    `A ViT of ${config.model.encoder_kwargs.depth} blocks learns from ${data.name} by itself; no labels are used.`,
  );
  await refuseOtherRun(config);
  await runTraining(config);
  console.error('Now a linear classifier on its frozen features, against the same network before training.');
  const report = await runReport(options.output, `CAPI on ${data.name}`);
  const scores = await probeReport(config, options.output, data);
  const note = scores && marginNote(config.optim.total_iters, recipeSteps, scores.testImages);
  const result = note ? { ...scores, note } : scores;
  const path = join(options.output, 'report.html');
  await writeReport(path, {
    ...report,
    ...(result ? { probe: result } : {}),
    command: demoCommandLine(options),
    tiles: [
      { value: (trainingSeconds(report.metrics ?? []) / 60).toFixed(1), unit: 'min', label: 'training time' },
    ],
  });
  if (result) console.log(scoreTable(result));
  else console.error('There are no labels, so there is no accuracy to show.');
  if (note) console.log(`\n${note}`);
  console.log(`\nreport: ${path}`);
}

/** What repeats the demo, as a shell reads it: only what differs from the defaults. */
export function demoCommandLine({ data, output, steps, seed }: DemoOptions): string {
  const given = [
    ...(data ? ['--data', quoted(data)] : []),
    ...(output === defaultOutput ? [] : ['--output', quoted(output)]),
    ...(steps === undefined ? [] : ['--steps', String(steps)]),
    ...(seed === 0 ? [] : ['--seed', String(seed)]),
  ];
  return ['npm start', ...(given.length > 0 ? ['--', ...given] : [])].join(' ');
}

function quoted(word: string): string {
  return /^[\w./:@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The margin holds for the whole recipe and many test images: with less of either, missing it tells little. */
export function marginNote(steps: number, recipeSteps: number, judged: number): string | undefined {
  const reasons = [
    ...(steps < recipeSteps ? [`this run took ${steps} of the recipe's ${recipeSteps} steps`] : []),
    ...(judged < testImages ? [`there were only ${judged} test images`] : []),
  ];
  if (reasons.length === 0) return undefined;
  return `The margin is set for ${recipeSteps} steps and ${testImages} test images of Fashion-MNIST; ${reasons.join(' and ')}.`;
}

/** The run, and the steps that its recipe has without `--steps`. */
async function demoConfig(
  { output, seed, steps }: DemoOptions,
  dataset: string,
): Promise<{ readonly config: Config; readonly recipeSteps: number }> {
  const path = join(packageRoot(), 'configs', 'demo.yaml');
  const overrides = [`train.output_dir=${output}`, `train.seed=${seed}`, `data.dataset=${dataset}`];
  const { config } = await loadConfig(path, overrides);
  const recipeSteps = config.optim.total_iters;
  if (steps === undefined) return { config, recipeSteps };
  const shortened = await loadConfig(path, [...overrides, ...stepsOverrides(config, steps)]);
  return { config: shortened.config, recipeSteps };
}

/** A finished run of another seed or data set would be continued, that is, shown under this one's name. */
async function refuseOtherRun(config: Config): Promise<void> {
  const folder = config.train.output_dir;
  const path = join(folder, RESOLVED_CONFIG_NAME);
  if (!existsSync(path)) return;
  const changed = trajectoryDifferences((await loadConfig(path)).config, config);
  if (changed.length === 0) return;
  throw new CapiError(
    'ERR_CAPI_INVALID_ARGUMENT',
    `${folder} holds a demo with other settings; give another folder with --output, or delete this one:\n` +
      describeDifferences(changed),
  );
}

interface DemoData {
  readonly name: string;
  /** Address of the training images. */
  readonly train: string;
  /** Address of held-out images; absent: some of the training set are held out for the classifier. */
  readonly test?: string;
}

async function demoData(address: string | undefined): Promise<DemoData> {
  if (address) return { name: address, train: address };
  const folder = await fashionMnist();
  return {
    name: 'Fashion-MNIST',
    train: `idx://${folder}?pad=2`,
    test: `idx://${folder}?pad=2&split='test'`,
  };
}

async function runTraining(config: Config): Promise<void> {
  let progress: Progress | undefined;
  try {
    const result = await train(config, {
      onStart() {
        progress = new Progress({
          totalIterations: config.optim.total_iters,
          batchSize: config.optim.batch_size_per_gpu,
        });
      },
      onStep: (report) => progress?.update(report),
      onNote: (message) => (progress ? progress.note(message) : console.error(message)),
    });
    if (!result.finished) {
      throw new CapiError(
        'ERR_CAPI_INTERRUPTED',
        `The demo was stopped at step ${result.iteration} of ${config.optim.total_iters}; start it again to go on from there`,
      );
    }
  } finally {
    progress?.finish();
  }
}

/** From the log, so that a demo which was stopped and started again tells the whole time. */
function trainingSeconds(lines: readonly ReportMetrics[]): number {
  return lines.reduce((sum, line, i) => {
    const steps = line.iteration - (lines[i - 1]?.iteration ?? -1);
    return sum + steps * (line.iter_time ?? 0);
  }, 0);
}

/** Accuracy before and after training; undefined where images have no labels. */
async function probeReport(config: Config, run: string, data: DemoData): Promise<ProbeReport | undefined> {
  const size = config.data.images_size;
  const source = openSource(data.train);
  const held = data.test ? openSource(data.test) : source;
  try {
    if (source.classes.length < 2) return undefined;
    const [fitted, judged] = split(source, held);
    const fit = await labelled(source, fitted, size);
    const test = await labelled(held, judged, size);
    using trained = await loadModel(run, { weights: 'student', imageSize: size, batchSize: 50 });
    using initial = new VisionModel(trained.config, trained);
    initial.initialize(config.train.seed);
    return {
      initial: await probe(initial, fit, test),
      trained: await probe(trained, fit, test),
      trainImages: fit.labels.length,
      testImages: test.labels.length,
      classes: source.classes.length,
      required,
    };
  } finally {
    await source.close();
    if (held !== source) await held.close();
  }
}

/** The first images of each set; from one set alone, every seventh pair is held out. */
function split(source: ImageSource, held: ImageSource): [number[], number[]] {
  const range = (length: number) => Array.from({ length }, (_, i) => i);
  if (held !== source) {
    return [range(Math.min(trainImages, source.length)), range(Math.min(testImages, held.length))];
  }
  const stride = Math.max(1, Math.floor(source.length / (trainImages + testImages)));
  const chosen = range(Math.floor(source.length / stride)).map((i) => i * stride);
  return [chosen.filter((_, i) => i % 7 < 5), chosen.filter((_, i) => i % 7 >= 5)];
}

async function labelled(
  source: ImageSource,
  indices: readonly number[],
  size: number,
): Promise<LabelledImages> {
  const images = await loadImages(source, indices, size);
  return {
    pixels: images.pixels,
    labels: Int32Array.from(images.indices, (index) => source.label(index) ?? -1),
  };
}

function scoreTable({ initial, trained, trainImages: fit, testImages: test }: ProbeReport): string {
  const percent = (share: number | undefined) => (share === undefined ? '' : `${(100 * share).toFixed(1)} %`);
  const row = (name: string, before: number | undefined, after: number | undefined) => [
    name,
    percent(before),
    percent(after),
    before === undefined || after === undefined
      ? ''
      : `${after >= before ? '+' : ''}${(100 * (after - before)).toFixed(1)}`,
  ];
  const before = (C: number): ProbeScores['logistic'][number] | undefined =>
    initial.logistic.find((score) => score.C === C);
  return table([
    [`accuracy, ${fit} train / ${test} test images`, 'random', 'trained', 'points'],
    ...trained.logistic.map(({ C, accuracy }) =>
      row(`logistic regression, C = ${C}`, before(C)?.accuracy, accuracy),
    ),
    row('10 nearest neighbours, cosine', initial.neighbours, trained.neighbours),
  ]);
}
