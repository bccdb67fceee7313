/** A data worker thread: crops ranges of batches into shared memory until it is told to stop. */
import { parentPort, workerData } from 'node:worker_threads';
import sharp from 'sharp';
import { runTask } from './crop_task.js';
import type { CropTask, WorkerSetup } from './loader_messages.js';
import { reopenSource } from './source.js';

const setup = workerData as WorkerSetup;
const port = parentPort;
if (port === null) throw new Error('loader_worker runs as a worker thread only');

// One image a thread: parallelism comes from the number of workers.
sharp.concurrency(1);
sharp.cache(false);

const source = reopenSource(setup.source);
let last = Promise.resolve();
port.on('message', (message: CropTask | 'stop') => {
  last = last.then(async () => {
    if (message !== 'stop') return port.postMessage(await runTask(source, setup, message));
    await source.close();
    port.close();
  });
});
