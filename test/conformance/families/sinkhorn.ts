/** Sinkhorn-Knopp assignments: for whole groups in one op, by phases as over chunks and ranks, and in bf16. */
import { ops } from '../../../lib/tensor/ops.js';
import type { Tensor } from '../../../lib/tensor/tensor.js';
import type { GoldenFile } from '../golden_file.js';
import { type Checks, largestError } from '../report.js';
import { byYardstick, maxAbs, ofRoundedExponents } from '../tolerances.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly n_iterations: number;
  readonly temp: number;
}

export async function checkSinkhorn(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, { n_iterations: iterations, temp }] of file.cases<Case>()) {
    using space = new Workspace(file);
    const { groups, shape } = layout(file.shape(`${name}.in.M`));
    const logits = space.load(`${name}.in.M`, shape);
    const whole = await assignments(space, { logits, groups, iterations, targetTemp: 1 });
    checks.tensor(name, 'out.Q', whole);
    if (groups === 1 && iterations > 0) {
      const phases = await inPhases(space, logits, iterations);
      checks.tensor(name, 'out.Q', phases, { note: 'by phases' });
    }
    // From the logits, as the product has them: M is rounded on the way.
    const raw = space.load(`${name}.in.logits`, shape);
    const expected = file.values(`${name}.out.Q`);
    const base = byYardstick(file, `${name}.out.Q`, expected);
    const tolerance = ofRoundedExponents(base, maxAbs(file.values(`${name}.in.M`)), maxAbs(expected));
    checks.tensor(
      name,
      'out.Q',
      await assignments(space, { logits: raw, groups, iterations, targetTemp: temp }),
      {
        tolerance,
        note: 'from logits and temperature',
      },
    );
  }
}

/** Informative in the file; here: we must not be further from the fp32 result than the reference in bf16 is. */
export async function checkSinkhornBf16(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, { n_iterations: iterations }] of file.cases<Case>()) {
    using space = new Workspace(file);
    const { groups, shape } = layout(file.shape(`${name}.in.M`));
    const logits = space.from(file.values(`${name}.in.M`), shape, 'bf16');
    const result = await assignments(space, { logits, groups, iterations, targetTemp: 1 });
    const reference = largestError(file.values(`${name}.out.Q`), file.values(`${name}.ref.Q32`));
    const tolerance = reference;
    checks.tensor(name, 'ref.Q32', result, { tolerance, note: "tolerance: the reference's own bf16 error" });
  }
}

/** [n, K] is one group, [groups, n, K] several. */
function layout(shape: readonly number[]): { groups: number; shape: [number, number] } {
  const [K = 1, n = 1, groups = 1] = [...shape].reverse();
  return { groups, shape: [groups * n, K] };
}

async function assignments(
  space: Workspace,
  problem: { logits: Tensor; groups: number; iterations: number; targetTemp: number },
): Promise<ArrayLike<number>> {
  const result = space.output(problem.logits.shape);
  const totalRows = problem.logits.rows;
  ops.sinkhornKnoppLoss({ ...problem, predTemp: 1, totalRows, assignments: result });
  return result.readFloats();
}

/** One group in two chunks of rows. */
async function inPhases(space: Workspace, logits: Tensor, iterations: number): Promise<ArrayLike<number>> {
  const [rows, K] = [logits.rows, logits.cols];
  const column = () => space.output([1, K]);
  const [columnMax, columnScale, columnSums] = [column(), column(), column()];
  const rowScale = space.output([1, rows]);
  const result = space.output([rows, K]);
  const border = Math.ceil(rows / 2);
  const chunks = [
    [0, border],
    [border, rows],
  ]
    .filter(([begin = 0, end = 0]) => begin < end)
    .map(([begin = 0, end = 0]) => ({
      logits: logits.rowRange(begin, end),
      rowScale: rowScale.columnRange(begin, end),
      assignments: result.rowRange(begin, end),
      accumulate: begin > 0,
    }));
  const groups = 1;
  const targetTemp = 1;
  for (const { logits: x, accumulate } of chunks) {
    ops.sinkhornColumnMax({ logits: x, columnMax, groups, accumulate });
  }
  for (let iteration = 0; iteration < iterations; iteration++) {
    const first = iteration === 0;
    const scale = first ? undefined : columnScale;
    for (const { assignments: _, ...chunk } of chunks) {
      ops.sinkhornColumnSums({ ...chunk, columnMax, columnScale: scale, columnSums, groups, targetTemp });
    }
    ops.sinkhornUpdateColumns({ columnSums, columnScale, first });
  }
  const totals = { groups, targetTemp, predTemp: 1, totalRows: rows };
  for (const chunk of chunks) ops.clusteringLoss({ ...chunk, columnMax, columnScale, ...totals });
  return result.readFloats();
}
