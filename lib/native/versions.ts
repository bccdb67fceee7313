/** What wrote a file: for checkpoints, reports and bug reports. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from './package_root.js';

export function packageVersion(): string {
  return JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version;
}

export function versions(): Readonly<Record<string, string>> {
  return { 'capi-vit': packageVersion(), node: process.versions.node };
}
