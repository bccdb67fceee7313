/**
 * WebDataset: tar shards in which the files of one sample share a name up to its first dot (`a/b.jpg`, `a/b.cls`).
 * Headers are scanned once; images are then read by their offset.
 */
import { expandBraces } from './brace_expansion.js';
import { dataError, shardError } from './data_errors.js';
import type { ImageSource, ShardsDescriptor, StoredImage } from './image_source.js';
import { OpenFiles, type ReadableFile } from './open_files.js';
import { packStrings, sharedFloat64, sharedInt32, unpackString } from './shared_arrays.js';
import { type TarMember, tarMembers } from './tar_members.js';

/**
 * Shards that one worker keeps open. A random order over many shards hits an open one rarely however many there are, and
 * opening costs far less than decoding; 32 workers stay at half of 1024 files, the usual limit of a process.
 */
export const mostOpenShards = 16;

/** Node reads no more at once; nor would an image of a folder be read. */
const mostBytes = 2 ** 31 - 1;

const imageExtension = /(^|\.)(jpe?g|png|webp|gif|tiff?|avif)$/i;

export function scanShards(pattern: string): ShardsDescriptor {
  const shards = expandBraces(pattern);
  const [shard, offset, size, labels, names]: [number[], number[], number[], number[], string[]] = [
    [],
    [],
    [],
    [],
    [],
  ];
  shards.forEach((path, number) => {
    for (const sample of samples(path)) {
      if (sample.image === undefined) continue;
      shard.push(number);
      offset.push(sample.image.offset);
      size.push(sample.image.size);
      labels.push(sample.label);
      names.push(sample.image.name);
    }
  });
  if (names.length === 0) {
    throw dataError(
      `Expected images (.jpg, .png, .webp, .gif, .tif or .avif) in the shards ${pattern} but received none in ` +
        `${shards.length} of them.`,
    );
  }
  const count = labels.reduce((most, label) => Math.max(most, label + 1), 0);
  return {
    kind: 'shards',
    shards,
    classes: Array.from({ length: count }, (_, label) => String(label)),
    shard: sharedInt32(shard),
    offset: sharedFloat64(offset),
    size: sharedFloat64(size),
    labels: sharedInt32(labels),
    names: packStrings(names),
  };
}

export class WebDataset implements ImageSource {
  readonly length: number;
  readonly classes: readonly string[];

  /** @param files tests replace it */
  constructor(
    readonly descriptor: ShardsDescriptor,
    private readonly files = new OpenFiles(mostOpenShards),
  ) {
    this.length = descriptor.shard.length;
    this.classes = descriptor.classes;
  }

  describe(index: number): string {
    return `${this.#shardOf(index)}, ${unpackString(this.descriptor.names, index)}`;
  }

  async read(index: number): Promise<StoredImage> {
    const size = this.descriptor.size[index] as number;
    const offset = this.descriptor.offset[index] as number;
    if (size > mostBytes) {
      throw dataError(`${this.describe(index)} is too large: ${size} bytes, at most ${mostBytes}`);
    }
    try {
      const encoded = new Uint8Array(size);
      const read = await this.files.use(this.#shardOf(index), (file) => readUpTo(file, encoded, offset));
      if (read === size) return { encoded };
      throw dataError(
        `${this.describe(index)} cannot be read: the shard ends after ${read} of ${size} bytes`,
      );
    } catch (error) {
      throw shardError(this.describe(index), error);
    }
  }

  label(index: number): number | undefined {
    const label = this.descriptor.labels[index];
    return label === undefined || label < 0 ? undefined : label;
  }

  close(): Promise<void> {
    return this.files.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #shardOf(index: number): string {
    return this.descriptor.shards[this.descriptor.shard[index] as number] as string;
  }
}

/** Fills `bytes` from `offset` on and returns how many there were: fewer where the file ends before. */
async function readUpTo(file: ReadableFile, bytes: Uint8Array, offset: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

interface Sample {
  key: string;
  image?: TarMember;
  label: number;
}

/** Neighbouring members with one key form a sample; its first image counts. */
function* samples(path: string): Generator<Sample> {
  let sample: Sample | undefined;
  for (const member of tarMembers(path)) {
    const [key, extension] = splitKey(member.name);
    if (sample?.key !== key) {
      if (sample !== undefined) yield sample;
      sample = { key, label: -1 };
    }
    if (extension === 'cls') sample.label = readLabel(member);
    else if (sample.image === undefined && imageExtension.test(extension)) sample.image = member;
  }
  if (sample !== undefined) yield sample;
}

function splitKey(name: string): [key: string, extension: string] {
  const dot = name.indexOf('.', name.lastIndexOf('/') + 1);
  return dot < 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot + 1)];
}

function readLabel(member: TarMember): number {
  if (member.size < 1 || member.size > 32) return -1;
  const label = Number(member.content().toString('latin1').trim());
  return Number.isInteger(label) && label >= 0 && label < 1e6 ? label : -1;
}
