/** Kernels move little more than their operands once in and their results once out, in few launches. */
import { join } from 'node:path';
import { runModule } from '../support/addon_child.js';
import { TemporaryFolder } from '../support/images.js';
import { cases, type Moved } from '../support/traffic.js';

let moved: Record<string, Moved>;
beforeAll(() => {
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'traffic');
  const end = runModule(
    `import { measure } from './test/support/traffic.ts';
    console.log(JSON.stringify(await measure(process.env.CAPI_INTERPRETER_TRAFFIC)));`,
    { CAPI_INTERPRETER_TRAFFIC: file },
  );
  expect(end).toMatchObject({ status: 0, stderr: '' });
  moved = JSON.parse(end.stdout);
});

test.each(cases.map(({ op, launches, most }) => ({ op, launches, most })))(
  '$op: $launches launches, at most $most of the minimum',
  ({ op, launches, most }) => {
    const { bytes, minimum, ...seen } = moved[op] as Moved;
    expect(seen).toEqual({ launches });
    expect(bytes / minimum).toBeGreaterThan(0.99); // all of it was counted
    expect(bytes / minimum).toBeLessThanOrEqual(most);
  },
);
