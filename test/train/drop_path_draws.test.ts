import { Arena } from '../../lib/tensor/arena.js';
import { DropPathDraws } from '../../lib/train/drop_path_draws.js';
import { network } from '../../lib/train/network.js';
import { TemporaryFolder } from '../support/images.js';
import { tinyConfig } from '../support/tiny_run.js';

describe('DropPathDraws', () => {
  test('draws other images in every iteration, the same for the same one, and others for the predictor', async () => {
    using folder = new TemporaryFolder();
    using arena = new Arena('draws');
    const draws = new DropPathDraws(
      network(tinyConfig(folder, ['optim.batch_size_per_gpu=40', 'model.encoder_kwargs.depth=3'])),
      arena,
    );
    arena.allocate();
    const drawn = async (iteration: number) => {
      draws.setIteration(iteration);
      draws.draw(1);
      return [await draws.encoder?.indices.read(), await draws.predictor?.indices.read()];
    };
    const [encoder, predictor] = await drawn(3);
    expect(await drawn(4)).not.toEqual([encoder, predictor]);
    expect(await drawn(3)).toEqual([encoder, predictor]);
    expect(encoder?.slice(0, predictor?.length)).not.toEqual(predictor);
  });
});
