/** One run of the program: what was asked for, what the machine can do, and where results go. */
import { appendFileSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { OpRow } from '../ops/op_row.js';
import type { StepRow } from '../step/step_row.js';
import { expectBackend, type MachineInfo, machineInfo } from './machine.js';
import { measurePeaks, type Peaks } from './peaks.js';
import type { Settings } from './settings.js';

export class Session {
  readonly settings: Settings;
  readonly machine: MachineInfo;
  readonly peaks: Peaks;
  readonly jsonPath: string | undefined;
  /** What was measured so far. */
  readonly ops: OpRow[] = [];
  readonly steps: StepRow[] = [];

  private constructor(settings: Settings, machine: MachineInfo, peaks: Peaks) {
    this.settings = settings;
    this.machine = machine;
    this.peaks = peaks;
    this.jsonPath = settings.json === undefined ? undefined : resultPath(settings.json, machine);
    if (this.jsonPath !== undefined) {
      mkdirSync(dirname(this.jsonPath), { recursive: true });
      writeFileSync(this.jsonPath, '');
    }
    this.#write({ kind: 'machine', ...machine, peaks, quick: settings.quick });
  }

  static async open(settings: Settings): Promise<Session> {
    expectBackend(settings.backend);
    const peaks = await measurePeaks(settings);
    return new Session(settings, machineInfo(settings), peaks);
  }

  wanted(label: string): boolean {
    const text = label.toLowerCase();
    return this.settings.only.every((word) => text.includes(word.toLowerCase()));
  }

  print(line: string): void {
    console.log(line);
  }

  /** One line of the result file, at once: an interrupted run keeps what it measured. */
  record(suite: string, row: object): void {
    this.#write({ kind: 'row', suite, ...row });
  }

  recordGoal(outcome: object): void {
    this.#write({ kind: 'goal', ...outcome });
  }

  #write(line: object): void {
    if (this.jsonPath !== undefined) appendFileSync(this.jsonPath, `${JSON.stringify(line)}\n`);
  }
}

function resultPath(json: string, { device, date }: MachineInfo): string {
  const folder = json.endsWith('/') || (existsSync(json) && statSync(json).isDirectory());
  if (!folder) return json;
  const { gpu } = device;
  const name = gpu ? gpu.name : `${device.cpu} ${device.isa} ${device.threads}t`;
  const words = name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  return join(json, `${words}-${date.slice(0, 10)}.jsonl`);
}
