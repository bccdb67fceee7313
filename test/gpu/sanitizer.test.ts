/** With a program of the sanitizer's name in its place: no test machine has a GPU. */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { TemporaryFolder } from '../support/images.js';
import { findSanitizer, sanitize } from './sanitizer.js';

let folder: TemporaryFolder;
beforeEach(() => {
  folder = new TemporaryFolder();
});
afterEach(() => folder[Symbol.dispose]());

/** A shell script as <folder>/<place>/compute-sanitizer. */
function program(place: string, script: string): string {
  mkdirSync(join(folder.path, place), { recursive: true });
  const path = folder.write(join(place, 'compute-sanitizer'), `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

test('is found on PATH first, then in CUDA_HOME, and nowhere else than where it can be run', () => {
  const onPath = program('path', '');
  const atHome = program('home/bin', '');
  const [path, home] = [join(folder.path, 'path'), join(folder.path, 'home')];
  expect(findSanitizer({ PATH: `/nowhere:${path}`, CUDA_HOME: home })).toBe(onPath);
  chmodSync(onPath, 0o644);
  expect(findSanitizer({ PATH: path, CUDA_HOME: home })).toBe(atHome);
});

test('runs the whole file under the tool, and passes by its exit code', () => {
  const path = program(
    'bin',
    `[ "$*" = "--tool racecheck --error-exitcode 1 ${process.execPath} a.js" ] && [ -z "$CAPI_ONLY" ]`,
  );
  process.env.CAPI_ONLY = 'racecheck a';
  expect(sanitize(path, 'racecheck', 'a.js')).toMatchObject({ name: 'racecheck a.js', passed: true });
});

test('what it found is kept', () => {
  const path = program('bin', 'echo "Invalid __global__ read of size 4 bytes"; exit 1');
  const { passed, message } = sanitize(path, 'memcheck', 'a.js');
  expect(passed).toBe(false);
  expect(message).toMatch(/^memcheck ended with exit code 1\.\nInvalid __global__ read/);
});

test('a crash under it is a failure', () => {
  const path = program('bin', 'kill -SEGV $$');
  expect(sanitize(path, 'memcheck', 'a.js').message).toContain('memcheck ended with SIGSEGV');
});
