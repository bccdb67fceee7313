/** A process that trains and tells what it does on stdout: `child_run.ts <config.json> [die after so many steps]`. */
import { readFileSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { isCapiError } from '../../lib/native/errors.js';
import { train } from '../../lib/train/trainer.js';

const [path = '', lifetime] = process.argv.slice(2);

/** Dies from another thread, so that any moment can be hit: within a kernel, a save, a write of the metrics. */
const killer = lifetime === undefined ? undefined : makeKiller();

function makeKiller(): Int32Array {
  const shared = new Int32Array(new SharedArrayBuffer(8)); // [armed, microseconds]
  const code = `
    const { workerData } = require('node:worker_threads');
    Atomics.wait(workerData, 0, 0);
    const end = process.hrtime.bigint() + 1000n * BigInt(workerData[1]);
    while (process.hrtime.bigint() < end);
    process.kill(process.pid, 'SIGKILL');`;
  new Worker(code, { eval: true, workerData: shared }).unref();
  return shared;
}

function armKiller(shared: Int32Array, microseconds: number): void {
  shared[1] = Math.max(0, Math.round(microseconds));
  Atomics.store(shared, 0, 1);
  Atomics.notify(shared, 0);
}

const tell = (line: string) => writeSync(1, `${line.replaceAll('\n', '\\n')}\n`);
let steps = 0;
let began = 0;

try {
  const result = await train(JSON.parse(readFileSync(path, 'utf8')), {
    onStart({ iteration }) {
      tell(`start ${iteration}`);
      began = performance.now();
    },
    onStep({ iteration }) {
      tell(`step ${iteration}`);
      steps += 1;
      const left = Number(lifetime) - steps;
      if (killer && left < 1) armKiller(killer, 1000 * left * ((performance.now() - began) / steps));
    },
    onNote: (note) => tell(`note ${note}`),
  });
  tell(`end ${JSON.stringify(result)}`);
} catch (error) {
  if (!isCapiError(error)) throw error;
  tell(`error ${error.code} ${error.message}`);
  process.exitCode = 1;
}
