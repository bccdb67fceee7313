/** Whether a run fits into the memory of its device, said before it allocates; and what would fit where it does not. */
import type { Config } from '../config/schema.js';
import { addon } from '../native/addon.js';
import { bytes } from '../native/bytes.js';
import { CapiError, isCapiError } from '../native/errors.js';
import { type Plan, planTraining } from './plan.js';

/** Throws ERR_CAPI_OUT_OF_MEMORY when the plan needs more than is free, with its parts and the largest batch that fits. */
export function expectRoom(config: Config): void {
  const [device] = addon.cuda().devices;
  const { memory } = planTraining(config, 'cuda');
  if (device === undefined || memory.peak <= device.freeBytes) return;
  throw new CapiError(
    'ERR_CAPI_OUT_OF_MEMORY',
    `Expected ${bytes(memory.peak)} of device memory but ${bytes(device.freeBytes)} of ${bytes(device.totalBytes)} are free ` +
      `on ${device.name}. ${advice(config, memory, device.freeBytes)}`,
  );
}

/** The error to tell for one that came while a run was on the device: when memory ran out, with the same advice. */
export function withAdvice(error: unknown, config: Config): unknown {
  const { deviceRefusedBytes: refused, deviceLiveBytes: live } = addon.stats();
  if (!isCapiError(error) || error.code !== 'ERR_CAPI_OUT_OF_MEMORY' || refused === 0) return error;
  const free = addon.cuda().devices[0]?.freeBytes ?? 0;
  // What was refused is scratch beside the plan; a smaller batch needs no more of it.
  const room = free + live - refused;
  const text = advice(config, planTraining(config, 'cuda').memory, room);
  return new CapiError(error.code, `${error.message}. ${text}`, { cause: error });
}

function advice(config: Config, memory: Plan['memory'], room: number): string {
  const { parameters, gradients, optimizer, activations } = memory;
  const images = config.optim.batch_size_per_gpu;
  const largest = largestBatch(config, room);
  return (
    `A step of ${images} images needs ${bytes(parameters)} for weights, EMA and copies, ${bytes(gradients)} for gradients, ` +
    `${bytes(optimizer)} for the optimizer and ${bytes(activations)} for activations. ` +
    (largest === 0
      ? 'Not even one image fits: take a smaller model or another device'
      : `A batch of ${largest} fits: optim.batch_size_per_gpu=${largest}`)
  );
}

/** The largest batch below the configuration's whose plan stays within `room` bytes; 0: there is none. */
function largestBatch(config: Config, room: number): number {
  let [fits, tooLarge] = [0, config.optim.batch_size_per_gpu];
  while (tooLarge - fits > 1) {
    const images = Math.floor((fits + tooLarge) / 2);
    const optim = { ...config.optim, batch_size_per_gpu: images };
    if (planTraining({ ...config, optim }, 'cuda').memory.peak <= room) fits = images;
    else tooLarge = images;
  }
  return fits;
}
