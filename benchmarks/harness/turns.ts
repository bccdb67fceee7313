/** Lets things that are compared take turns, A B C A B C, so that whatever else the machine does hits all alike. */

export interface Contestant {
  readonly name: string;
  /** Seconds for one piece of work, measured by the contestant itself. */
  readonly seconds: () => Promise<number>;
}

export interface Pace {
  readonly rounds: number;
  /** Stop early when the rounds so far took this long; at least three rounds are run. */
  readonly budgetSeconds: number;
}

/** Seconds of every round by contestant, in the order given. Each has run once before, unmeasured. */
export async function takeTurns(
  contestants: readonly Contestant[],
  { rounds, budgetSeconds }: Pace,
): Promise<number[][]> {
  const results = contestants.map((): number[] => []);
  for (const { seconds } of contestants) await seconds();
  const begin = performance.now();
  for (let round = 0; round < rounds; round++) {
    if (round >= 3 && performance.now() - begin > budgetSeconds * 1e3) break;
    for (const [i, { seconds }] of contestants.entries()) results[i]?.push(await seconds());
  }
  return results;
}
