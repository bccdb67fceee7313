/** What a check found: lines and a table for people, JSON for docs/gpu-status.md. */
import { writeFileSync } from 'node:fs';
import { table } from '../../lib/cli/format.js';
import type { CudaReport } from '../../lib/native/addon.js';

export interface TestResult {
  readonly file: string;
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
  readonly message?: string;
}

export interface StageResult {
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'not run';
  /** Why it was not run. */
  readonly reason?: string;
  readonly seconds: number;
  readonly tests: readonly TestResult[];
}

/** Where the checks ran, and of what. */
export interface CheckHead {
  readonly date: string;
  readonly commit: string;
  /** Name of the GPU; `interpreter (no GPU)` where kernels ran on the CPU. */
  readonly device: string;
  readonly interpreter: boolean;
  /** Only tests that hold this text were run; '' for all. */
  readonly only: string;
  readonly cpu: string;
  readonly node: string;
  readonly cuda: CudaReport;
}

/** Lines of a message that are shown; the JSON has all. */
const shownLines = 12;

export class CheckReport {
  readonly #head: CheckHead;
  readonly #path: string;
  readonly #stages: StageResult[] = [];

  constructor(head: CheckHead, path: string) {
    this.#head = head;
    this.#path = path;
  }

  /** Whether no stage failed and one beyond the first, which looks at the machine, had tests. */
  get passed(): boolean {
    const ran = this.#stages.slice(1).some(({ tests }) => tests.length > 0);
    return ran && this.#stages.every(({ state }) => state !== 'failed');
  }

  /** Writes the file anew after each stage: what ends this process, or the machine, leaves the results until then. */
  add(stage: StageResult): void {
    this.#stages.push(stage);
    const result = { ...this.#head, passed: this.passed, stages: this.#stages };
    writeFileSync(this.#path, `${JSON.stringify(result, undefined, 1)}\n`);
    console.log(`${stage.name}: ${outcome(stage)}\n`);
  }

  print(): void {
    const rows = this.#stages.map((stage) => {
      const { passed, failed } = counts(stage.tests);
      const numbers =
        stage.state === 'not run' ? ['', '', ''] : [String(passed), String(failed), seconds(stage)];
      return [stage.name, stage.state, ...numbers];
    });
    const { device, commit, date } = this.#head;
    console.log(table([['stage', 'result', 'passed', 'failed', 'time'], ...rows]));
    for (const { name, file, message } of this.#failures()) {
      console.log(`\nFAILED  ${file}: ${name}\n${indented(message)}`);
    }
    console.log(
      `\n${this.passed ? 'everything that ran passed' : 'FAILED'} on ${device}, commit ${commit}, ${date}`,
    );
    console.log(`written to ${this.#path}`);
  }

  #failures(): TestResult[] {
    return this.#stages.flatMap(({ tests }) => tests.filter(({ passed }) => !passed));
  }
}

/** `attention: 34 passed, 1 failed, 2.1 s`, for a file. */
export function printFile(file: string, tests: readonly TestResult[], seconds: number): void {
  const { passed, failed } = counts(tests);
  console.log(`  ${file}: ${passed} passed, ${failed} failed, ${seconds.toFixed(1)} s`);
  for (const test of tests.filter((one) => !one.passed)) console.log(`    FAILED  ${test.name}`);
}

function outcome(stage: StageResult): string {
  if (stage.state === 'not run') return `not run: ${stage.reason}`;
  const { passed, failed } = counts(stage.tests);
  return `${passed} passed, ${failed} failed, ${seconds(stage)}`;
}

function counts(tests: readonly TestResult[]): { readonly passed: number; readonly failed: number } {
  const passed = tests.filter((test) => test.passed).length;
  return { passed, failed: tests.length - passed };
}

function seconds(stage: StageResult): string {
  return `${stage.seconds.toFixed(1)} s`;
}

function indented(message = ''): string {
  const lines = message.split('\n');
  const more = lines.length > shownLines ? ['…'] : [];
  return [...lines.slice(0, shownLines), ...more].map((line) => `    ${line}`).join('\n');
}
