/** In a process of its own, whose scratch memory no other test has grown. */
import { runModule } from '../support/addon_child.js';

test('an op that would grow its scratch while recording is refused, and says what to do', () => {
  const end = runModule(`
    const [rows, cols] = [700, 96];
    const zeros = (shape) => Tensor.zeros(shape, 'f32', 'cuda');
    const [x, gradX, rstd, gradWeight] = [[rows, cols], [rows, cols], [1, rows], [1, cols]].map(zeros);
    const graph = new addon.Graph();
    graph.begin();
    ops.rmsNormBackward({ x, rstd, gradY: x, gradX, gradWeight });
    try {
      graph.end(); // throws when the stream has come to the op by now
      await addon.synchronize();
    } catch (error) {
      console.log(error.code, error.message);
    }`);
  expect(end.stdout).toMatch(
    /^ERR_CAPI_INVALID_ARGUMENT .*an op that needs more scratch; run it once before/,
  );
});
