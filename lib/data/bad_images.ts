/** Counts the images that cannot be used, names each once, and stops the run when they are too many. */
import { dataError } from './data_errors.js';

export interface BadImageReport {
  readonly index: number;
  /** Names the image and says what is wrong with it. */
  readonly reason: string;
}

/** Before so many reads a share says nothing, unless the dataset is smaller. */
const leastReads = 100;
const mostNamed = 1000;

export class BadImages {
  #reads = 0;
  #bad = 0;
  readonly #named = new Map<number, string>();

  constructor(
    private readonly datasetLength: number,
    private readonly maxBadShare: number,
    private readonly report: (image: BadImageReport) => void,
  ) {}

  /** Images read so far, good or bad. */
  get reads(): number {
    return this.#reads;
  }

  /** Reads of bad images so far; an image that comes again counts again. */
  get count(): number {
    return this.#bad;
  }

  /** The first thousand distinct bad images. */
  get named(): readonly BadImageReport[] {
    return [...this.#named].map(([index, reason]) => ({ index, reason }));
  }

  /** Throws ERR_CAPI_DATA when the share of bad images so far is above the limit. */
  add(good: number, bad: readonly BadImageReport[]): void {
    this.#reads += good + bad.length;
    this.#bad += bad.length;
    for (const image of bad) {
      if (this.#named.has(image.index) || this.#named.size >= mostNamed) continue;
      this.#named.set(image.index, image.reason);
      this.report(image);
    }
    const share = this.#bad / this.#reads;
    if (this.#reads < Math.min(leastReads, this.datasetLength) || share <= this.maxBadShare) return;
    const examples = [...this.#named.values()].slice(0, 5).join('; ');
    throw dataError(
      `Expected at most ${percent(this.maxBadShare)} of the images to be bad but ${this.#bad} of ${this.#reads} read so ` +
        `far are (${percent(share)}): ${examples}. Repair or remove them, or raise max_bad_share.`,
    );
  }
}

function percent(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}
