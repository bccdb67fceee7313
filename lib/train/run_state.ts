/** A run's tensors as checkpoint entries, and back. Names: METHOD section 11, under a prefix for each network. */
import { checkTensors } from '../checkpoint/checkpoint.js';
import type { TensorEntry } from '../checkpoint/safetensors.js';
import type { ParameterSet } from '../tensor/parameters.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TrainingRun } from './training_run.js';

/** Prefixes of the networks in a checkpoint. */
export const networkPrefixes = {
  student: 'student.',
  studentEma: 'student_ema.',
  teacher: 'teacher.',
} as const;

/** Every f32 set that a resumed run needs, by prefix. */
function sets(run: TrainingRun): [prefix: string, set: ParameterSet][] {
  return [
    [networkPrefixes.student, run.student],
    [networkPrefixes.studentEma, run.studentEma],
    [networkPrefixes.teacher, run.clusteringWeights],
    ...(run.teacherMaster === run.studentEma
      ? []
      : [['frozen_teacher.', run.teacherMaster] as [string, ParameterSet]]),
    ['optimizer.m.', run.optimizer.m],
    ['optimizer.v.', run.optimizer.v],
    ['clustering_optimizer.m.', run.clusteringOptimizer.m],
    ['clustering_optimizer.v.', run.clusteringOptimizer.v],
  ];
}

function counters(run: TrainingRun): [name: string, tensor: Tensor][] {
  return [
    ['optimizer.step', run.optimizer.taken],
    ['clustering_optimizer.step', run.clusteringOptimizer.taken],
  ];
}

/** Copies everything to the host; the run may go on as soon as the promise settles. */
export async function readState(run: TrainingRun): Promise<TensorEntry[]> {
  const entries: TensorEntry[] = [];
  for (const [prefix, set] of sets(run)) {
    const values = (await set.flat.read()) as Float32Array;
    for (const { name, shape, offset, size } of set.layout.parameters) {
      const data = new Uint8Array(values.buffer, values.byteOffset + 4 * offset, 4 * size);
      entries.push({ name: prefix + name, dtype: 'f32', shape, data });
    }
  }
  for (const [name, tensor] of counters(run)) {
    const value = (await tensor.read()) as Int32Array;
    entries.push({ name, dtype: 'i32', shape: [1], data: new Uint8Array(value.buffer) });
  }
  return entries;
}

/**
 * Enqueues the writing of a checkpoint's tensors into a run.
 * Throws ERR_CAPI_CHECKPOINT_MISMATCH with every missing, unexpected and differently shaped tensor.
 */
export function writeState(run: TrainingRun, tensors: readonly TensorEntry[], path: string): void {
  const expected = [
    ...sets(run).flatMap(([prefix, set]) =>
      set.layout.parameters.map(({ name, shape }) => ({ name: prefix + name, dtype: 'f32', shape })),
    ),
    ...counters(run).map(([name]) => ({ name, dtype: 'i32', shape: [1] })),
  ];
  checkTensors(expected, tensors, path);
  const byName = new Map(tensors.map((entry) => [entry.name, entry]));
  for (const [prefix, set] of sets(run)) writeSet(set, (name) => byName.get(prefix + name));
  for (const [name, tensor] of counters(run)) {
    const bytes = byName.get(name)?.data.slice() ?? new Uint8Array(4);
    tensor.write(new Int32Array(bytes.buffer));
  }
  run.refreshCopies();
}

/** Enqueues: the values of a set, parameter by parameter, where `entryOf` knows them. */
export function writeSet(set: ParameterSet, entryOf: (name: string) => TensorEntry | undefined): void {
  for (const { name } of set.layout.parameters) {
    const entry = entryOf(name);
    if (entry) set.matrix(name).write(new Float32Array(entry.data.slice().buffer));
  }
}
