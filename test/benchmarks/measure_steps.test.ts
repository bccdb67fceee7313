import type { Implementation } from '../../benchmarks/step/implementations.js';
import { type Entry, measureAll } from '../../benchmarks/step/measure_steps.js';

/** Entries that write down when they start and end. */
function entries(log: string[], ...names: string[]): Entry[] {
  return names.map((name) => ({
    name,
    isOurs: name === 'ours',
    stages: false,
    start: async () => {
      log.push(`start ${name}`);
      if (name === 'too large') throw new Error('out of memory');
      const close = async () => {
        log.push(`end ${name}`);
      };
      return { name, seconds: async () => 2, close } as unknown as Implementation;
    },
  }));
}

test('on a GPU each has the device to itself, ours before and after the others; one that fails says why', async () => {
  const log: string[] = [];
  const all = entries(log, 'ours', 'too large', 'eager');
  const outcomes = await measureAll(all, { quick: true, backend: 'cuda' });
  expect(log).toEqual([
    'start ours',
    'end ours',
    'start too large',
    'start eager',
    'end eager',
    'start ours',
    'end ours',
  ]);
  expect(outcomes).toMatchObject([
    { name: 'ours', measured: { seconds: [2, 2] } },
    { name: 'too large', failure: 'out of memory' },
    { name: 'eager', measured: { seconds: [2, 2] } },
  ]);
});

test('on a CPU they run side by side and all end', async () => {
  const log: string[] = [];
  const outcomes = await measureAll(entries(log, 'ours', 'too large', 'eager'), {
    quick: true,
    backend: 'cpu',
  });
  expect(log).toEqual(['start ours', 'start too large', 'start eager', 'end ours', 'end eager']);
  expect(outcomes.map(({ failure }) => failure)).toEqual([undefined, 'out of memory', undefined]);
});
