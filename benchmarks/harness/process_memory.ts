/** What the system says of this process's memory, as benchmarks/baselines/process.py reads it. */
import { readFileSync, writeFileSync } from 'node:fs';

/** Bytes resident now (VmRSS), or the most since the start or `resetPeak` (VmHWM). */
export function processMemory(field: 'VmRSS' | 'VmHWM'): number {
  const line = readFileSync('/proc/self/status', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`${field}:`));
  return Number(line?.split(/\s+/)[1] ?? Number.NaN) * 1024;
}

export function resetPeak(): void {
  writeFileSync('/proc/self/clear_refs', '5');
}
