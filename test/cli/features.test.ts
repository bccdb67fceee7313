/** `capi features`: what it writes, what it holds meanwhile, and what is left when it fails. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { asFloat32, readSafetensors } from '../../lib/checkpoint/safetensors.js';
import { type FeaturesOptions, featuresCommand } from '../../lib/cli/features.js';
import { openSource } from '../../lib/data/source.js';
import { loadImages } from '../../lib/eval/load_images.js';
import { loadModel, VisionModel } from '../../lib/eval/vision_model.js';
import { ops } from '../../lib/tensor/ops.js';
import { train } from '../../lib/train/trainer.js';
import { openBelow, TemporaryFolder, tarFile } from '../support/images.js';
import { tinyConfig } from '../support/tiny_run.js';

let run: TemporaryFolder;
let checkpoint: string;
const said: string[] = [];

beforeAll(async () => {
  run = new TemporaryFolder();
  checkpoint = (await train(tinyConfig(run, ['optim.total_iters=2']))).checkpoint;
});

afterAll(() => run[Symbol.dispose]());

beforeEach(() => {
  said.length = 0;
  jest.spyOn(console, 'error').mockImplementation((text) => void said.push(String(text)));
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
});

afterEach(() => jest.restoreAllMocks());

function features(folder: TemporaryFolder, options: Partial<FeaturesOptions> = {}, images = folder.path) {
  const output = join(folder.path, 'out', 'features.safetensors');
  return featuresCommand(checkpoint, images, {
    output,
    weights: 'student_ema',
    batch: 3,
    backend: 'auto',
    maxBadShare: 0.01,
    ...options,
  });
}

/** A folder of 8 images; `out` is where features go. */
async function imageFolder(): Promise<TemporaryFolder> {
  const folder = new TemporaryFolder();
  await folder.writeImages(8);
  folder.write('out/note.txt', '');
  return folder;
}

const written = (folder: TemporaryFolder) =>
  readSafetensors(join(folder.path, 'out', 'features.safetensors'));

test('features of every image stand in one file, as the model gives them, under their names', async () => {
  using folder = await imageFolder();
  await features(folder);
  const { entries, metadata } = await written(folder);
  using model = await loadModel(checkpoint);
  await using source = openSource(folder.path);
  const images = await loadImages(source, [0, 1, 2, 3, 4, 5, 6, 7], model.imageSize[0]);
  const expected = await model.forward(images.pixels);
  expect(entries.map(({ name, shape }) => [name, shape])).toEqual([
    ['feature_map', [8, 4, 4, 16]],
    ['registers', [8, 4, 16]],
    ['global_repr', [8, 16]],
  ]);
  expect(entries.map(asFloat32)).toEqual([expected.featureMap, expected.registers, expected.globalRepr]);
  expect(JSON.parse(metadata.images as string)).toEqual(images.indices.map((i) => source.describe(i)));
  expect(said.join('\n')).toMatch(
    /^backend cpu: .*\[8\/8\] .*images\/s.*\n8 images of 16x16: features in .*safetensors/s,
  );
});

test('bad images are left out, named and counted', async () => {
  using folder = await imageFolder();
  await features(folder);
  const all = await written(folder);
  writeFileSync(join(folder.path, '0001.png'), '');
  writeFileSync(join(folder.path, '0006.png'), 'not an image');
  await features(folder, { maxBadShare: 0.25 });
  const { entries, metadata } = await written(folder);
  const kept = [0, 2, 3, 4, 5, 7];
  expect(entries.map(({ shape }) => shape[0])).toEqual([6, 6, 6]);
  entries.forEach((entry, number) => {
    const before = asFloat32(all.entries[number]!);
    const size = before.length / 8;
    const rows = kept.flatMap((i) => [...before.subarray(i * size, (i + 1) * size)]);
    expect([...asFloat32(entry)]).toEqual(rows);
  });
  expect(JSON.parse(metadata.images as string)).toEqual(kept.map((i) => join(folder.path, `000${i}.png`)));
  const text = said.join('\n');
  expect(text).toMatch(/left out: .*0001\.png is empty/);
  expect(text).toMatch(/left out: .*0006\.png/);
  expect(text).toMatch(/6 images of 16x16 \(2 bad ones left out\)/);
});

test('a device that cannot be used is all that is told, and nothing is written', async () => {
  using folder = await imageFolder();
  await expect(features(folder, { backend: 'cuda' })).rejects.toMatchObject({
    code: 'ERR_CAPI_BACKEND_UNAVAILABLE',
    message: expect.stringMatching(/for --backend cuda but .* Or use --backend cpu or auto\.$/),
  });
  expect(said).toEqual([]);
  expect(readdirSync(join(folder.path, 'out'))).toEqual(['note.txt']);
});

test('no more than one batch is held at a time', async () => {
  using folder = await imageFolder();
  const forward = jest.spyOn(VisionModel.prototype, 'forward');
  await features(folder, { limit: 7 });
  expect(forward.mock.calls.map(([pixels]) => pixels.length / (16 * 16 * 3))).toEqual([3, 3, 1]);
});

