/** What the first bytes of an image say: its format, and the kinds that need care when decoded. */
export type ImageFormat = 'JPEG' | 'PNG' | 'WebP' | 'GIF' | 'TIFF' | 'AVIF';

export function imageFormat(bytes: Uint8Array): ImageFormat | undefined {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 32)).toString('latin1');
  if (start.startsWith('\xff\xd8\xff')) return 'JPEG';
  if (start.startsWith('\x89PNG\r\n\x1a\n')) return 'PNG';
  if (start.startsWith('GIF8')) return 'GIF';
  if (start.startsWith('RIFF') && start.slice(8, 12) === 'WEBP') return 'WebP';
  if (/^(II[*+]\0|MM\0[*+])/.test(start)) return 'TIFF';
  if (start.slice(4, 8) === 'ftyp' && /avif|avis|mif1|msf1|miaf/.test(start.slice(8))) return 'AVIF';
  return undefined;
}

/** The frame header of a JPEG names four components. */
export function isCmykJpeg(bytes: Uint8Array): boolean {
  for (let at = 2; at + 9 < bytes.length; ) {
    if (bytes[at] !== 0xff) return false;
    const marker = bytes[at + 1] as number;
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) return bytes[at + 9] === 4;
    at += 2 + (((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number));
  }
  return false;
}

/** IHDR: bit depth 16, colour type 0. Grey with alpha is taken by its high byte, as Pillow does. */
export function isGrey16Png(bytes: Uint8Array): boolean {
  return bytes[24] === 16 && bytes[25] === 0;
}

/** Quarter turns to the left that an AVIF file asks for: its 'irot' property, a box of 9 bytes near the start. */
export function avifQuarterTurns(bytes: Uint8Array): number {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 4096));
  const at = start.indexOf('\0\0\0\x09irot', 0, 'latin1');
  return at < 0 ? 0 : (start[at + 8] ?? 0) & 3;
}
