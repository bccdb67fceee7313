/** The folder of a run: made where it is missing, and taken away again by a run that put nothing into it. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

export class RunFolder implements Disposable {
  readonly #path: string;
  /** The outermost folder that was missing. */
  readonly #made: string | undefined;

  constructor(path: string) {
    this.#path = resolve(path);
    this.#made = mkdirSync(this.#path, { recursive: true });
  }

  [Symbol.dispose](): void {
    if (this.#made === undefined) return;
    try {
      for (let folder = this.#path; folder.length >= this.#made.length; folder = dirname(folder)) {
        rmdirSync(folder);
      }
    } catch {} // not empty: it stays
  }
}
