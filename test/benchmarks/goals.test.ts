import { type Goal, goals, type Rows } from '../../benchmarks/goals/goals.js';
import { judge } from '../../benchmarks/goals/judge.js';
import { bestForm, type OpRow, opRow } from '../../benchmarks/ops/op_row.js';
import { type MeasuredStep, ourRow, type StepRow, torchRow } from '../../benchmarks/step/step_row.js';

const peaks = { gemm: { f32: 50e12, bf16: 800e12 }, copy: 3e12 };

/** A case that would take 2 ms of arithmetic at the peak and `moving` ms of copying. */
function attentionRow(moving: number): OpRow {
  const opCase = {
    op: 'attention',
    shape: 'ViT-L/14 student forward + backward',
    dtype: 'bf16',
    flops: 2e-3 * peaks.gemm.bf16,
    bytes: moving * 1e-3 * peaks.copy,
    torch: 'attention:512,16,64,106,106',
    make: () => ({ run: () => {} }),
  } as const;
  return opRow(peaks, opCase, {
    ours: [4e-3, 5e-3, 4e-3],
    baselines: [
      { name: 'eager flash', seconds: [12e-3, 12e-3, 12e-3], scratchBytes: 7 },
      { name: 'compile flash', seconds: [8e-3, 10e-3, 8e-3] },
      { name: 'compile cudnn', seconds: [10e-3, 10e-3, 10e-3] },
    ],
    failures: [],
    scratchBytes: 4e8,
  });
}

const stepCase = { size: 'vit_l', dtype: 'bf16', threads: 1, backend: 'cuda' } as const;

function measuredStep(name: string, seconds: number[], peakBytes: number): MeasuredStep {
  const part = { teacher: 0, studentEncoder: 0, predictor: 0, clusteringHead: 0, studentHeadAndPatches: 0 };
  const flopsPerImage = { ...part, total: 400e9 };
  return {
    implementation: { name, images: 512, flopsPerImage, memory: { peakBytes }, processorSeconds: 0 },
    seconds,
  };
}

const ours = measuredStep('ours, graph', [0.5, 0.5], 40e9);

function stepRows(): StepRow[] {
  return [
    ourRow(peaks, stepCase, ours),
    torchRow(stepCase, measuredStep('PyTorch eager bf16', [1, 1], 100e9), ours),
    torchRow(stepCase, measuredStep('PyTorch compile bf16', [0.7, 0.7], 50e9), ours),
  ];
}

const rows: Rows = { ops: [attentionRow(1)], steps: stepRows() };
const onH100 = { gpu: { name: 'NVIDIA H100 80GB HBM3', interpreted: false }, quick: false };

function goal(what: string, at: string, unit: string): Goal {
  const found = goals.find((one) => one.what === what && one.at.includes(at) && one.unit === unit);
  if (!found) throw new Error(`Expected a goal ${what} at ${at} in ${unit}`);
  return found;
}

const attentionRatio = goal('attention forward + backward with RoPE', 'n 106', '×');
const attentionShare = goal('attention forward + backward with RoPE', 'n 106', '%');

describe('rows of ops', () => {
  test('the share is of the peak that allows less', () => {
    expect(attentionRow(1)).toMatchObject({ bound: 'compute', share: 0.5 });
    expect(attentionRow(3)).toMatchObject({ bound: 'memory', share: 0.75 });
  });

  test('the best form of PyTorch is the one nearest to ours, round by round', () => {
    const row = attentionRow(1);
    expect(bestForm(row, 'compile')?.median).toBe(2);
    expect(bestForm(row, 'eager')?.median).toBe(3);
    expect(bestForm(row, 'none')).toBeUndefined();
    expect(row.torchScratchBytes).toEqual({ 'eager flash': 7 });
  });
});

describe('rows of steps', () => {
  test('rates, shares and ratios follow from seconds and bytes', () => {
    const [mine, eager] = stepRows();
    expect(mine!.imagesPerSecond.median).toBe(1024);
    expect(mine!.shareOfGemmPeak).toBeCloseTo((1024 * 400e9) / 800e12);
    expect(eager!.speedUp!.median).toBe(2);
    expect(eager!.memoryRatio).toBe(0.4);
  });

  test('without ours there is no ratio', () => {
    const alone = torchRow(stepCase, measuredStep('PyTorch eager bf16', [1], 1e9), undefined);
    expect([alone.speedUp, alone.memoryRatio]).toEqual([undefined, undefined]);
  });
});

describe('goals', () => {
  test('a goal is met at its bound and not beyond it', () => {
    expect(judge(attentionRatio, rows, onH100)).toEqual({
      what: 'attention forward + backward with RoPE',
      at: 'b 512, h 16, d 64, n 106, bf16',
      goal: '≥ 1.5 ×',
      measured: 2,
      verdict: 'met',
    });
    expect(judge(attentionShare, rows, onH100)).toMatchObject({ measured: 50, verdict: 'not met' });
    const bound = judge({ ...attentionRatio, bound: { most: 2 } }, rows, onH100);
    expect(bound).toMatchObject({ goal: '≤ 2 ×', verdict: 'met' });
  });

  test('memory is compared with the PyTorch that needs least, speed with the compiled one', () => {
    const memory = judge(goal("memory, to PyTorch's peak", 'ViT-L', '×'), rows, onH100);
    expect(memory).toMatchObject({ measured: 0.8, verdict: 'not met' });
    const speed = judge(goal('whole step, to compiled', 'ViT-L', '×'), rows, onH100);
    expect(speed).toMatchObject({ measured: expect.closeTo(1.4), verdict: 'met' });
  });

  test('a rate for one device is not measured on another', () => {
    expect(judge(goal('whole step', 'H100', 'images/s'), rows, onH100)).toMatchObject({ verdict: 'not met' });
    expect(judge(goal('whole step', 'A100', 'images/s'), rows, onH100)).toMatchObject({
      verdict: 'not measured',
      reason: 'this is NVIDIA H100 80GB HBM3',
    });
  });

  test.each([
    ['the interpreter', { gpu: { name: 'interpreter', interpreted: true }, quick: false }],
    ['the CPU', { gpu: undefined, quick: false }],
    ['--quick', { ...onH100, quick: true }],
  ])('%s meets no goal, whatever its numbers', (_, on) => {
    for (const one of goals) expect(judge(one, rows, on).verdict).toBe('not measured');
  });

  test('what PyTorch failed to run was not beaten', () => {
    const row = attentionRow(1);
    const { 'eager flash': eager } = row.faster;
    const eagerOnly = { ...row, faster: { 'eager flash': eager! }, failures: ['compile flash: no compiler'] };
    expect(judge(attentionRatio, { ...rows, ops: [eagerOnly] }, onH100).verdict).toBe('not measured');
    const steps = stepRows().filter((step) => !step.implementation.includes('compile'));
    for (const what of ['whole step, to compiled', "memory, to PyTorch's peak"]) {
      expect(judge(goal(what, 'ViT-L', '×'), { ...rows, steps }, onH100).verdict).toBe('not measured');
    }
  });

  test('a run without the row says so', () => {
    const nothing = { ops: [], steps: [] };
    expect(judge(attentionShare, nothing, onH100)).toMatchObject({
      verdict: 'not measured',
      reason: 'this run lacks it or the PyTorch beside it',
    });
  });
});
