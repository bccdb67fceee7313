/**
 * Signals that end a run cleanly: SIGTERM, SIGINT, SIGHUP (the terminal went away) and SIGUSR2 (Slurm's warning before preemption) ask for a checkpoint and
 * an orderly exit; a second SIGINT exits at once.
 */
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const;

export class StopSignals implements Disposable {
  #received: NodeJS.Signals | undefined;
  readonly #onSignal = (signal: NodeJS.Signals) => {
    if (signal === 'SIGINT' && this.#received === 'SIGINT') process.exit(130);
    this.#received = signal;
  };

  constructor() {
    for (const signal of signals) process.on(signal, this.#onSignal);
  }

  /** The signal that asked the run to stop, if one did. */
  get received(): NodeJS.Signals | undefined {
    return this.#received;
  }

  [Symbol.dispose](): void {
    for (const signal of signals) process.off(signal, this.#onSignal);
  }
}
