/** The resolved configuration as YAML, so that a run folder says by itself how it was made. */
import { join } from 'node:path';
import { stringify } from 'yaml';
import { writeFileAtomically } from '../checkpoint/durable.js';
import type { Config } from './schema.js';

export const RESOLVED_CONFIG_NAME = 'config.yaml';

/** Loads again to the same configuration, but for `resume_from`: started again, a run continues from its newest. */
export function configToYaml(config: Config): string {
  const header =
    '# Every setting of this run, defaults included. Start it again with: capi train <this file>\n';
  // Pairs stay on one line, as in the published file.
  return (
    header +
    stringify(
      { ...config, train: { ...config.train, resume_from: null } },
      { collectionStyle: 'any', lineWidth: 0 },
    )
  );
}

/** Writes `<folder>/config.yaml` and returns its path. */
export async function writeResolvedConfig(config: Config, folder: string): Promise<string> {
  const path = join(folder, RESOLVED_CONFIG_NAME);
  await writeFileAtomically(path, configToYaml(config));
  return path;
}
