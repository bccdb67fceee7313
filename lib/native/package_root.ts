/** Where this package lies on disk, from its sources, its bundle or its tests alike. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CapiError } from './errors.js';

export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === 'capi-vit') return folder;
    const parent = dirname(folder);
    if (parent === folder) {
      throw new CapiError('ERR_CAPI_INTERNAL', `Expected package.json of capi-vit above ${import.meta.url}`);
    }
    folder = parent;
  }
}
