/** Small images, IDX files and tar archives for the tests of data. */
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';

/** [height, width, 3]: smooth in places and noisy in others, the same everywhere. */
export function testPixels(height: number, width: number, seed = 0): Uint8Array {
  const pixels = new Uint8Array(height * width * 3);
  for (let i = 0; i < pixels.length; i++) {
    const noise = (Math.imul(i + 1 + seed * 7919, 2654435761) >>> 24) & 255;
    const x = Math.floor(i / 3) % width;
    pixels[i] = x < width / 2 ? noise : (x * 5 + (i % 3) * 40 + seed) & 255;
  }
  return pixels;
}

export type FileFormat = 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff' | 'avif';

export function encodeImage(
  pixels: Uint8Array,
  height: number,
  width: number,
  format: FileFormat,
): Promise<Buffer> {
  return sharp(pixels, { raw: { height, width, channels: 3 } })
    .toFormat(format)
    .toBuffer();
}

/** An error of the operating system as Node throws it. */
export function systemFailure(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: what it means, open 'a.png'`), {
    code,
    errno: -1,
    syscall: 'open',
  });
}

/** A folder that is removed when disposed of. */
export class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'capi-data-'));

  /** Writes a file below the folder and returns its path. */
  write(name: string, content: Uint8Array | string): string {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** `count` PNG images of 20 × 24, named so that they sort by number. */
  async writeImages(count: number, prefix = ''): Promise<void> {
    for (let i = 0; i < count; i++) {
      const name = `${prefix}${String(i).padStart(4, '0')}.png`;
      this.write(name, await encodeImage(testPixels(20, 24, i), 20, 24, 'png'));
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Files below a folder that this process has open. */
export function openBelow(folder: string): number {
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith(folder);
    } catch {
      return false; // the listing's own
    }
  }).length;
}

export function idxFile(sizes: readonly number[], values: Uint8Array): Buffer {
  const header = Buffer.alloc(4 + 4 * sizes.length);
  header.writeUInt16BE(0x0800 | sizes.length, 2);
  sizes.forEach((size, axis) => {
    header.writeUInt32BE(size, 4 + 4 * axis);
  });
  return Buffer.concat([header, values]);
}

export function tarFile(
  members: readonly { readonly name: string; readonly content: Uint8Array | string }[],
): Buffer {
  const blocks = members.flatMap(({ name, content }) => {
    const bytes = Buffer.from(content);
    const long = Buffer.byteLength(name) > 100;
    const before = long
      ? [tarHeader('././@LongLink', Buffer.byteLength(name), 'L'), padded(Buffer.from(name))]
      : [];
    return [...before, tarHeader(name.slice(0, 100), bytes.length, '0'), padded(bytes)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function tarHeader(name: string, size: number, type: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000644\0', 100);
  header.write(`${size.toString(8).padStart(11, '0')} `, 124);
  header.write('        ', 148);
  header.write(type, 156);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}
