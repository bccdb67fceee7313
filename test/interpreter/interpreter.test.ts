/** The interpreter finds the mistakes it is there for, and none in right kernels. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';

const folder = dirname(dirname(process.env.CAPI_ADDON ?? 'build-interpreter/Release/capi.node'));

function found(order: 'forward' | 'reverse'): Map<string, string> {
  const run = spawnSync(join(folder, 'Release', 'interpreter_self_test'), {
    encoding: 'utf8',
    env: { ...process.env, CAPI_INTERPRETER_ORDER: order },
  });
  expect(run).toMatchObject({ status: 0, signal: null });
  return new Map(
    run.stdout
      .trim()
      .split('\n')
      .map((line) => /^(\w+): (.*)$/.exec(line)?.slice(1) as [string, string]),
  );
}

const mistakes: readonly [kernel: string, message: RegExp][] = [
  [
    'one_past_the_end',
    /thread \(63, 0, 0\): reads 4 bytes: 0 bytes past the end of an allocation of 256 bytes; at .*self_test.cu:\d+/,
  ],
  ['before_the_beginning', /writes 4 bytes: 4 bytes before an allocation of 256 bytes/],
  ['beyond_shared_memory', /writes 4 bytes: .*shared memory/],
  ['missing_barrier', /is read but never written|without a barrier between them/],
  ['write_after_read', /was read by thread \d+ and is written by this one without a barrier/],
  ['barrier_of_a_warp_for_two', /is read but never written|without a barrier between them/],
  ['never_written', /is read but never written/],
  ['copy_not_waited_for', /asynchronous copy into it is not waited for/],
  ['copy_waited_for_without_barrier', /without a barrier between them/],
  ['copy_never_waited_for', /copies that were never waited for/],
  ['misaligned', /misaligned/],
  ['barrier_that_one_misses', /wait for each other in vain/],
  ['shuffle_with_a_lane_gone', /waits for thread 5, which has ended|wait for each other in vain/],
  ['host_memory', /no device memory/],
];

describe.each(['forward', 'reverse'] as const)('with threads in %s order', (order) => {
  let results: Map<string, string>;
  beforeAll(() => {
    results = found(order);
  });

  test.each(['right', 'right_async', 'right_in_a_warp'])('%s: nothing', (kernel) => {
    expect(results.get(kernel)).toBe('nothing');
  });

  test.each(mistakes.map(([kernel, message]) => ({ kernel, message })))('$kernel', ({ kernel, message }) => {
    if (order === 'forward') expect(results.get(kernel)).toMatch(message);
    // Another trace of the mistake may come first.
    else expect(results.get(kernel)).toMatch(/^(?!nothing$)./);
  });
});
