/**
 * A long-lived child process that answers each line on its input with one line of JSON, after a first one that says it is
 * ready: benchmarks/baselines/process.py, or this program again with other arguments.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export type Answer = Readonly<Record<string, unknown>>;

/** How this program starts itself, from its sources and from a bundle alike. */
export function ownProgram(...args: readonly string[]) {
  return { command: process.execPath, args: [...process.execArgv, process.argv[1] ?? '', ...args] };
}

export class Child implements Disposable {
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;
  /** The end of what it wrote to stderr: the reason when it dies. */
  #complaint = '';

  private constructor(command: string, args: readonly string[]) {
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#ended = new Promise((resolve) => this.#process.once('close', resolve));
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-2000);
    });
    this.#process.on('error', (error) => {
      this.#complaint += error.message;
    });
    this.#process.stdin.on('error', () => {}); // a dead child is noticed by the missing answer
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** Resolves to the child and what it says of itself once it is ready. */
  static async start(
    command: string,
    args: readonly string[],
  ): Promise<{ readonly child: Child; readonly about: Answer }> {
    const child = new Child(command, args);
    try {
      return { child, about: await child.#answer() };
    } catch (error) {
      child[Symbol.dispose]();
      throw error;
    }
  }

  /** Rejects with the child's own words when it cannot do it. */
  async ask(line: string): Promise<Answer> {
    this.#process.stdin.write(`${line}\n`);
    return this.#answer();
  }

  async #answer(): Promise<Answer> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(lastLine(this.#complaint) || 'the process ended without an answer');
      const answer = parsed(value);
      if (!answer) continue; // a library that talks on stdout
      if (typeof answer.error === 'string') throw new Error(lastLine(answer.error));
      return answer;
    }
  }

  /** Resolves when the process has ended. */
  async close(): Promise<void> {
    this[Symbol.dispose]();
    await this.#ended;
  }

  [Symbol.dispose](): void {
    this.#process.stdin.end();
    this.#process.kill();
  }
}

function parsed(line: string): Answer | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return value !== null && typeof value === 'object' ? (value as Answer) : undefined;
  } catch {
    return undefined;
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.slice(0, 300) ?? '';
}

/** The `seconds` of an answer: one number a repetition. */
export function secondsOf(answer: Answer): number[] {
  return Array.isArray(answer.seconds) ? answer.seconds.map(Number) : [Number(answer.seconds)];
}
