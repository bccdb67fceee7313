/** Where crop tasks run: in a thread, or in this one between other work. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { CapiError } from '../native/errors.js';
import { runTask } from './crop_task.js';
import { reason } from './data_errors.js';
import type { ImageSource } from './image_source.js';
import type { CropTask, WorkerReply, WorkerSetup } from './loader_messages.js';

export interface CropWorker {
  post(task: CropTask): void;
  /** Whether this worker keeps the process alive. */
  hold(alive: boolean): void;
  /** Resolves when the worker is gone. Work under way is given up after the current image. */
  stop(): Promise<void>;
}

export interface CropWorkerEvents {
  reply(reply: WorkerReply): void;
  /** The worker is gone and will not reply again. */
  crashed(error: CapiError): void;
}

/** Decoding still happens off this thread, in libuv's pool; crops run here. */
export function inlineCropWorker(
  source: ImageSource,
  setup: WorkerSetup,
  events: CropWorkerEvents,
): CropWorker {
  let last: Promise<void> = Promise.resolve();
  return {
    post(task) {
      // After a turn of the event loop, so that a batch of plain pixels does not hold up timers and signals.
      last = last
        .then(() => new Promise<void>((resume) => setImmediate(resume)))
        .then(async () => events.reply(await runTask(source, setup, task)));
    },
    hold() {},
    stop: () => last,
  };
}

/** How long a thread may take to finish its current image before it is ended. */
const patienceMs = 10_000;

export function threadCropWorker(setup: WorkerSetup, events: CropWorkerEvents): CropWorker {
  const worker = startThread(setup);
  let stopping = false;
  let gone = false;
  let cause: unknown;
  worker.on('message', (reply: WorkerReply) => events.reply(reply));
  worker.on('error', (error) => {
    cause = error;
  });
  const exited = new Promise<void>((resolve) => {
    worker.once('exit', (code) => {
      gone = true;
      resolve();
      if (stopping) return;
      const why = cause === undefined ? `exit code ${code}` : reason(cause);
      events.crashed(
        new CapiError('ERR_CAPI_INTERNAL', `A data worker ended unexpectedly: ${why}`, { cause }),
      );
    });
  });
  return {
    post: (task) => worker.postMessage(task),
    hold: (alive) => {
      if (alive) worker.ref();
      else worker.unref();
    },
    async stop() {
      stopping = true;
      if (gone) return;
      worker.ref();
      worker.postMessage('stop');
      const timer = setTimeout(() => void worker.terminate(), patienceMs);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** The worker beside this file: built (`loader_worker.js`) or, in the source tree, TypeScript run through tsx. */
function startThread(setup: WorkerSetup): Worker {
  const folder = dirname(fileURLToPath(import.meta.url));
  const built = join(folder, 'loader_worker.js');
  if (existsSync(built)) return new Worker(built, { workerData: setup, execArgv: [] });
  const source = join(folder, 'loader_worker.ts');
  if (!existsSync(source)) {
    throw new CapiError(
      'ERR_CAPI_INTERNAL',
      `Expected loader_worker.js in ${folder}, where the package was installed`,
    );
  }
  const tsx = join(
    dirname(createRequire(import.meta.url).resolve('tsx/package.json')),
    'dist/esm/api/index.mjs',
  );
  const [api, entry] = [pathToFileURL(tsx).href, pathToFileURL(source).href].map((url) =>
    JSON.stringify(url),
  );
  const code = `import(${api}).then((tsx) => tsx.tsImport(${entry}, ${entry})).catch((error) => setImmediate(() => { throw error; }));`;
  return new Worker(code, { eval: true, workerData: setup, execArgv: [] });
}
