/** SIGTERM, SIGINT, SIGHUP and SIGUSR2 save and end a run; a second SIGINT ends it at once. */
import { TemporaryFolder } from '../support/images.js';
import { lastCheckpoint, tinyConfig, trainInChild } from '../support/tiny_run.js';

/** Long enough that no run of these ends by itself. */
const settings = ['optim.total_iters=100000', 'train.log_loss_every=1000'];

function lastOf(lines: readonly string[], kind: string): string {
  const line = lines.filter((text) => text.startsWith(`${kind} `)).at(-1);
  return line?.slice(kind.length + 1) ?? '';
}

test.each(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const)(
  '%s saves, and the run goes on from there',
  async (signal) => {
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder, settings);
    const stopped = await trainInChild(folder, config, {
      onLine: (line, child) => line === 'step 3' && child.kill(signal),
    });
    expect(stopped).toMatchObject({ code: 0, signal: null, stderr: '' });
    const result = JSON.parse(lastOf(stopped.lines, 'end'));
    expect(result).toMatchObject({ finished: false, iteration: Number(lastOf(stopped.lines, 'step')) });
    expect(await lastCheckpoint(config)).toMatchObject({
      path: result.checkpoint,
      state: { iteration: result.iteration },
    });

    const resumed = await trainInChild(folder, config, {
      onLine: (line, child) => line === `step ${result.iteration + 2}` && child.kill('SIGKILL'),
    });
    expect(lastOf(resumed.lines, 'start')).toBe(String(result.iteration));
  },
);

test('a second SIGINT ends the run at once', async () => {
  using folder = new TemporaryFolder();
  // A step long enough that the second signal comes before the first one was heeded.
  const slow = [
    'optim.batch_size_per_gpu=40',
    'model.transformers_kwargs.embed_dim=512',
    'model.encoder_kwargs.depth=8',
  ];
  const config = tinyConfig(folder, [...settings, ...slow]);
  const killed = await trainInChild(folder, config, {
    onLine(line, child) {
      if (line !== 'step 1') return;
      child.kill('SIGINT');
      setTimeout(() => child.kill('SIGINT'), 20);
    },
  });
  expect(killed).toMatchObject({ code: 130, signal: null });
  expect(lastOf(killed.lines, 'end')).toBe('');
  await expect(lastCheckpoint(config)).rejects.toThrow();
});
