/** What `capi train` prints before it trains. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { failureText } from '../../lib/cli/failure.js';
import { trainCommand } from '../../lib/cli/train.js';
import { CapiError } from '../../lib/native/errors.js';
import { TemporaryFolder } from '../support/images.js';

let folder: TemporaryFolder;
let printed: string[];
const print = console.error;

beforeEach(() => {
  folder = new TemporaryFolder();
  printed = [];
  console.error = (text) => printed.push(String(text));
});

afterEach(() => {
  console.error = print;
  folder[Symbol.dispose]();
});

const fewImages = 'optim.batch_size_per_gpu=16'; // for many prototypes: a warning

test.each([
  ['data that is not there', 'ERR_CAPI_DATA', 'data.dataset=/nowhere'],
  [
    'a backend that is not there',
    'ERR_CAPI_BACKEND_UNAVAILABLE',
    'data.dataset=.',
    'efficiency.backend=cuda',
  ],
])('%s is all that is told', async (_what, code, ...settings) => {
  const output = join(folder.path, 'run');
  const overrides = [`train.output_dir=${output}`, fewImages, ...settings];
  await expect(trainCommand('configs/tiny.yaml', overrides, {})).rejects.toMatchObject({ code });
  expect(printed).toEqual([]);
  expect(existsSync(output)).toBe(false);
});

test("a recipe's placeholder for the data is called that, with what to add", async () => {
  const output = `train.output_dir=${folder.path}/run`;
  const message = expect.stringMatching(
    /^Expected data\.dataset .* configs\/tiny\.yaml .*placeholder.* add data\.dataset=</,
  );
  await expect(trainCommand('configs/tiny.yaml', [output], {})).rejects.toMatchObject({
    code: 'ERR_CAPI_DATA',
    message,
  });
  await expect(trainCommand('configs/tiny.yaml', [output, 'data.dataset=images'], {})).rejects.toMatchObject({
    message: expect.not.stringContaining('placeholder'),
  });
});

test('an unknown key on the command line is not said to be in the file', async () => {
  await expect(trainCommand('configs/tiny.yaml', ['optim.totl_iters=5'], {})).rejects.toMatchObject({
    message: expect.stringMatching(/^command line: Unknown key optim\.totl_iters/),
  });
});

test('--steps makes a short trial of any recipe, and says what it stands for', async () => {
  await folder.writeImages(20, 'images/');
  const overrides = [`train.output_dir=${folder.path}/run`, `data.dataset=${folder.path}/images`, fewImages];
  await trainCommand('configs/tiny.yaml', overrides, { steps: 2, quiet: true });
  expect(printed).toContain(
    '--steps 2 stands for optim.total_iters=2 optim.lr_schedule.warmup_iters=1 ' +
      'optim.momentum_schedule.warmup_iters=1 capi.clustering_optimizer.lr_schedule.warmup_iters=1',
  );
  expect(printed).toContainEqual(expect.stringMatching(/^warning: 16 images a step for \d+ prototypes/));
  expect(printed.at(-1)).toMatch(/^finished at iteration 2;/);
});

test('the code of an error ends its line, and stands under a list', () => {
  const text = (message: string) => failureText(new CapiError('ERR_CAPI_INVALID_CONFIG', message));
  expect(text('no')).toBe('error: no [ERR_CAPI_INVALID_CONFIG]');
  expect(text('2 problems\n  - a\n  - b')).toBe('error: 2 problems\n  - a\n  - b\n[ERR_CAPI_INVALID_CONFIG]');
});
