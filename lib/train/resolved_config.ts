/** `<run folder>/config.yaml`: every setting of a run, defaults included. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../checkpoint/durable.js';
import type { Config } from '../config/schema.js';
import { configToYaml } from '../config/to_yaml.js';

export const RESOLVED_CONFIG_NAME = 'config.yaml';

/** Writes it, replacing an older one, and returns its path. */
export async function writeResolvedConfig(config: Config, folder: string): Promise<string> {
  const path = join(folder, RESOLVED_CONFIG_NAME);
  await mkdir(folder, { recursive: true });
  await writeFileAtomically(path, configToYaml(config));
  return path;
}
