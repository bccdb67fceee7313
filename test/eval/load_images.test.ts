import { openSource } from '../../lib/data/source.js';
import { loadImages } from '../../lib/eval/load_images.js';
import { systemFailure, TemporaryFolder } from '../support/images.js';

test('bad images are left out; a failing system stops the loading and is named', async () => {
  using folder = new TemporaryFolder();
  await folder.writeImages(3);
  folder.write('0001.png', 'not an image');
  await using source = openSource(folder.path);
  const { indices, bad, pixels } = await loadImages(source, [0, 1, 2], 8);
  expect([indices, bad.length, pixels.length]).toEqual([[0, 2], 1, 2 * 8 * 8 * 3]);
  expect(bad[0]).toEqual({ index: 1, reason: expect.stringContaining('0001.png') });

  source.read = () => Promise.reject(systemFailure('EIO'));
  await expect(loadImages(source, [0], 8)).rejects.toMatchObject({
    code: 'ERR_CAPI_SYSTEM',
    message: expect.stringMatching(/0000\.png .*EIO/),
  });
});
