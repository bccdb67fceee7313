/** The student's head: L2-normalise, weight-normalised linear layer. */
import { addStudentHead, StudentHead } from '../../../lib/model/student_head.js';
import type { GoldenFile } from '../golden_file.js';
import { modelConfig, Network } from '../network.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

export async function checkStudentHead(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name] of file.cases()) {
    const [rows, width] = file.shape(`${name}.in.x`) as [number, number];
    const [numClusters] = file.shape(`${name}.param.last_layer.weight_g`) as [number, number];
    const head = { numClusters, kind: 'linear' } as const;
    const config = modelConfig({ patchSize: 1, grid: [1, 1], width, numHeads: 1 });
    using network = new Network(
      { config, images: 1, addParameters: (layout) => addStudentHead(layout, width, head) },
      (build) => new StudentHead(build, head, rows),
    );
    network.load(file, `${name}.param.`, 'head.');
    using space = new Workspace(file);
    const x = space.load(`${name}.in.x`);
    network.modules.forward(x);
    checks.tensor(name, 'out.y', await network.modules.logits.readFloats());
    if (!file.has(`${name}.cot.y`)) continue;
    network.modules.logits.write(file.floats(`${name}.cot.y`));
    const gradX = space.output([rows, width]);
    network.modules.backward(x, gradX);
    checks.tensor(name, 'grad.in.x', await gradX.readFloats());
    await network.checkGradients(file, checks, name, 'head.');
  }
}
