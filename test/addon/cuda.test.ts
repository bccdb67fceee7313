/** A CUDA device that cannot be used is refused with the first thing to fix, however it is asked for. */
import { addon } from '../../lib/native/addon.js';
import { runModule } from '../support/addon_child.js';

test('memory and graphs on a device work, or say what addon.cuda() says', () => {
  const end = runModule(`
    const attempt = async (body) => {
      try { await body(); return 'works'; } catch ({ code, message }) { return { code, message }; }
    };
    console.log(JSON.stringify([
      await attempt(() => new addon.Storage(16, 'cuda').dispose()),
      await attempt(() => { const graph = new addon.Graph(); graph.begin(); graph.end(); return addon.synchronize(); }),
    ]));`);
  expect(end).toMatchObject({ status: 0, stderr: '' });
  const { devices, problem } = addon.cuda();
  const outcome =
    devices.length > 0
      ? 'works'
      : { code: 'ERR_CAPI_BACKEND_UNAVAILABLE', message: `[cuda] Expected a CUDA device but ${problem}` };
  expect(JSON.parse(end.stdout)).toEqual([outcome, outcome]);
});
