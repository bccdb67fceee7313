/**
 * Images a second from storage to batches, by stage: reading and decoding, cropping, and the whole loader with 0 and more
 * workers. Data is made on the spot: small plain images (IDX, 28 × 28) and JPEG photographs of 500 × 375.
 */
import { join } from 'node:path';
import sharp from 'sharp';
import { decodeImage } from '../../lib/data/decode.js';
import { ImageLoader } from '../../lib/data/loader.js';
import { openSource } from '../../lib/data/source.js';
import { ops } from '../../lib/tensor/ops.js';
import { idxFile, TemporaryFolder, testPixels } from '../../test/support/images.js';
import type { Session } from '../harness/session.js';
import { rates } from '../harness/spread.js';
import { range, Table } from '../harness/table.js';
import { takeTurns } from '../harness/turns.js';

/** What is loaded, and how much of it makes one measurement. */
interface Kind {
  readonly data: string;
  readonly address: string;
  readonly size: number;
  readonly batchSize: number;
  readonly batches: number;
  readonly box: readonly [height: number, width: number];
  readonly crops: number;
  /** Images to decode; 0 where storage holds plain pixels. */
  readonly decodes: number;
}

interface Stage {
  readonly data: string;
  readonly stage: string;
  readonly images: number;
  readonly run: () => void | Promise<void>;
}

export async function benchmarkLoading(session: Session): Promise<void> {
  session.print('\nData, images/s. Workers are threads beside this one.');
  const table = new Table(
    [
      { title: 'data', width: 16 },
      { title: 'stage', width: 32 },
      { title: 'images/s', width: 24, align: 'right' },
    ],
    (line) => session.print(line),
  );
  const report = async (stage: Stage) => {
    const imagesPerSecond = await measure(stage, session.settings.quick);
    const { data, stage: name, images } = stage;
    table.row([data, name, range(imagesPerSecond)]);
    session.record('data', { data, stage: name, images, imagesPerSecond });
  };
  using folder = new TemporaryFolder();
  for (const kind of await kinds(folder, session.settings.quick)) {
    if (!session.wanted(`data ${kind.data}`)) continue;
    for (const stage of [...decodeStages(kind), cropStage(kind)]) await report(stage);
    for (let workers = 0; workers <= session.settings.threads; workers++) {
      await using loader = openLoader(kind, workers);
      await report(loaderStage(kind, loader, workers));
    }
  }
}

async function measure({ images, run }: Stage, quick: boolean) {
  const seconds = async (): Promise<number> => {
    const begin = performance.now();
    await run();
    return (performance.now() - begin) / 1e3;
  };
  const [times = []] = await takeTurns([{ name: 'ours', seconds }], {
    rounds: quick ? 2 : 7,
    budgetSeconds: 20,
  });
  return rates(times, images);
}

async function kinds(folder: TemporaryFolder, quick: boolean): Promise<Kind[]> {
  const part = (count: number) => (quick ? 1 : count);
  const plain: Kind = {
    data: '28 × 28 plain',
    address: `idx://${writeSmallImages(folder)}?pad=2`,
    size: 32,
    batchSize: 128,
    batches: part(20),
    box: [27, 28],
    crops: part(2000),
    decodes: 0,
  };
  const photographs: Kind = {
    data: '500 × 375 JPEG',
    address: await writePhotographs(folder),
    size: 224,
    batchSize: 16,
    batches: part(4),
    box: [300, 400],
    crops: part(100),
    decodes: part(40),
  };
  return [plain, photographs];
}

function writeSmallImages(folder: TemporaryFolder): string {
  const count = 5000;
  const pixels = new Uint8Array(count * 28 * 28);
  const block = testPixels(280, 280);
  for (let at = 0; at < pixels.length; at += block.length) {
    pixels.set(block.subarray(0, Math.min(block.length, pixels.length - at)), at);
  }
  return folder.write('train-images-idx3-ubyte', idxFile([count, 28, 28], pixels));
}

/** Blurred noise compresses about as photographs do. */
async function writePhotographs(folder: TemporaryFolder): Promise<string> {
  for (let i = 0; i < 32; i++) {
    const raw = { height: 375, width: 500, channels: 3 } as const;
    const image = sharp(testPixels(375, 500, i), { raw }).blur(1.5);
    folder.write(`photographs/${i}.jpg`, await image.jpeg({ quality: 90 }).toBuffer());
  }
  return join(folder.path, 'photographs');
}

function decodeStages({ data, address, decodes: images }: Kind): Stage[] {
  if (images === 0) return [];
  const source = openSource(address);
  const run = async () => {
    for (let i = 0; i < images; i++) {
      const index = i % source.length;
      await decodeImage(await source.read(index), source.describe(index));
    }
  };
  return [{ data, stage: 'read and decode, one at a time', images, run }];
}

function cropStage({ data, box: [boxHeight, boxWidth], size, crops: images }: Kind): Stage {
  const [height, width] = [boxHeight + 5, boxWidth + 4];
  const image = testPixels(height, width);
  const out = new Uint8Array(size * size * 3);
  const options = { image, height, width, top: 2, left: 1, boxHeight, boxWidth, out };
  const run = () => {
    for (let i = 0; i < images; i++) ops.resizeCrop({ ...options, outHeight: size, outWidth: size });
  };
  return { data, stage: `crop ${boxHeight} × ${boxWidth} → ${size}`, images, run };
}

function openLoader({ address, batchSize, size }: Kind, workers: number): ImageLoader {
  return new ImageLoader({ source: openSource(address), batchSize, imageSize: size, seed: 0, workers });
}

function loaderStage({ data, batchSize, batches }: Kind, loader: ImageLoader, workers: number): Stage {
  const run = async () => {
    for (let i = 0; i < batches; i++) await loader.next();
  };
  return { data, stage: `loader, ${workers} workers`, images: batches * batchSize, run };
}
