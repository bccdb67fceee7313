/** Times one case: a sample is as many calls in a row as last long enough for the clock, over sets of inputs in turn. */
import { addon, type Backend } from '../../lib/native/addon.js';
import { Replayable } from '../../lib/tensor/replayable.js';
import { type Answer, type Child, secondsOf } from '../harness/child.js';
import type { Settings } from '../harness/settings.js';
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
  readonly baselines: readonly {
    readonly name: string;
    readonly seconds: readonly number[];
    readonly scratchBytes?: number | undefined;
  }[];
  readonly failures: readonly string[];
  readonly scratchBytes: number;
}

const sampleSeconds = 0.03;
/** Inputs altogether, so that the last level of cache does not flatter. */
const coldBytes = { cpu: 96 << 20, cuda: 256 << 20 };
const mostSets = 16;

export async function measureOp(
  opCase: OpCase,
  baselines: readonly OpBaseline[],
  { quick, backend }: Settings,
): Promise<OpTimes> {
  await addon.synchronize(); // the memory of the case before is free by then
  using inputs = new Inputs(backend);
  using replayable = new Replayable(backend);
  const sets = quick ? 1 : Math.min(mostSets, Math.ceil(coldBytes[backend] / opCase.bytes));
  const works = Array.from({ length: sets }, () => opCase.make(inputs));
  await addon.synchronize();
  const ours = await ourTurn(works, replayable, { quick, backend });
  const others = forms(opCase, baselines, backend).map(
    ([baseline, form]) => new TorchTurn(baseline, opCase, form, sets),
  );
  for (const turn of others) await turn.start();
  const pace = quick ? { rounds: 2, budgetSeconds: 1 } : { rounds: 11, budgetSeconds: 8 };
  const [first = [], ...rest] = await takeTurns([ours, ...others], pace);
  await Promise.allSettled(baselines.map(({ child }) => child.ask('forget')));
  const after = addon.stats();
  return {
    ours: first,
    baselines: others.flatMap(({ name, scratchBytes, failure }, i) =>
      failure === undefined ? [{ name, seconds: rest[i] ?? [], scratchBytes }] : [],
    ),
    failures: others.flatMap(({ name, failure }) => (failure === undefined ? [] : [`${name}: ${failure}`])),
    scratchBytes: backend === 'cuda' ? after.deviceLiveBytes - inputs.bytes : after.scratchBytes,
  };
}

/**
 * On CUDA the calls of a sample are one graph, so that the device is timed and not the host that launches; a graph always goes
 * through all sets.
 */
async function ourTurn(
  works: readonly Work[],
  replayable: Replayable,
  { quick, backend }: Pick<Settings, 'quick' | 'backend'>,
): Promise<Contestant> {
  let turn = 0;
  const sample = async (calls: number, run = (enqueue: () => void) => enqueue()): Promise<number> => {
    const chosen = Array.from({ length: calls }, () => works[turn++ % works.length]);
    for (const work of chosen) work?.restore?.();
    await addon.synchronize();
    const begin = performance.now();
    run(() => {
      for (const work of chosen) work?.run();
    });
    await addon.synchronize();
    return (performance.now() - begin) / 1e3 / calls;
  };
  for (let i = 0; i < works.length; i++) await sample(1); // every set is touched once
  const calls = quick ? 1 : callsFor(await sample(1), works);
  if (backend === 'cpu') return { name: 'ours', seconds: () => sample(calls) };
  const whole = Math.ceil(calls / works.length) * works.length;
  turn = 0;
  const seconds = () => sample(whole, (enqueue) => replayable.run(enqueue));
  for (let i = 0; i < 2; i++) await seconds(); // op by op, then capture
  return { name: 'ours', seconds };
}

/** An op in place gets one call a set, since each needs fresh inputs. */
function callsFor(seconds: number, works: readonly Work[]): number {
  const most = works[0]?.restore ? works.length : 10_000;
  return Math.max(1, Math.min(most, Math.round(sampleSeconds / seconds)));
}

/** Every baseline; on a GPU, where PyTorch has several kernels for the op, with each of them. */
function forms(
  { gpuForms }: OpCase,
  baselines: readonly OpBaseline[],
  backend: Backend,
): [OpBaseline, string | undefined][] {
  const each = backend === 'cuda' ? (gpuForms ?? [undefined]) : [undefined];
  return baselines.flatMap((baseline) =>
    each.map((form): [OpBaseline, string | undefined] => [baseline, form]),
  );
}

/** One that fails, at once or later, says why and is left out; the others go on. */
class TorchTurn implements Contestant {
  readonly name: string;
  readonly #ask: (calls: number) => Promise<Answer>;
  #calls = 1;
  #scratchBytes: number | undefined;
  #failure: string | undefined;

  constructor({ name, child }: OpBaseline, { torch }: OpCase, form: string | undefined, sets: number) {
    const [op, sizes] = torch?.split(':') ?? [];
    this.name = form === undefined ? name : `${name} ${form}`;
    const work = `${op}${form === undefined ? '' : `@${form}`}:${sizes}`;
    this.#ask = (calls) => child.ask(`run ${work} ${calls} ${sets}`);
  }

  get scratchBytes(): number | undefined {
    return this.#scratchBytes;
  }

  get failure(): string | undefined {
    return this.#failure;
  }

  async start(): Promise<void> {
    const seconds = await this.seconds();
    this.#calls = Math.max(1, Math.min(10_000, Math.round(sampleSeconds / seconds) || 1));
  }

  readonly seconds = async (): Promise<number> => {
    if (this.#failure !== undefined) return Number.NaN;
    try {
      const answer = await this.#ask(this.#calls);
      if (answer.scratch_bytes !== undefined) this.#scratchBytes = Number(answer.scratch_bytes);
      const seconds = secondsOf(answer);
      return seconds.reduce((sum, one) => sum + one, 0) / seconds.length;
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error);
      return Number.NaN;
    }
  };
}
