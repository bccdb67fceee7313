/**
 * Runs implementations of the step. On a CPU they take turns. On a GPU, whose memory may not hold two of them, each has the
 * device to itself; ours runs before and after PyTorch's, so that a device that slows down shows.
 */
import type { Settings } from '../harness/settings.js';
import { type Pace, takeTurns } from '../harness/turns.js';
import type { Implementation } from './implementations.js';
import { askStages } from './stages.js';
import type { MeasuredStep } from './step_row.js';
import type { StageTimes } from './worker.js';

export interface Entry {
  readonly name: string;
  readonly isOurs: boolean;
  /** Time its stages too, in a pass of their own. */
  readonly stages: boolean;
  readonly start: () => Promise<Implementation>;
}

/** Of every entry, in order: what was measured, or why it could not be. */
export interface Outcome extends Pick<Entry, 'name' | 'isOurs'> {
  readonly measured?: MeasuredStep;
  readonly stages?: readonly StageTimes[];
  readonly failure?: string;
}

export async function measureAll(
  entries: readonly Entry[],
  { quick, backend }: Pick<Settings, 'quick' | 'backend'>,
): Promise<Outcome[]> {
  const pace = quick ? { rounds: 2, budgetSeconds: 10 } : { rounds: 12, budgetSeconds: 120 };
  if (backend === 'cpu') return sideBySide(entries, pace, quick);
  const alone = async (entry: Entry, share = 1) =>
    (await sideBySide([entry], { ...pace, rounds: Math.ceil(pace.rounds * share) }, quick))[0] as Outcome;
  const [main, ...others] = entries;
  if (!main) return [];
  const outcomes = [await alone(main, 0.5)];
  for (const entry of others) outcomes.push(await alone(entry));
  const again = await alone(main, 0.5);
  return [joined(outcomes[0], again), ...outcomes.slice(1)];
}

/** Both halves of what was run twice; a failure of either. */
function joined(first: Outcome | undefined, last: Outcome): Outcome {
  if (!first?.measured || !last.measured) return first?.measured ? last : (first ?? last);
  const { implementation } = last.measured;
  return {
    ...last,
    measured: { implementation, seconds: [...first.measured.seconds, ...last.measured.seconds] },
  };
}

async function sideBySide(entries: readonly Entry[], pace: Pace, quick: boolean): Promise<Outcome[]> {
  const started = new Map<Entry, Implementation>();
  const failures = new Map<Entry, string>();
  try {
    for (const entry of entries) {
      try {
        started.set(entry, await entry.start());
      } catch (error) {
        failures.set(entry, reason(error));
      }
    }
    const seconds = await takeTurns([...started.values()], pace);
    const outcomes = new Map<Entry, Outcome>();
    for (const [i, [entry, implementation]] of [...started].entries()) {
      const { name, isOurs } = entry;
      const measured = { implementation, seconds: seconds[i] ?? [] };
      const stages = entry.stages ? { stages: await askStages(implementation, quick) } : {};
      outcomes.set(entry, { name, isOurs, measured, ...stages });
    }
    return entries.map((entry) => outcomes.get(entry) ?? failed(entry, failures.get(entry)));
  } catch (error) {
    return entries.map((entry) => failed(entry, failures.get(entry) ?? reason(error)));
  } finally {
    await Promise.all([...started.values()].map((implementation) => implementation.close()));
  }
}

function failed({ name, isOurs }: Entry, failure = 'no reason given'): Outcome {
  return { name, isOurs, failure };
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
