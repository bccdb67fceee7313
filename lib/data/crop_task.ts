/** One task of a worker, whichever thread it is in: never throws, so that the loader always gets a reply. */
import { isCapiError } from '../native/errors.js';
import { cropSamples } from './crop_samples.js';
import { reason } from './data_errors.js';
import type { ImageSource } from './image_source.js';
import type { CropTask, WorkerReply, WorkerSetup } from './loader_messages.js';

export async function runTask(source: ImageSource, setup: WorkerSetup, task: CropTask): Promise<WorkerReply> {
  const slot = setup.slots[task.slot];
  try {
    if (slot === undefined)
      throw new Error(`Expected a slot below ${setup.slots.length} but received ${task.slot}`);
    const stopped = () => Atomics.load(setup.stop, 0) !== 0;
    const bad = await cropSamples(source, setup.options, slot, task, stopped);
    return { batch: task.batch, begin: task.begin, bad };
  } catch (error) {
    return {
      failed: { code: isCapiError(error) ? error.code : 'ERR_CAPI_INTERNAL', message: reason(error) },
    };
  }
}
