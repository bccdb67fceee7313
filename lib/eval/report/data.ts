/** What a report is made of: plain data. Only the title is required; a section appears when its data is there. */

/** A line of `training_metrics.json`; keys that are missing or null leave a gap. */
export type ReportMetrics = { readonly iteration: number } & Readonly<
  Record<string, number | null | undefined>
>;

/** RGB bytes, row-major: [height, width, 3]. */
export interface Pixels {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface ReportTile {
  readonly value: string; // "279"
  readonly unit?: string; // "images/s"
  readonly label: string; // "training speed"
  readonly note?: string; // "2 threads, AVX2, float32"
}

export interface ReportFact {
  readonly label: string;
  readonly value: string;
}

export interface MaskPicture {
  readonly image: Pixels;
  readonly gridRows: number;
  readonly gridCols: number;
  /** Positions in [0, gridRows * gridCols). */
  readonly visible: ArrayLike<number>;
  readonly predicted: ArrayLike<number>;
  readonly caption?: string;
}

/** One image and its patch features as colours; each grid is RGB with one pixel a patch. */
export interface FeaturePicture {
  readonly image: Pixels;
  readonly perImage?: Pixels; // components of this image alone
  readonly joint?: Pixels; // components shared by all pictures
  readonly initial?: Pixels; // shared components before training
  readonly caption?: string;
}

/** Accuracies in [0, 1] on held-out images. */
export interface ProbeScores {
  readonly logistic: readonly { readonly C: number; readonly accuracy: number }[];
  readonly neighbours?: number; // 10 nearest by cosine
}

export interface ProbeReport {
  readonly initial: ProbeScores; // the same encoder before training
  readonly trained: ProbeScores;
  readonly trainImages: number;
  readonly testImages: number;
  readonly classes?: number;
  /** Said under the table as met or missed: points by which `trained` must lead at `C`. */
  readonly required?: { readonly C: number; readonly points: number; readonly neighboursPoints?: number };
  readonly note?: string;
}

export interface ReportData {
  readonly title: string;
  readonly kicker?: string; // small line over the title, "CAPI pretraining" when absent
  readonly summary?: string; // a sentence or two: what was run and what came of it
  readonly tiles?: readonly ReportTile[];
  readonly facts?: readonly ReportFact[];
  readonly command?: string; // that repeats the run
  readonly metrics?: readonly ReportMetrics[];
  readonly numClusters?: number; // draws the prototypes against their number
  readonly masks?: readonly MaskPicture[];
  readonly features?: readonly FeaturePicture[];
  readonly probe?: ProbeReport;
  readonly config?: string; // resolved, as YAML
  readonly warnings?: readonly string[];
  readonly footer?: string;
}