describe('leaves what stood there, and nothing else', () => {
  const atSecondBatch = (act: () => void) => {
    const { forward } = VisionModel.prototype;
    let calls = 0;
    jest.spyOn(VisionModel.prototype, 'forward').mockImplementation(function (this: VisionModel, pixels) {
      calls += 1;
      if (calls === 2) act();
      return forward.call(this, pixels);
    });
  };
  const fails = () => {
    throw new Error('broken');
  };

  test.each<[string, () => void, object]>([
    ['when a batch fails', fails, { message: 'broken' }],
    ['when interrupted', () => process.emit('SIGINT', 'SIGINT'), { code: 'ERR_CAPI_INTERRUPTED' }],
    ['when asked to end', () => process.emit('SIGTERM', 'SIGTERM'), { code: 'ERR_CAPI_INTERRUPTED' }],
  ])('%s', async (_, act, expected) => {
    using folder = await imageFolder();
    folder.write('out/features.safetensors', 'before');
    atSecondBatch(act);
    await expect(features(folder)).rejects.toMatchObject(expected);
    expect(readFileSync(join(folder.path, 'out', 'features.safetensors'), 'utf8')).toBe('before');
    expect(readdirSync(join(folder.path, 'out')).sort()).toEqual(['features.safetensors', 'note.txt']);
  });
});

describe('too many bad images leave what stood there', () => {
  const writeOlder = (images: TemporaryFolder) => images.write('out/features.safetensors', 'before');
  const expectOlder = (images: TemporaryFolder) =>
    expect(readFileSync(join(images.path, 'out', 'features.safetensors'), 'utf8')).toBe('before');
  const tooMany = (share: string, count: string) => ({
    code: 'ERR_CAPI_DATA',
    message: expect.stringMatching(
      new RegExp(`at most ${share} % of the images to be bad but ${count} .*\\.png.*--max-bad-share`),
    ),
  });

  test('when their folder vanishes midway', async () => {
    using folder = await imageFolder();
    writeOlder(folder);
    const { forward } = VisionModel.prototype;
    jest.spyOn(VisionModel.prototype, 'forward').mockImplementation(function (this: VisionModel, pixels) {
      for (const name of readdirSync(folder.path)) if (name.endsWith('.png')) rmSync(join(folder.path, name));
      return forward.call(this, pixels);
    });
    await expect(features(folder)).rejects.toMatchObject(tooMany('1', '5 of 8'));
    expectOlder(folder);
  });

  test('when they are more than the share that is allowed, and not when they are as many', async () => {
    using folder = await imageFolder();
    writeOlder(folder);
    for (const i of [1, 6]) writeFileSync(join(folder.path, `000${i}.png`), '');
    await expect(features(folder, { maxBadShare: 0.2 })).rejects.toMatchObject(tooMany('20', '2 of 8'));
    expectOlder(folder);
    await features(folder, { maxBadShare: 0.25 });
    expect((await written(folder)).entries[0]!.shape[0]).toBe(6);
  });

  test('when not one can be used, whatever is allowed', async () => {
    using folder = await imageFolder();
    writeOlder(folder);
    for (let i = 0; i < 8; i++) writeFileSync(join(folder.path, `000${i}.png`), '');
    await expect(features(folder, { maxBadShare: 1 })).rejects.toMatchObject({
      code: 'ERR_CAPI_DATA',
      message: expect.stringMatching(/at least one image .*none of 8/),
    });
    expectOlder(folder);
  });
});

test('where nothing can be written it says so before the work', async () => {
  using folder = await imageFolder();
  const forward = jest.spyOn(VisionModel.prototype, 'forward');
  const file = folder.write('file', '');
  await expect(features(folder, { output: join(file, 'no', 'where') })).rejects.toMatchObject({
    code: 'ERR_CAPI_SYSTEM',
    message: expect.stringMatching(/write .*no\/where .*ENOTDIR/),
  });
  await expect(features(folder, { output: folder.path })).rejects.toMatchObject({
    code: 'ERR_CAPI_INVALID_ARGUMENT',
    message: expect.stringMatching(/not of a folder/),
  });
  expect(forward).not.toHaveBeenCalled();
});

test('the folder of the output is made, and taken away again when the work fails', async () => {
  using folder = await imageFolder();
  const output = join(folder.path, 'out', 'new', 'folder', 'features.safetensors');
  const broken = jest.spyOn(VisionModel.prototype, 'forward').mockRejectedValue(new Error('broken'));
  await expect(features(folder, { output })).rejects.toThrow('broken');
  expect(readdirSync(join(folder.path, 'out'))).toEqual(['note.txt']);
  broken.mockRestore();
  await features(folder, { output });
  expect((await readSafetensors(output)).entries).toHaveLength(3);
});

test.each([
  [18, '16 or 20'],
  [3, '4'],
])('--size %d is answered with the nearest sizes that would do: %s', async (size, near) => {
  using folder = await imageFolder();
  await expect(features(folder, { size })).rejects.toMatchObject({
    code: 'ERR_CAPI_INVALID_ARGUMENT',
    message:
      `Expected a multiple of the patch size (4), such as ${near}, for the image size (imageSize, --size) ` +
      `but received ${size} (number)`,
  });
});

test('the data set is closed when a batch fails', async () => {
  using folder = await imageFolder();
  const content = readFileSync(join(folder.path, '0000.png'));
  const shard = folder.write('0.tar', tarFile([{ name: 'a.png', content }]));
  jest.spyOn(ops, 'resizeCrop').mockImplementation(() => {
    expect(openBelow(folder.path)).toBeGreaterThan(0);
    throw new Error('broken');
  });
  await expect(features(folder, {}, shard)).rejects.toThrow('broken');
  expect(openBelow(folder.path)).toBe(0);
  expect(existsSync(join(folder.path, 'out', 'features.safetensors'))).toBe(false);
});
