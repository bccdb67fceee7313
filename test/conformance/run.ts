/** `npm run conformance -- <folder>`: does this build compute what the reference implementation computed? */
import { conform } from './conformance.js';

const [folder, ...rest] = process.argv.slice(2);
if (folder === undefined || rest.length > 0) {
  console.error('Usage: npm run conformance -- <folder of golden files>');
  process.exitCode = 1;
} else {
  process.exitCode = await conform(folder, (line) => console.log(line));
}
