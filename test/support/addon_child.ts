/** Short programs around the addon in a process of their own, for what would end or disturb this one. */
import { spawnSync } from 'node:child_process';

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs an ES module that sees `addon`, `Tensor`, `ops`, and `startWorker(code, workerData)` for CommonJS code. */
export function runModule(body: string, env: Readonly<Record<string, string>> = {}): Ended {
  const code = `
    import { Worker } from 'node:worker_threads';
    import { addon } from './lib/native/addon.ts';
    import { ops } from './lib/tensor/ops.ts';
    import { Tensor } from './lib/tensor/tensor.ts';
    const startWorker = (code, workerData) => new Worker(code, { eval: true, execArgv: [], workerData });
    ${body}`;
  const args = ['--expose-gc', '--import', 'tsx', '--input-type=module', '-e', code];
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...process.env, ...env },
  });
  return { status, signal, stdout: stdout.trim(), stderr };
}

/** What a worker thread does first to have the addon: CommonJS, so that it needs no loader. */
export const workerPrelude = `
  const { parentPort, workerData } = require('node:worker_threads');
  const addon = process.env.CAPI_ADDON ? require(process.env.CAPI_ADDON) : require('node-gyp-build')(process.cwd());
  const matrix = (rows, cols) => {
    const storage = new addon.Storage(rows * cols * 4);
    return { storage, handle: storage.matrix(0, 'f32', rows, cols, cols) };
  };`;
