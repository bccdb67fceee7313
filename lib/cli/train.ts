/** `capi train`: runs the trainer with a progress display. */
import { loadConfig } from '../config/load.js';
import { Progress } from '../train/progress.js';
import { train } from '../train/trainer.js';
import { bytes } from './format.js';
import { printConfigNotes } from './notes.js';

export async function trainCommand(path: string, overrides: readonly string[], options: { quiet?: boolean }) {
  const loaded = await loadConfig(path, overrides);
  const { config } = loaded;
  printConfigNotes(loaded);
  let progress: Progress | undefined;
  const note = (message: string) => (progress ? progress.note(message) : console.error(message));
  try {
    const result = await train(config, {
      onStart({ iteration, images, dataset }) {
        if (options.quiet) return;
        console.error(`${images} images from ${dataset}, run folder ${config.train.output_dir}`);
        progress = new Progress({
          totalIterations: config.optim.total_iters,
          batchSize: config.optim.batch_size_per_gpu,
          startIteration: iteration,
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
