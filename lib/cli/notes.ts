/** What loading a configuration has to say, before a command does its work. To stderr: stdout is for results. */
import type { LoadedConfig } from '../config/load.js';

export function printConfigNotes({ warnings, ignored }: LoadedConfig): void {
  if (ignored) console.error(ignored);
  for (const warning of warnings) console.error(`warning: ${warning}`);
}
