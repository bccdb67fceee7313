/** What the demo's report and terminal say about a run other than the usual one. */
import { demoCommandLine, marginNote } from '../../lib/cli/demo.js';

const usual = { output: 'runs/demo', seed: 0 };

test.each([
  [usual, 'npm start'],
  [{ ...usual, seed: 3 }, 'npm start -- --seed 3'],
  [
    { data: '/data/photos', output: 'runs/mine', steps: 40, seed: 0 },
    'npm start -- --data /data/photos --output runs/mine --steps 40',
  ],
  [{ ...usual, data: "my dog's photos" }, "npm start -- --data 'my dog'\\''s photos'"],
  [{ ...usual, data: 'idx:///data?pad=2' }, "npm start -- --data 'idx:///data?pad=2'"],
])('%j is repeated by %s', (options, command) => {
  expect(demoCommandLine(options)).toBe(command);
});

test('a shorter run or fewer test images are said beside the margin', () => {
  expect(marginNote(3500, 3500, 2000)).toBeUndefined();
  const short = marginNote(40, 3500, 2000);
  expect(short).toContain("this run took 40 of the recipe's 3500 steps");
  expect(short).not.toContain('only');
  expect(marginNote(3500, 3500, 50)).toContain('there were only 50 test images');
  expect(marginNote(40, 3500, 50)).toMatch(/40 of .* and there were only 50 test images\.$/);
});
