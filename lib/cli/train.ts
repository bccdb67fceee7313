/** `capi train`: runs the trainer with a progress display. */
import { existsSync } from 'node:fs';
import { type LoadedConfig, loadConfig } from '../config/load.js';
import { stepsOverrides } from '../config/run_length.js';
import { dataError } from '../data/data_errors.js';
import { bytes } from '../native/bytes.js';
import { Progress } from '../train/progress.js';
import { train } from '../train/trainer.js';
import { printConfigNotes } from './notes.js';

export interface TrainCommandOptions {
  readonly quiet?: boolean;
  readonly steps?: number;
}

export async function trainCommand(
  path: string,
  overrides: readonly string[],
  options: TrainCommandOptions,
): Promise<void> {
  const { loaded, shortened } = await loadRun(path, overrides, options.steps);
  const { config } = loaded;
  refusePlaceholder(path, config.data.dataset, overrides);
  let progress: Progress | undefined;
  const note = (message: string) => (progress ? progress.note(message) : console.error(message));
  try {
    const result = await train(config, {
      onStart({ images, dataset }) {
        printConfigNotes(loaded);
        if (shortened.length > 0) console.error(`--steps ${options.steps} stands for ${shortened.join(' ')}`);
        if (options.quiet) return;
        console.error(`${images} images from ${dataset}, run folder ${config.train.output_dir}`);
        progress = new Progress({
          totalIterations: config.optim.total_iters,
          batchSize: config.optim.batch_size_per_gpu,
        });
      },
      onStep: (report) => progress?.update(report),
      onNote: note,
    });
    progress?.finish();
    console.error(
      `${result.finished ? 'finished' : 'stopped'} at iteration ${result.iteration}; checkpoint ${result.checkpoint}; ` +
        `${(100 * result.dataWaitShare).toFixed(1)} % of the time waited for data; peak memory ${bytes(result.peakBytes)}`,
    );
  } finally {
    progress?.finish();
  }
}

/** The configuration, and the overrides that `--steps` stands for. */
async function loadRun(
  path: string,
  overrides: readonly string[],
  steps: number | undefined,
): Promise<{ readonly loaded: LoadedConfig; readonly shortened: readonly string[] }> {
  const whole = await loadConfig(path, overrides, 'command line');
  if (steps === undefined) return { loaded: whole, shortened: [] };
  const shortened = stepsOverrides(whole.config, steps);
  return { loaded: await loadConfig(path, [...overrides, ...shortened], 'command line'), shortened };
}

/** What the recipes of configs/ give for `data.dataset`: the folder of whoever trains is not known to them. */
const placeholder = 'images';

function refusePlaceholder(path: string, dataset: string, overrides: readonly string[]): void {
  if (dataset !== placeholder || existsSync(placeholder)) return;
  if (overrides.some((override) => /^\s*data(\.dataset)?\s*=/.test(override))) return;
  throw dataError(
    `Expected data.dataset to be set but ${path} has only a placeholder, ${placeholder}, where there is nothing: ` +
      'add data.dataset=<folder of images>, or IDX files, or tar shards such as path/{000..031}.tar',
  );
}
