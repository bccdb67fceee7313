/** The processes that make training steps: ours, and PyTorch's eager and compiled. */

import type { Backend } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/native/package_root.js';
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import type { Plan } from '../../lib/train/plan.js';
import { type Answer, Child, ownProgram, secondsOf } from '../harness/child.js';
import type { Contestant } from '../harness/turns.js';
import type { SizeName } from './sizes.js';

/** Steps before a process says that it is ready; in step.py too. */
export const warmUpSteps = 2;

export interface StepCase {
  readonly size: SizeName;
  readonly dtype: ComputeDtype;
  readonly threads: number;
  readonly backend: Backend;
}

/** `eager`: op by op. `graph`: as the trainer does it, on CUDA one graph a step. */
export type OurMode = 'eager' | 'graph';

export type TorchMode = 'eager' | 'compile' | 'reduce-overhead';

export interface StepMemory {
  /** On a GPU bytes of tensors and scratch on the device, else growth of the process from before the model was made; the peak. */
  readonly peakBytes: number;
  /** Ours: what the plan said, what tensors and kernels' scratch take. */
  readonly plannedBytes?: number | undefined;
  readonly tensorBytes?: number | undefined;
  readonly scratchBytes?: number | undefined;
}

export class Implementation implements Contestant, Disposable {
  readonly name: string;
  readonly about: Answer;
  readonly child: Child;
  #last: Answer = {};

  private constructor(name: string, child: Child, about: Answer) {
    this.name = name;
    this.child = child;
    this.about = about;
  }

  static async ours({ size, dtype, threads, backend }: StepCase, mode: OurMode): Promise<Implementation> {
    const worker = ownProgram('step-worker', size, dtype, String(threads), backend, mode);
    return Implementation.#start(oursName(backend, mode), worker.command, worker.args);
  }

  static async torch(
    python: string,
    { size, dtype, threads, backend: device }: StepCase,
    { mode, allocator }: { readonly mode: TorchMode; readonly allocator: 'tuned' | 'default' },
  ): Promise<Implementation> {
    const type = { f32: 'float32', bf16: 'bfloat16' }[dtype];
    const script = `${packageRoot()}/benchmarks/baselines/step.py`;
    const options = { size, dtype: type, mode, allocator, threads, device };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const note = allocator === 'default' ? ', default allocator' : '';
    return Implementation.#start(`PyTorch ${mode} ${dtype}${note}`, python, [script, '--serve', ...args]);
  }

  static async #start(name: string, command: string, args: readonly string[]): Promise<Implementation> {
    const { child, about } = await Child.start(command, args);
    return new Implementation(name, child, about);
  }

  /** A step. */
  get images(): number {
    return Number(this.about.images);
  }

  /** Of ours: arithmetic of an image. */
  get flopsPerImage(): Plan['flopsPerImage'] {
    return this.about.flopsPerImage as Plan['flopsPerImage'];
  }

  readonly seconds = async (): Promise<number> => {
    this.#last = await this.child.ask('run 1');
    return secondsOf(this.#last)[0] ?? Number.NaN;
  };

  /** Of the last step, all threads. */
  get processorSeconds(): number {
    return Number(this.#last.cpu_seconds_a_step);
  }

  /** As of the last step. */
  get memory(): StepMemory {
    const last = this.#last;
    const bytes = (value: unknown) => (value === undefined ? undefined : Number(value));
    return {
      peakBytes:
        bytes(last.device_peak_bytes) ?? Number(last.peak_rss_bytes) - Number(last.rss_before_model_bytes),
      plannedBytes: bytes(this.about.plannedBytes),
      tensorBytes: bytes(last.tensor_bytes),
      scratchBytes: bytes(last.scratch_bytes),
    };
  }

  /** Resolves when the process is gone, and what it held of a GPU with it. */
  close(): Promise<void> {
    return this.child.close();
  }

  [Symbol.dispose](): void {
    this.child[Symbol.dispose]();
  }
}

export function oursName(backend: Backend, mode: OurMode): string {
  return backend === 'cpu' ? 'ours' : `ours, ${mode}`;
}
