/**
 * WebDataset: tar shards in which the files of one sample share a name up to its first dot (`a/b.jpg`, `a/b.cls`).
 * Headers are scanned once; images are then read by their offset.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { expandBraces } from './brace_expansion.js';
import { dataError, reason } from './data_errors.js';
import type { ImageSource, ShardsDescriptor, StoredImage } from './image_source.js';
import { packStrings, sharedFloat64, sharedInt32, unpackString } from './shared_arrays.js';
import { type TarMember, tarMembers } from './tar_members.js';

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
  readonly #files = new Map<number, Promise<FileHandle>>();

  constructor(readonly descriptor: ShardsDescriptor) {
    this.length = descriptor.shard.length;
    this.classes = descriptor.classes;
  }

  describe(index: number): string {
    return `${this.#shardOf(index)}, ${unpackString(this.descriptor.names, index)}`;
  }

  async read(index: number): Promise<StoredImage> {
    const size = this.descriptor.size[index] as number;
    try {
      const file = await this.#open(this.descriptor.shard[index] as number);
      const bytes = new Uint8Array(size);
      const { bytesRead } = await file.read(bytes, 0, size, this.descriptor.offset[index] as number);
      if (bytesRead !== size) throw new Error(`the shard ends after ${bytesRead} of ${size} bytes`);
      return { encoded: bytes };
    } catch (error) {
      throw dataError(`${this.describe(index)} cannot be read: ${reason(error)}`, error);
    }
  }

  label(index: number): number | undefined {
    const label = this.descriptor.labels[index];
    return label === undefined || label < 0 ? undefined : label;
  }

  async close(): Promise<void> {
    const files = [...this.#files.values()];
    this.#files.clear();
    for (const file of files) await file.then((handle) => handle.close()).catch(() => undefined);
  }

  #shardOf(index: number): string {
    return this.descriptor.shards[this.descriptor.shard[index] as number] as string;
  }

  /** Shards stay open: a random order touches each of them all the time. */
  #open(shard: number): Promise<FileHandle> {
    let file = this.#files.get(shard);
    if (file === undefined) {
      file = open(this.descriptor.shards[shard] as string, 'r');
      this.#files.set(shard, file);
      file.catch(() => this.#files.delete(shard));
    }
    return file;
  }
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
