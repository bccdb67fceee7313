/** Soft-target cross-entropy. */
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly temp: number;
}

export async function checkStudentLoss(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, { temp }] of file.cases<Case>()) {
    using space = new Workspace(file);
    const logits = space.load(`${name}.in.pred`);
    const targets = space.load(`${name}.in.target`);
    const loss = space.output([1, 1], 'f64');
    const gradLogits = space.output(logits.shape);
    ops.softCrossEntropy({ logits, targets, temperature: temp, loss, gradLogits });
    checks.tensor(name, 'out.loss', await loss.readFloats());
    // The op's gradient is that of the loss itself.
    const cotangent = file.number(`${name}.cot.loss`);
    const gradient = Float64Array.from(await gradLogits.readFloats(), (value) => cotangent * value);
    checks.tensor(name, 'grad.in.pred', gradient);
  }
}
