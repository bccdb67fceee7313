/** The resolved configuration as YAML, so that a run folder says by itself how it was made. */
import { stringify } from 'yaml';
import type { Config } from './schema.js';

/** Loads again to the same configuration, but for `resume_from`: started again, a run continues from its newest. */
export function configToYaml(config: Config): string {
  const header =
    '# Every setting of this run, defaults included. Start it again with: capi train <this file>\n';
  return header + stringify({ ...config, train: { ...config.train, resume_from: null } }, { lineWidth: 0 });
}
