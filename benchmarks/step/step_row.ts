/** What is reported of an implementation of the training step: images a second, memory, and PyTorch's over ours. */
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import type { Peaks } from '../harness/peaks.js';
import { rates, ratio, type Spread } from '../harness/spread.js';
import type { Implementation, StepCase, StepMemory } from './implementations.js';
import type { SizeName } from './sizes.js';

/** A line of the table and of the result file. */
export interface StepRow {
  readonly size: SizeName;
  readonly dtype: ComputeDtype;
  readonly implementation: string;
  readonly imagesPerSecond: Spread;
  readonly seconds: readonly number[];
  /** Of ours: the model's arithmetic over what the GEMM peak makes in the same time. */
  readonly shareOfGemmPeak?: number | undefined;
  readonly memory: StepMemory;
  /** Of all threads: what is left to compare on a busy machine. */
  readonly processorSecondsPerStep: number;
  /** Of PyTorch's: its time over ours. */
  readonly speedUp?: Spread | undefined;
  /** Of PyTorch's: our peak over its. */
  readonly memoryRatio?: number | undefined;
}

/** What an implementation said of itself, and the seconds of its steps. */
export interface MeasuredStep {
  readonly implementation: Pick<
    Implementation,
    'name' | 'images' | 'flopsPerImage' | 'memory' | 'processorSeconds'
  >;
  readonly seconds: readonly number[];
}

export function ourRow(peaks: Peaks, { size, dtype }: StepCase, ours: MeasuredStep): StepRow {
  const { implementation, seconds } = ours;
  const imagesPerSecond = rates(seconds, implementation.images);
  return {
    size,
    dtype,
    implementation: implementation.name,
    imagesPerSecond,
    seconds,
    shareOfGemmPeak: (implementation.flopsPerImage.total * imagesPerSecond.median) / peaks.gemm[dtype],
    memory: implementation.memory,
    processorSecondsPerStep: implementation.processorSeconds,
  };
}

/** `ours`: absent when it failed. */
export function torchRow(
  { size, dtype }: StepCase,
  { implementation, seconds }: MeasuredStep,
  ours: MeasuredStep | undefined,
): StepRow {
  const { name, images, memory, processorSeconds } = implementation;
  return {
    size,
    dtype,
    implementation: name,
    imagesPerSecond: rates(seconds, images),
    seconds,
    memory,
    processorSecondsPerStep: processorSeconds,
    speedUp: ours && ratio(seconds, ours.seconds),
    memoryRatio: ours && ours.implementation.memory.peakBytes / memory.peakBytes,
  };
}
