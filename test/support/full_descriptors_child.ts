/**
 * A process that takes every file descriptor it may have, then asks for a batch and tells how that ended:
 * `full_descriptors_child.ts <folder of images> <workers>`.
 */
import { openSync, writeSync } from 'node:fs';
import { ImageLoader } from '../../lib/data/loader.js';
import { openSource } from '../../lib/data/source.js';

const [folder = '', workers = '0'] = process.argv.slice(2);
const options = { source: openSource(folder), batchSize: 4, imageSize: 8, seed: 1, maxBadShare: 1 };
const loader = new ImageLoader({ ...options, workers: Number(workers) });
await loader.next(); // so that the worker has loaded what it needs

try {
  for (;;) openSync('/dev/null', 'r');
} catch {}

let ended = 'batches only';
// More than were prepared ahead.
for (let batch = 0; batch < 8; batch++) {
  try {
    await loader.next();
  } catch (error) {
    ended = `${(error as { code: string }).code} ${(error as Error).message}`;
  }
}
writeSync(1, `${ended}; ${loader.stats.badReads} bad images\n`);
process.exit(0);
