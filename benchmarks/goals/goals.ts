/** What is to be reached on a GPU, and how each is read from the rows of a run. Ratios and shares are of one run. */
import { bestForm, type OpRow } from '../ops/op_row.js';
import type { SizeName } from '../step/sizes.js';
import type { StepRow } from '../step/step_row.js';

export interface Rows {
  readonly ops: readonly OpRow[];
  readonly steps: readonly StepRow[];
}

export interface Goal {
  readonly what: string;
  readonly at: string;
  readonly bound: { readonly least: number } | { readonly most: number };
  readonly unit: '×' | '%' | 'GB' | 'images/s';
  /** Of a certain device only: a part of its name. */
  readonly device?: string;
  /** Undefined where the run has not what it takes. */
  readonly measure: (rows: Rows) => number | undefined;
}

const attention = (n: number): Goal[] => {
  const of = opAt(`attention:512,16,64,${n},${n}`, 'bf16');
  const about = { what: 'attention forward + backward with RoPE', at: `b 512, h 16, d 64, n ${n}, bf16` };
  return [
    { ...about, bound: { least: 1.5 }, unit: '×', measure: (rows) => best(of(rows))?.median },
    { ...about, bound: { least: 60 }, unit: '%', measure: (rows) => percentage(of(rows)) },
  ];
};

const sinkhorn: Goal[] = (() => {
  const of = opAt('sinkhorn:256,512,16384', 'bf16');
  const about = { what: 'positionwise SK + loss + gradient', at: '[256, 512, 16384]' };
  const faster = (mode: string) => (rows: Rows) => {
    const row = of(rows);
    return row && bestForm(row, mode)?.median;
  };
  return [
    {
      ...about,
      what: `${about.what}, to compiled`,
      bound: { least: 3 },
      unit: '×',
      measure: faster('compile'),
    },
    { ...about, what: `${about.what}, to eager`, bound: { least: 6 }, unit: '×', measure: faster('eager') },
    {
      ...about,
      what: `${about.what}: scratch`,
      bound: { most: 0.5 },
      unit: 'GB',
      measure: (rows) => gigabytes(of(rows)?.scratchBytes),
    },
  ];
})();

const bandwidth = (what: string, op: string): Goal => ({
  what,
  at: 'ViT-L/14',
  bound: { least: 85 },
  unit: '%',
  measure: ({ ops }) =>
    lowest(ops.filter((row) => row.op === op && row.shape.startsWith('ViT-L')).map(percentage)),
});

const imagesPerSecond = (device: string, least: number): Goal => ({
  what: 'whole step',
  at: `ViT-L/14, batch 512, ${device}`,
  bound: { least },
  unit: 'images/s',
  device,
  measure: ({ steps }) => ourStep(steps, 'vit_l')?.imagesPerSecond.median,
});

const stepRatio = (at: string, size: SizeName, least: number): Goal => ({
  what: 'whole step, to compiled',
  at,
  bound: { least },
  unit: '×',
  measure: ({ steps }) =>
    torchSteps(steps, size, 'compile').length === 0
      ? undefined
      : lowest(torchSteps(steps, size, 'compile', 'reduce-overhead').map((row) => row.speedUp?.median)),
});

export const goals: readonly Goal[] = [
  ...attention(106),
  ...attention(272),
  ...sinkhorn,
  bandwidth('RMSNorm', 'rms_norm'),
  bandwidth('AdamW + EMA', 'adamw_ema'),
  bandwidth('patchify', 'patchify'),
  stepRatio('ViT-L/14, batch 512', 'vit_l', 1.3),
  imagesPerSecond('H100', 1300),
  imagesPerSecond('A100', 560),
  stepRatio('ViT-S/14, batch 64, through the graph', 'vit_s_64', 2),
  {
    what: 'memory',
    at: 'ViT-L/14, batch 512',
    bound: { most: 80 },
    unit: 'GB',
    measure: ({ steps }) => gigabytes(ourStep(steps, 'vit_l')?.memory.peakBytes),
  },
  {
    what: "memory, to PyTorch's peak",
    at: 'ViT-L/14, batch 512',
    bound: { most: 0.7 },
    unit: '×',
    measure: ({ steps }) =>
      torchSteps(steps, 'vit_l', 'eager').length === 0 || torchSteps(steps, 'vit_l', 'compile').length === 0
        ? undefined
        : highest(torchSteps(steps, 'vit_l', 'eager', 'compile').map((row) => row.memoryRatio)),
  },
];

function opAt(torch: string, dtype: string): (rows: Rows) => OpRow | undefined {
  return ({ ops }) => ops.find((row) => row.torch === torch && row.dtype === dtype);
}

/** Needs a form of each mode: what PyTorch failed to run was not beaten. */
function best(row: OpRow | undefined) {
  if (row === undefined || !bestForm(row, 'eager') || !bestForm(row, 'compile')) return undefined;
  return bestForm(row, '');
}

/** Of the roofline: of the peak that allows less. */
function percentage(row: OpRow | undefined): number | undefined {
  return row && 100 * row.share;
}

function ourStep(steps: readonly StepRow[], size: SizeName): StepRow | undefined {
  return steps.find((row) => row.size === size && row.implementation === 'ours, graph');
}

function torchSteps(steps: readonly StepRow[], size: SizeName, ...modes: readonly string[]): StepRow[] {
  return steps.filter(
    (row) => row.size === size && modes.some((mode) => row.implementation.startsWith(`PyTorch ${mode} `)),
  );
}

function gigabytes(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / 1e9;
}

function lowest(values: readonly (number | undefined)[]): number | undefined {
  return present(values)[0];
}

function highest(values: readonly (number | undefined)[]): number | undefined {
  return present(values).at(-1);
}

function present(values: readonly (number | undefined)[]): number[] {
  return values.filter((value) => value !== undefined).sort((a, b) => a - b);
}
