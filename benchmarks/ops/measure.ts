/** Times one case: a sample is as many calls in a row as last long enough for the clock, over sets of inputs in turn. */
import { addon } from '../../lib/native/addon.js';
import { type Child, secondsOf } from '../harness/child.js';
import { type Contestant, takeTurns } from '../harness/turns.js';
import { Inputs, type OpCase, type Work } from './op_case.js';

export interface OpBaseline {
  readonly name: string;
  readonly child: Child;
  readonly compiled: boolean;
}

export interface OpTimes {
  /** Seconds a call, round by round. */
  readonly ours: readonly number[];
  readonly baselines: readonly { readonly name: string; readonly seconds: readonly number[] }[];
  readonly failures: readonly string[];
}

const sampleSeconds = 0.03;
/** Inputs altogether, so that the last level of cache does not flatter. */
const coldBytes = 96 << 20;
const mostSets = 16;

export async function measureOp(
  opCase: OpCase,
  baselines: readonly OpBaseline[],
  { quick }: { readonly quick: boolean },
): Promise<OpTimes> {
  using inputs = new Inputs();
  const sets = quick ? 1 : Math.min(mostSets, Math.ceil(coldBytes / opCase.bytes));
  const works = Array.from({ length: sets }, () => opCase.make(inputs));
  await addon.synchronize();
  const ours = await ourTurn(works, quick);
  const failures: string[] = [];
  const others: Contestant[] = [];
  for (const baseline of baselines) {
    try {
      others.push(await torchTurn(baseline, opCase, sets));
    } catch (error) {
      failures.push(`${baseline.name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  const pace = quick ? { rounds: 2, budgetSeconds: 1 } : { rounds: 11, budgetSeconds: 8 };
  const [first = [], ...rest] = await takeTurns([ours, ...others], pace);
  for (const { child } of baselines) await child.ask('forget');
  return {
    ours: first,
    baselines: others.map(({ name }, i) => ({ name, seconds: rest[i] ?? [] })),
    failures,
  };
}

async function ourTurn(works: readonly Work[], quick: boolean): Promise<Contestant> {
  let turn = 0;
  const sample = async (calls: number): Promise<number> => {
    const chosen = Array.from({ length: calls }, () => works[turn++ % works.length]);
    for (const work of chosen) work?.restore?.();
    await addon.synchronize();
    const begin = performance.now();
    for (const work of chosen) work?.run();
    await addon.synchronize();
    return (performance.now() - begin) / 1e3 / calls;
  };
  for (let i = 0; i < works.length; i++) await sample(1); // every set is touched once
  const calls = quick ? 1 : callsFor(await sample(1), works);
  return { name: 'ours', seconds: () => sample(calls) };
}

/** An op in place gets one call a set, since each needs fresh inputs. */
function callsFor(seconds: number, works: readonly Work[]): number {
  const most = works[0]?.restore ? works.length : 10_000;
  return Math.max(1, Math.min(most, Math.round(sampleSeconds / seconds)));
}

async function torchTurn({ name, child }: OpBaseline, opCase: OpCase, sets: number): Promise<Contestant> {
  const ask = async (calls: number): Promise<number> => {
    const seconds = secondsOf(await child.ask(`run ${opCase.torch} ${calls} ${sets}`));
    return seconds.reduce((sum, one) => sum + one, 0) / seconds.length;
  };
  const calls = Math.max(1, Math.min(10_000, Math.round(sampleSeconds / (await ask(1)))));
  return { name, seconds: () => ask(calls) };
}
