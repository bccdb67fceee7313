/** Does a long run need more memory than a short one? Resident memory of our process early and late. */
import type { Session } from '../harness/session.js';
import { mebibytes } from '../harness/table.js';
import { Implementation, type StepCase, warmUpSteps } from './implementations.js';

export async function measureFlatness(session: Session): Promise<void> {
  const { quick, threads, backend } = session.settings;
  const [early, late] = quick ? [5, 20] : [20, 500];
  const stepCase: StepCase = { size: quick ? 'trial' : 'tiny', dtype: 'f32', threads, backend };
  using ours = await Implementation.ours(stepCase, 'graph');
  const resident = async (steps: number) => Number((await ours.child.ask(`run ${steps}`)).rss_bytes);
  const before = await resident(early - warmUpSteps);
  const after = await resident(late - early);
  session.print(`\nResident at step ${early}: ${mebibytes(before)}; at step ${late}: ${mebibytes(after)}.`);
  session.record('step', { ...stepCase, flatness: { early, late, earlyBytes: before, lateBytes: after } });
}
