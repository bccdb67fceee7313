/** The distribution of RandomResizedCrop's boxes, and the boxes where no try can fit. */
import { ops } from '../../../lib/tensor/ops.js';
import type { CropBox } from '../../../lib/tensor/ops_image.js';
import type { GoldenFile } from '../golden_file.js';
import type { Checks } from '../report.js';
import { histogramDeviation, meanDeviation } from '../statistics.js';
import { deviations } from '../tolerances.js';

interface Case {
  readonly H: number;
  readonly W: number;
  readonly scale: readonly [number, number];
  readonly ratio: readonly [number, number];
  readonly samples: number;
}

const seed = 1;
/** Of the fallback boxes, unless a case of the file has others. */
const published = { scale: [0.6, 1], ratio: [3 / 4, 4 / 3] } as const;

export async function checkCropParameters(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, options] of file.cases<Case>()) checkDistribution(file, checks, name, options);
  if (!file.has('fallback.sizes')) return;
  const sizes = file.values('fallback.sizes');
  const boxes: number[] = [];
  const ranges = file.cases<Case>()[0]?.[1];
  for (let i = 0; i < sizes.length; i += 2) {
    const size = { H: sizes[i] as number, W: sizes[i + 1] as number };
    const { top, left, height, width } = cropBox({ ...(ranges ?? published), ...size }, i);
    boxes.push(top, left, height, width);
  }
  checks.tensor('fallback', 'boxes', boxes, { tolerance: 0 });
}

function cropBox({ H, W, scale, ratio }: Omit<Case, 'samples'>, sample: number): CropBox {
  return ops.cropParameters({
    seed,
    sample,
    height: H,
    width: W,
    minScale: scale[0],
    maxScale: scale[1],
    minAspect: ratio[0],
    maxAspect: ratio[1],
    flipProbability: 0.5,
  });
}

function checkDistribution(file: GoldenFile, checks: Checks, name: string, options: Case): void {
  const { H, W, scale, ratio, samples } = options;
  const boxes = Array.from({ length: samples }, (_, sample) => cropBox(options, sample));
  const inside = boxes.every(
    ({ top, left, height, width }) =>
      top >= 0 && left >= 0 && height >= 1 && width >= 1 && top + height <= H && left + width <= W,
  );
  checks.holds(name, 'boxes', inside, 'lie in the image');
  const histograms = {
    area_hist: { of: (box: CropBox) => (box.height * box.width) / (H * W), from: scale[0], to: scale[1] },
    logratio_hist: {
      of: (box: CropBox) => Math.log(box.width / box.height),
      from: Math.log(ratio[0]),
      to: Math.log(ratio[1]),
    },
    cx_hist: { of: (box: CropBox) => (box.left + box.width / 2) / W, from: 0, to: 1 },
    cy_hist: { of: (box: CropBox) => (box.top + box.height / 2) / H, from: 0, to: 1 },
  };
  for (const [tensor, { of, from, to }] of Object.entries(histograms)) {
    const golden = file.values(`${name}.${tensor}`);
    const ours = histogram(boxes.map(of), { bins: golden.length, from, to });
    const z = histogramDeviation(ours, golden);
    checks.most(name, tensor, z, deviations, 'standard deviations of chi-square');
  }
  const means = {
    mean_h: (box: CropBox) => box.height,
    mean_w: (box: CropBox) => box.width,
    mean_top: (box: CropBox) => box.top,
    mean_left: (box: CropBox) => box.left,
  };
  for (const [tensor, of] of Object.entries(means)) {
    const z = meanDeviation(boxes.map(of), file.number(`${name}.${tensor}`), samples);
    checks.most(name, tensor, z, deviations, 'standard deviations');
  }
}

/** Values outside fall into the end bins. */
function histogram(
  values: readonly number[],
  { bins, from, to }: { bins: number; from: number; to: number },
): Float64Array {
  const counts = new Float64Array(bins);
  for (const value of values) {
    const bin = Math.floor(((value - from) / (to - from)) * bins);
    const inside = Math.min(Math.max(bin, 0), bins - 1);
    counts[inside] = (counts[inside] as number) + 1;
  }
  return counts;
}
