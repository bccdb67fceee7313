/** The golden files of the folder CAPI_GOLDEN. On the interpreter the small ones. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { addon } from '../../lib/native/addon.js';
import { checkFile } from '../conformance/conformance.js';
import { Report } from '../conformance/report.js';

const folder = process.env.CAPI_GOLDEN ?? '';
const mostBytes = addon.cuda().interpreted ? 1e6 : Number.POSITIVE_INFINITY;

/** Crops are made on the host, from image files, which a bundle cannot decode. */
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.safetensors') && name !== 'crops.safetensors')
  .filter((name) => statSync(join(folder, name)).size <= mostBytes);

test.each(files)('%s', async (name) => {
  const report = new Report(() => {});
  await checkFile(join(folder, name), report);
  expect(report.rows.filter(({ pass }) => !pass)).toEqual([]);
});
