/** The goals at the end of a run on CUDA. */
import type { Session } from '../harness/session.js';
import { digits, Table } from '../harness/table.js';
import { goals } from './goals.js';
import { judge } from './judge.js';

export function reportGoals(session: Session): void {
  session.print('\nGoals');
  const table = new Table(
    [
      { title: 'what', width: 46 },
      { title: 'at', width: 38 },
      { title: 'goal', width: 15, align: 'right' },
      { title: 'measured', width: 10, align: 'right' },
      { title: '', width: 12 },
    ],
    (line) => session.print(line),
  );
  const on = { gpu: session.machine.device.gpu, quick: session.settings.quick };
  for (const goal of goals) {
    const judgement = judge(goal, session, on);
    const { what, at, measured, verdict, reason } = judgement;
    table.row([
      what,
      at,
      judgement.goal,
      measured === undefined ? '' : digits(measured),
      reason === undefined ? verdict : `${verdict}: ${reason}`,
    ]);
    session.recordGoal(judgement);
  }
}
