/** Counts the images that cannot be used, names each once, and stops the run when they are too many. */
import { dataError } from './data_errors.js';

export interface BadImageReport {
  readonly index: number;
  /** Names the image and says what is wrong with it. */
  readonly reason: string;
}

export interface BadImagesOptions {
  readonly datasetLength: number;
  readonly maxBadShare: number;
  /** What a person raises to allow more of them. */
  readonly setting: string;
  readonly report: (image: BadImageReport) => void;
}

/** Before so many reads a share says nothing, unless the dataset is smaller. */
const leastReads = 100;
const mostNamed = 1000;

export class BadImages {
  #reads = 0;
  #bad = 0;
  readonly #named = new Map<number, string>();

  constructor(private readonly options: BadImagesOptions) {}

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
    const { datasetLength, maxBadShare, setting, report } = this.options;
    this.#reads += good + bad.length;
    this.#bad += bad.length;
    for (const image of bad) {
      if (this.#named.has(image.index) || this.#named.size >= mostNamed) continue;
      this.#named.set(image.index, image.reason);
      report(image);
    }
    const share = this.#bad / this.#reads;
    if (this.#reads < Math.min(leastReads, datasetLength) || share <= maxBadShare) return;
    const examples = [...this.#named.values()].slice(0, 5).join('; ');
    throw dataError(
      `Expected at most ${percent(maxBadShare)} of the images to be bad but ${this.#bad} of ${this.#reads} read so ` +
        `far are (${percent(share)}): ${examples}. Repair or remove them, or raise ${setting}.`,
    );
  }
}

function percent(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}
