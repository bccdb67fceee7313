/** A folder of image files, at any depth. First-level folders are the classes. */
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dataError, imageError, reason } from './data_errors.js';
import type { FolderDescriptor, ImageSource, StoredImage } from './image_source.js';
import { packStrings, sharedInt32, unpackString } from './shared_arrays.js';

const imageFile = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;

/** Lists the images under `root`: files of a folder first, then its folders, both in order of their names. */
export function scanFolder(root: string): FolderDescriptor {
  const files = [...imagesBelow(root, '', new Set([real(root)]))];
  if (files.length === 0) {
    throw dataError(
      `Expected images (JPEG, PNG, WebP, GIF, TIFF or AVIF) in the folder ${root} or below but received none. ` +
        'Check the path, or that the files have their usual endings.',
    );
  }
  const classOf = (file: string): string | undefined =>
    file.includes('/') ? file.slice(0, file.indexOf('/')) : undefined;
  const classes = [...new Set(files.map(classOf).filter((name) => name !== undefined))];
  const labelOf = new Map(classes.map((name, label) => [name, label]));
  return {
    kind: 'folder',
    root,
    classes,
    files: packStrings(files),
    labels: sharedInt32(files.map((file) => labelOf.get(classOf(file) ?? '') ?? -1)),
  };
}

/** True when the folder itself or one below holds an image; stops at the first. */
export function holdsImages(root: string): boolean {
  return imagesBelow(root, '', new Set([real(root)])).next().done === false;
}

export class ImageFolder implements ImageSource {
  readonly length: number;
  readonly classes: readonly string[];

  constructor(readonly descriptor: FolderDescriptor) {
    this.length = descriptor.labels.length;
    this.classes = descriptor.classes;
  }

  describe(index: number): string {
    return join(this.descriptor.root, unpackString(this.descriptor.files, index));
  }

  async read(index: number): Promise<StoredImage> {
    const path = this.describe(index);
    try {
      return { encoded: await readFile(path) };
    } catch (error) {
      throw imageError(path, error);
    }
  }

  label(index: number): number | undefined {
    const label = this.descriptor.labels[index];
    return label === undefined || label < 0 ? undefined : label;
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** `seen`: real paths of the folders that lead here, so that a circle of links ends. */
function* imagesBelow(root: string, below: string, seen: ReadonlySet<string>): Generator<string> {
  const folder = join(root, below);
  const files: string[] = [];
  const folders: string[] = [];
  for (const entry of list(folder)) {
    if (entry.name.startsWith('.')) continue;
    const kind = entry.isSymbolicLink() ? linked(join(folder, entry.name)) : entry;
    if (kind?.isDirectory()) folders.push(entry.name);
    else if (kind?.isFile() && imageFile.test(entry.name)) files.push(entry.name);
  }
  for (const name of files.sort()) yield below === '' ? name : `${below}/${name}`;
  for (const name of folders.sort()) {
    const path = real(join(folder, name));
    if (seen.has(path)) continue;
    yield* imagesBelow(root, below === '' ? name : `${below}/${name}`, new Set([...seen, path]));
  }
}

function list(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    throw dataError(`Expected a folder that can be listed but received ${folder}: ${reason(error)}`, error);
  }
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw dataError(`Expected a folder at ${path} but it cannot be opened: ${reason(error)}`, error);
  }
}

/** Undefined: the link leads nowhere. */
function linked(path: string) {
  return statSync(path, { throwIfNoEntry: false });
}
