/** The feed copies early what is there, and tells of trouble only when the batch is wanted. */
import type { ImageLoader } from '../../lib/data/loader.js';
import type { Batch, HostBatch } from '../../lib/train/batch.js';
import { BatchFeed } from '../../lib/train/batch_feed.js';

/** A loader of batches 0, 1, …, `ready` of them complete, of which batch `bad` fails. */
function feedOf({ ready, bad }: { ready: number; bad?: number }) {
  const uploaded: number[] = [];
  let next = 0;
  const loader = {
    get isReady() {
      return next < ready;
    },
    next: async () => {
      const number = next++;
      if (number === bad) throw new Error(`batch ${number} is bad`);
      return { samples: Int32Array.of(number) };
    },
  };
  const batch = { upload: ({ samples }: HostBatch) => uploaded.push(samples[0] as number) };
  return { feed: new BatchFeed(loader as unknown as ImageLoader, batch as unknown as Batch), uploaded };
}

test('a complete batch is copied early, once', async () => {
  const { feed, uploaded } = feedOf({ ready: 2 });
  await feed.next();
  await feed.nextIfReady();
  expect(uploaded).toEqual([0, 1]);
  await feed.next();
  expect(uploaded).toEqual([0, 1]);
});

test('a batch that is not complete is left to next', async () => {
  const { feed, uploaded } = feedOf({ ready: 1 });
  await feed.next();
  await feed.nextIfReady();
  expect(uploaded).toEqual([0]);
  await feed.next();
  expect(uploaded).toEqual([0, 1]);
});

test('what goes wrong early is thrown when the batch is wanted', async () => {
  const { feed, uploaded } = feedOf({ ready: 2, bad: 1 });
  await feed.next();
  await feed.nextIfReady();
  await expect(feed.next()).rejects.toThrow('batch 1 is bad');
  expect(uploaded).toEqual([0]);
});
