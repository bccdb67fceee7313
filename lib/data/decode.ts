/**
 * A stored image to RGB pixels as Pillow's `Image.open(…).convert("RGB")` gives them: first frame, EXIF orientation
 * and colour profiles ignored, alpha dropped, grey replicated, CMYK without a profile, 16-bit grey clipped at 255.
 */
import sharp, { type OutputInfo } from 'sharp';
import { CapiError } from '../native/errors.js';
import { dataError, decodeError, reason } from './data_errors.js';
import { avifQuarterTurns, type ImageFormat, imageFormat, isCmykJpeg, isGrey16Png } from './image_format.js';
import type { RgbImage, StoredImage } from './image_source.js';

/** Twice Pillow's limit for a warning: where it refuses an image as a decompression bomb. */
export const defaultPixelLimit = 178_956_970;

export interface DecodeOptions {
  /** Most pixels (height × width) an image may have. */
  readonly pixelLimit: number;
}

/**
 * Throws ERR_CAPI_DATA, with `name` and what is wrong, for anything that is not a whole image; ERR_CAPI_OUT_OF_MEMORY where
 * the system is at fault.
 */
export async function decodeImage(
  image: StoredImage,
  name: string,
  { pixelLimit }: DecodeOptions = { pixelLimit: defaultPixelLimit },
): Promise<RgbImage> {
  if ('pixels' in image) return image;
  const bytes = image.encoded;
  if (bytes.length === 0) throw dataError(`${name} is empty (0 bytes)`);
  const format = imageFormat(bytes);
  if (format === undefined) {
    throw dataError(
      `Expected a JPEG, PNG, WebP, GIF, TIFF or AVIF image but received other data ` +
        `(${Buffer.from(bytes.subarray(0, 8)).toString('hex')}…) in ${name}`,
    );
  }
  const named = { bytes, name, format, pixelLimit };
  try {
    return await decode({ ...named, strictness: 'warning' });
  } catch (error) {
    if (!onlyStrayBytes(error)) throw error;
    return await decode({ ...named, strictness: 'error' });
  }
}

/** Bytes between two markers of a JPEG harm nothing, and Pillow takes such files. */
function onlyStrayBytes(error: unknown): boolean {
  const said = error instanceof CapiError ? error.cause : error;
  const lines = reason(said).split('; ');
  return lines.every((line) => /extraneous bytes before marker/.test(line));
}

type Layout = 'rgb' | 'cmyk' | 'grey16';

interface EncodedImage extends DecodeOptions {
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly format: ImageFormat;
  readonly strictness: 'warning' | 'error';
}

async function decode({ bytes, name, format, pixelLimit, strictness }: EncodedImage): Promise<RgbImage> {
  // Only what the decoder itself says is about the image: the pipeline is built outside of this.
  const decoded = <T>(result: Promise<T>): Promise<T> =>
    result.catch((error) => {
      throw decodeError(name, format, error);
    });
  // Of the formats only JPEG reports damage within the image as a warning.
  const failOn = format === 'JPEG' ? strictness : 'error';
  const opened = () => sharp(bytes, { failOn, ignoreIcc: true, limitInputPixels: pixelLimit });
  let pipeline = opened();
  let layout: Layout = 'rgb';
  if (format === 'JPEG' && isCmykJpeg(bytes)) layout = 'cmyk';
  if (format === 'PNG' && isGrey16Png(bytes)) layout = 'grey16';
  if (format === 'TIFF') {
    const { space, channels, orientation } = await decoded(pipeline.metadata());
    if (space === 'cmyk') layout = 'cmyk';
    if (space === 'grey16' && channels === 1) layout = 'grey16';
    // The one format that Pillow turns upright.
    pipeline = (orientation ?? 1) > 1 ? opened().autoOrient() : opened();
  }
  // The decoder applies the container's rotation, which Pillow leaves to the caller as EXIF orientation.
  if (format === 'AVIF') pipeline = pipeline.rotate(90 * avifQuarterTurns(bytes));
  if (layout === 'cmyk') pipeline = pipeline.pipelineColourspace('cmyk').toColourspace('cmyk');
  if (layout === 'grey16') pipeline = pipeline.toColourspace('grey16');
  pipeline = pipeline.raw({ depth: layout === 'grey16' ? 'ushort' : 'uchar' });
  const { data, info } = await decoded(pipeline.toBuffer({ resolveWithObject: true }));
  if (layout === 'cmyk' && info.channels < 4) {
    throw dataError(`Expected 4 channels of CMYK but received ${info.channels} in ${name}`);
  }
  return { height: info.height, width: info.width, pixels: toRgb(data, info, layout) };
}

function toRgb(data: Buffer, info: OutputInfo, layout: Layout): Uint8Array {
  const { channels, width, height } = info;
  const count = width * height;
  if (layout === 'grey16')
    return clipped(new Uint16Array(data.buffer, data.byteOffset, count * channels), channels);
  if (layout === 'cmyk') return withoutInk(data, channels, count);
  if (channels === 3) return data;
  const step: number = channels;
  const grey = step < 3;
  const out = new Uint8Array(count * 3);
  for (let i = 0, from = 0; i < out.length; i += 3, from += step) {
    out[i] = data[from] as number;
    out[i + 1] = data[grey ? from : from + 1] as number;
    out[i + 2] = data[grey ? from : from + 2] as number;
  }
  return out;
}

function clipped(values: Uint16Array, channels: number): Uint8Array {
  const count = values.length / channels;
  const out = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) out.fill(Math.min(values[i * channels] as number, 255), i * 3, i * 3 + 3);
  return out;
}

/** R = (255 − K) − C (255 − K) / 255, the product rounded; and so for green and blue. */
function withoutInk(data: Buffer, channels: number, count: number): Uint8Array {
  const out = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) {
    const light = 255 - (data[i * channels + 3] as number);
    for (let c = 0; c < 3; c++) {
      const ink = Math.floor(((data[i * channels + c] as number) * light) / 255 + 0.5);
      out[i * 3 + c] = Math.max(light - ink, 0);
    }
  }
  return out;
}
