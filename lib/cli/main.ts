#!/usr/bin/env node
/** The `capi` command. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { isCapiError } from '../native/errors.js';
import { packageVersion } from '../native/versions.js';
import { defaultOutput, demoCommand } from './demo.js';
import { doctorCommand } from './doctor.js';
import { failureText } from './failure.js';
import { featuresCommand } from './features.js';
import { planCommand } from './plan.js';
import { reportCommand } from './report.js';
import { trainCommand } from './train.js';

const program = new Command('capi')
  .description('Pretrain and use vision transformers with CAPI.')
  .version(packageVersion());

/** Parses an option that counts something. */
function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('Expected an integer >= 1.');
  return value;
}

/** Parses an option that is a part of a whole. */
function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1)) {
    throw new InvalidArgumentError('Expected a number in [0, 1].');
  }
  return value;
}

const overrides = 'settings such as optim.total_iters=1000';

program
  .command('train')
  .description('train a model; continues where the run folder stands')
  .argument('<config>', 'YAML file')
  .argument('[key=value...]', overrides)
  .option('--quiet', 'no progress display')
  .option('--steps <n>', 'the same run in n iterations: optim.total_iters, warm-ups in proportion', count)
  .action(trainCommand);

program
  .command('plan')
  .description('parameters, memory and arithmetic of a run, without running it')
  .argument('<config>', 'YAML file')
  .argument('[key=value...]', overrides)
  .option('--json', 'one line of JSON')
  .action(planCommand);

program
  .command('doctor')
  .description('CPU features, threads, and which backend a run would use')
  .option('--json', 'one line of JSON')
  .action(doctorCommand);

program
  .command('features')
  .description('patch features of images, to a safetensors file')
  .argument('<checkpoint>', 'run folder, checkpoint, or weights under the published names')
  .argument('<images>', 'folder of images, or any other data set that training reads')
  .option('-o, --output <file>', 'where to write', 'features.safetensors')
  .option('--weights <network>', 'student_ema or student', 'student_ema')
  .option('--size <pixels>', 'side of the square that images are resized to; default: as trained', count)
  .option('--limit <images>', 'at most so many', count)
  .option('--batch <images>', 'images at a time', count, 16)
  .addOption(
    new Option('--backend <device>', 'where to compute').choices(['auto', 'cpu', 'cuda']).default('auto'),
  )
  .option('--max-bad-share <share>', 'ends where more of the images are bad', share, 0.01)
  .action(featuresCommand);

program
  .command('report')
  .description('curves, masks and pictures of a run, as one HTML file')
  .argument('<run>', 'run folder')
  .option('-o, --output <file>', 'where to write; default: report.html in the run folder')
  .action(reportCommand);

program
  .command('demo')
  .description('a tiny model learns Fashion-MNIST in minutes, then is measured and drawn')
  .option('--data <address>', 'folder of images, classes = first-level folders; default: Fashion-MNIST')
  .option('--seed <n>', 'another seed, another run', Number, 0)
  .option('--steps <n>', 'training steps; default 3500', count)
  .option('-o, --output <folder>', 'run folder', defaultOutput)
  .action(demoCommand);

try {
  await program.parseAsync();
} catch (error) {
  if (!isCapiError(error)) throw error;
  console.error(failureText(error));
  process.exitCode = 1;
}
