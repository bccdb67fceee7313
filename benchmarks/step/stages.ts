/** Where our step's time goes: a pass of its own, with a wait after every stage, so that stages do not overlap. */
import type { Session } from '../harness/session.js';
import { spread } from '../harness/spread.js';
import { percent, range } from '../harness/table.js';
import type { Implementation, StepCase } from './implementations.js';
import type { MeasuredStep } from './step_row.js';
import type { StageName, StageTimes } from './worker.js';

export async function askStages({ child }: Implementation, quick: boolean): Promise<readonly StageTimes[]> {
  const answer = await child.ask(`stages ${quick ? 2 : 5}`);
  return answer.stages as readonly StageTimes[];
}

export function reportStages(
  session: Session,
  { size, dtype }: StepCase,
  ours: MeasuredStep['implementation'],
  stages: readonly StageTimes[],
): void {
  const whole = stages.reduce((sum, { seconds }) => sum + spread(seconds).median, 0);
  for (const { name, seconds } of stages) {
    const time = spread(seconds);
    const flops = stageFlops(name, ours.flopsPerImage) * ours.images;
    const share = time.median / whole;
    const shareOfGemmPeak = flops > 0 ? flops / time.median / session.peaks.gemm[dtype] : undefined;
    const peak = shareOfGemmPeak === undefined ? '' : `, ${percent(shareOfGemmPeak)} of GEMM peak`;
    session.print(`  ${name.padEnd(18)} ${range(time, 1e3)} ms, ${percent(share)} of the step${peak}`);
    session.record('step', { size, dtype, stage: name, seconds, shareOfStep: share, shareOfGemmPeak });
  }
}

/** The plan's arithmetic by stage. A backward pass has twice its forward's; patch embeddings count with the student. */
function stageFlops(stage: StageName, flops: Implementation['flopsPerImage']): number {
  const student = flops.studentEncoder + flops.predictor + flops.studentHeadAndPatches;
  switch (stage) {
    case 'teacher':
      return flops.teacher;
    case 'clustering':
      return flops.clusteringHead;
    case 'student forward':
      return student / 3;
    case 'student backward':
      return (2 * student) / 3;
    default:
      return 0;
  }
}
