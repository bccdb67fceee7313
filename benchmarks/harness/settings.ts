/** What a run of the program was asked for. */
import type { Backend } from '../../lib/native/addon.js';

export interface Settings {
  readonly backend: Backend;
  /** A Python with torch: compare with it. */
  readonly torch?: string | undefined;
  readonly threads: number;
  /** Smallest sizes and fewest rounds: does it run? Its times mean nothing. */
  readonly quick: boolean;
  /** Words that a case's label must all contain, in any case. */
  readonly only: readonly string[];
  /** Result file, or a folder that gets one named by device and date. */
  readonly json?: string | undefined;
}
