/** Runs one bundled test file in a process of its own: whatever ends that process, the tests before it count and it is named. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import type { TestResult } from './report.js';

/** From jest_on_node.ts: a test began, or how it ended. */
export type TestMessage = { readonly name: string; readonly passed?: undefined } | Omit<TestResult, 'file'>;

/** A kernel that hangs ends with its process. */
const mostSeconds = 600;
/** Characters that are kept of what a process wrote. */
const mostOutput = 4000;

export async function runTestFile(path: string): Promise<TestResult[]> {
  const file = basename(path, '.js');
  const results: TestResult[] = [];
  let running: { readonly name: string; readonly began: number } | undefined;
  let output = '';
  const child = fork(path, {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    timeout: mostSeconds * 1000,
    killSignal: 'SIGKILL',
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-mostOutput);
    });
  }
  child.on('message', (message: TestMessage) => {
    running = undefined;
    if (message.passed === undefined) running = { name: message.name, began: performance.now() };
    else results.push({ file, ...message });
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];

  const how = signal === null ? `exit code ${code}` : reason(signal);
  const unexplained = code !== 0 && (running !== undefined || results.every(({ passed }) => passed));
  if (unexplained) {
    results.push({
      file,
      name: running?.name ?? '(the file)',
      passed: false,
      seconds: running === undefined ? 0 : (performance.now() - running.began) / 1000,
      message: `The process ended with ${how}.\n${output}`.trim(),
    });
  }
  return results;
}

function reason(signal: NodeJS.Signals): string {
  return signal === 'SIGKILL' ? `SIGKILL: out of memory, or not done in ${mostSeconds} s` : signal;
}
