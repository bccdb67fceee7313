/** Met, not met, or not measured: never met without a GPU and the sizes that a goal names. */
import type { Gpu } from '../harness/machine.js';
import type { Goal, Rows } from './goals.js';

export interface Judgement {
  readonly what: string;
  readonly at: string;
  /** "≥ 1.5 ×" */
  readonly goal: string;
  readonly measured?: number;
  readonly verdict: 'met' | 'not met' | 'not measured';
  /** Why it was not measured. */
  readonly reason?: string;
}

/** What the rows were measured on. */
export interface Circumstances {
  readonly gpu: Pick<Gpu, 'name' | 'interpreted'> | undefined;
  readonly quick: boolean;
}

export function judge(
  { what, at, bound, unit, device, measure }: Goal,
  rows: Rows,
  on: Circumstances,
): Judgement {
  const goal = 'least' in bound ? `≥ ${bound.least} ${unit}` : `≤ ${bound.most} ${unit}`;
  const measured = measure(rows);
  const reason = whyNot(on, device, measured);
  if (reason !== undefined || measured === undefined) {
    return { what, at, goal, verdict: 'not measured', ...(reason === undefined ? {} : { reason }) };
  }
  const met = 'least' in bound ? measured >= bound.least : measured <= bound.most;
  return { what, at, goal, measured, verdict: met ? 'met' : 'not met' };
}

function whyNot(
  { gpu, quick }: Circumstances,
  device: string | undefined,
  measured?: number,
): string | undefined {
  if (!gpu) return 'the CPU is no GPU';
  if (gpu.interpreted) return 'the interpreter is no GPU';
  if (quick) return '--quick measures other sizes';
  if (device !== undefined && !gpu.name.includes(device)) return `this is ${gpu.name}`;
  return measured === undefined ? 'this run lacks it or the PyTorch beside it' : undefined;
}
