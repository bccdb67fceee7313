/** What every kind of dataset offers: numbered images, decoded later, and labels where there are any. */

/** Pixels as they are on screen: [height, width, 3], 8 bits, interleaved. */
export interface RgbImage {
  readonly height: number;
  readonly width: number;
  readonly pixels: Uint8Array;
}

/** An image as stored: a file's bytes, or pixels where the data set keeps them plain. */
export type StoredImage = { readonly encoded: Uint8Array } | RgbImage;

export interface ImageSource extends AsyncDisposable {
  readonly length: number;
  /** Class names in order of their labels; empty when images have no labels. */
  readonly classes: readonly string[];
  /** Where image `index` comes from, for messages. */
  describe(index: number): string;
  /**
   * Throws, naming the image, ERR_CAPI_DATA when it alone cannot be read, and another code when the system or the program
   * failed (data_errors.ts). Plain pixels come at once.
   */
  read(index: number): StoredImage | Promise<StoredImage>;
  label(index: number): number | undefined;
  /** What another thread needs to open the same source: structured-cloneable, large parts in shared memory. */
  readonly descriptor: SourceDescriptor;
  close(): Promise<void>;
}

export type SourceDescriptor = FolderDescriptor | IdxDescriptor | ShardsDescriptor;

/** Many strings in one block of shared memory. */
export interface PackedStrings {
  readonly bytes: Uint8Array;
  /** String i is bytes[offsets[i], offsets[i + 1]). */
  readonly offsets: Float64Array;
}

export interface FolderDescriptor {
  readonly kind: 'folder';
  readonly root: string;
  readonly classes: readonly string[];
  /** Paths below root. */
  readonly files: PackedStrings;
  /** -1: none. */
  readonly labels: Int32Array;
}

export interface IdxDescriptor {
  readonly kind: 'idx';
  readonly path: string;
  readonly classes: readonly string[];
  readonly length: number;
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  /** Black pixels added on every side. */
  readonly pad: number;
  /** [length, height, width, channels] */
  readonly pixels: Uint8Array;
  /** Empty: none. */
  readonly labels: Int32Array;
}

export interface ShardsDescriptor {
  readonly kind: 'shards';
  readonly shards: readonly string[];
  readonly classes: readonly string[];
  /** Per image: its shard, where its bytes lie in it, and its label or -1. */
  readonly shard: Int32Array;
  readonly offset: Float64Array;
  readonly size: Float64Array;
  readonly labels: Int32Array;
  readonly names: PackedStrings;
}
