/**
 * Images per second from storage to batches, by stage: reading and decoding, cropping, and the whole loader with 0, 1 and 2
 * workers. Data is made on the spot: small plain images (IDX, 32 × 32) and JPEG photographs of 500 × 375.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { decodeImage } from '../../lib/data/decode.js';
import { ImageLoader } from '../../lib/data/loader.js';
import { openSource } from '../../lib/data/source.js';
import { ops } from '../../lib/tensor/ops.js';
import { idxFile, TemporaryFolder, testPixels } from '../../test/support/images.js';

export interface LoaderRow {
  readonly data: string;
  readonly stage: string;
  /** Median, least and most of the repetitions. */
  readonly imagesPerSecond: readonly [median: number, least: number, most: number];
}

const repetitions = 5;

export async function benchmarkLoader(): Promise<LoaderRow[]> {
  using folder = new TemporaryFolder();
  const small = writeSmallImages(folder);
  const photographs = await writePhotographs(folder);
  return [
    await crops('32 × 32 plain', 27, 28, 32, 2000),
    ...(await loaders('32 × 32 plain', `idx://${small}?pad=2`, 128, 32, 20)),
    await decodes('500 × 375 JPEG', photographs, 40),
    await crops('500 × 375 JPEG', 300, 400, 224, 100),
    ...(await loaders('500 × 375 JPEG', photographs, 16, 224, 4)),
  ];
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

async function crops(
  data: string,
  boxHeight: number,
  boxWidth: number,
  size: number,
  count: number,
): Promise<LoaderRow> {
  const [height, width] = [boxHeight + 5, boxWidth + 4];
  const image = testPixels(height, width);
  const out = new Uint8Array(size * size * 3);
  const options = { image, height, width, top: 2, left: 1, boxHeight, boxWidth, out };
  return row(data, `crop ${boxHeight} × ${boxWidth} → ${size}`, count, () => {
    for (let i = 0; i < count; i++) ops.resizeCrop({ ...options, outHeight: size, outWidth: size });
  });
}

async function decodes(data: string, path: string, count: number): Promise<LoaderRow> {
  const source = openSource(path);
  return row(data, 'read and decode, one at a time', count, async () => {
    for (let i = 0; i < count; i++) {
      const index = i % source.length;
      await decodeImage(await source.read(index), source.describe(index));
    }
  });
}

async function loaders(
  data: string,
  address: string,
  batchSize: number,
  imageSize: number,
  count: number,
): Promise<LoaderRow[]> {
  const rows: LoaderRow[] = [];
  for (const workers of [0, 1, 2]) {
    await using loader = new ImageLoader({
      source: openSource(address),
      batchSize,
      imageSize,
      seed: 0,
      workers,
    });
    rows.push(
      await row(data, `loader, ${workers} workers`, count * batchSize, async () => {
        for (let i = 0; i < count; i++) await loader.next();
      }),
    );
  }
  return rows;
}

async function row(
  data: string,
  stage: string,
  images: number,
  run: () => void | Promise<void>,
): Promise<LoaderRow> {
  await run();
  const rates: number[] = [];
  for (let i = 0; i < repetitions; i++) {
    const begin = performance.now();
    await run();
    rates.push((images / (performance.now() - begin)) * 1000);
  }
  rates.sort((a, b) => a - b);
  const at = (i: number) => rates[i] ?? Number.NaN;
  return { data, stage, imagesPerSecond: [at(Math.floor(repetitions / 2)), at(0), at(repetitions - 1)] };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const rows = await benchmarkLoader();
  for (const { data, stage, imagesPerSecond } of rows) {
    const [median, least, most] = imagesPerSecond.map((rate) => Math.round(rate));
    console.log(`${data.padEnd(16)} ${stage.padEnd(32)} ${median} images/s (${least} to ${most})`);
  }
  const json = process.argv.indexOf('--json');
  if (json > 0 && process.argv[json + 1])
    writeFileSync(process.argv[json + 1] ?? '', JSON.stringify(rows, null, 2));
}
