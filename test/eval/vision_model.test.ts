/** Inference: features of images by a loaded model. */
import { VisionModel } from '../../lib/eval/vision_model.js';
import type { ModelConfig } from '../../lib/model/model_config.js';
import { randomNumbers } from '../support/random.js';

const config: ModelConfig = {
  patchSize: 4,
  grid: [3, 3],
  width: 16,
  numHeads: 2,
  encoderDepth: 2,
  predictorDepth: 1,
  predictor: 'cross',
  registers: 4,
  registerCoordinates: 'edge',
  scaleRegistersToVisible: true,
  position: 'rope_coupled',
  ropeFrequencies: [7, 7e-4],
  encoderDropPath: 0,
  predictorDropPath: 0,
  normEps: 1e-5,
  dtype: 'f32',
};

function randomImages(count: number, seed: number): Uint8Array {
  const next = randomNumbers(seed);
  return Uint8Array.from({ length: count * 12 * 12 * 3 }, () => 256 * next());
}

test('calls that overlap give what they give one after the other', async () => {
  using model = new VisionModel(config, { batchSize: 2, backend: 'cpu' });
  model.initialize(0);
  const [some, others] = [randomImages(5, 1), randomImages(4, 2)];
  const alone = [await model.forward(some), await model.forward(others)];
  expect(await Promise.all([model.forward(some), model.forward(others)])).toEqual(alone);
});

test('features do not depend on the batch size', async () => {
  const images = randomImages(5, 3);
  using pairs = new VisionModel(config, { batchSize: 2, backend: 'cpu' });
  using all = new VisionModel(config, { batchSize: 5, backend: 'cpu' });
  for (const model of [pairs, all]) model.initialize(0);
  expect(await pairs.forward(images)).toEqual(await all.forward(images));
});

test.each([0, -1, 1.5, Number.NaN])('a batch size of %d is refused', (batchSize) => {
  expect(() => new VisionModel(config, { batchSize, backend: 'cpu' })).toThrow(
    expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
  );
});

test('pixels of a part of an image are refused', async () => {
  using model = new VisionModel(config, { batchSize: 1, backend: 'cpu' });
  await expect(model.forward(new Uint8Array(100))).rejects.toEqual(
    expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
  );
});
