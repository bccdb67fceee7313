/** Opens a dataset by URL or plain path; the one place that knows which forms there are. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { invalidArgument } from '../native/errors.js';
import { dataError } from './data_errors.js';
import { findIdxImages, IdxImages, readIdx } from './idx.js';
import { holdsImages, ImageFolder, scanFolder } from './image_folder.js';
import type { ImageSource, SourceDescriptor } from './image_source.js';
import { parsePythonLiteral } from './python_literal.js';
import { scanShards, WebDataset } from './webdataset.js';

const forms =
  'a folder of images, an IDX file, a tar pattern such as path/{000..031}.tar, folder://path, idx://path?pad=2, ' +
  "wds://pattern or torchvision://ImageFolder?root='path'";

/**
 * `address`: a plain path (folder of images, folder or file of IDX data, tar pattern), `folder://path`, `idx://path?pad=2`,
 * `wds://pattern`, or the published `torchvision://ImageFolder?root='path'`. Throws ERR_CAPI_DATA when there is nothing to read.
 */
export function openSource(address: string): ImageSource {
  if (address === '') throw invalidArgument('the dataset', forms, address);
  const match = /^([a-z0-9]+):\/\/([^?]*)(?:\?(.*))?$/is.exec(address);
  if (match === null) return openPath(address);
  const [, scheme = '', place = '', query = ''] = match;
  const options = new Options(address, query);
  switch (scheme.toLowerCase()) {
    case 'folder':
      options.only([]);
      return new ImageFolder(scanFolder(existing(place)));
    case 'idx':
      options.only(['pad', 'split']);
      return openIdx(existing(place), options.size('pad'), options.split());
    case 'wds':
      options.only([]);
      return new WebDataset(scanShards(place));
    case 'torchvision':
      return openTorchvision(place, options);
    case 'hf':
      throw dataError(
        `Expected ${forms} but received ${address}. The Hugging Face Hub is not read directly: download the dataset ` +
          '(huggingface-cli download) and give its WebDataset shards as path/{000..031}.tar, or save its images in a folder.',
      );
    case 'custom':
      throw dataError(
        `Expected ${forms} but received ${address}. The datasets of custom:// are downloaded by the published code: unpack ` +
          'their archive and give the folder of images, such as folder:///data/ADEChallengeData2016/images/training.',
      );
    default:
      throw dataError(`Expected ${forms} but received ${address}`);
  }
}

/** The same source again, in another thread, without reading the lists anew. */
export function reopenSource(descriptor: SourceDescriptor): ImageSource {
  switch (descriptor.kind) {
    case 'folder':
      return new ImageFolder(descriptor);
    case 'idx':
      return new IdxImages(descriptor);
    case 'shards':
      return new WebDataset(descriptor);
  }
}

function openPath(path: string): ImageSource {
  if (/\.tar$/i.test(path)) return new WebDataset(scanShards(path));
  if (/\.(tar\.gz|tgz)$/i.test(path)) {
    throw dataError(
      `Expected plain tar shards but received ${path}. Unpack it with gunzip: random access needs a plain tar.`,
    );
  }
  if (statSync(existing(path)).isDirectory()) {
    return findIdxImages(path, 'train') !== undefined && !holdsImages(path)
      ? openIdx(path, 0, 'train')
      : new ImageFolder(scanFolder(path));
  }
  return openIdx(path, 0, 'train');
}

function openIdx(path: string, pad: number, split: 'train' | 'test'): IdxImages {
  if (!statSync(path).isDirectory()) return new IdxImages(readIdx(path, { pad }));
  const file = findIdxImages(path, split);
  if (file === undefined) {
    throw dataError(
      `Expected ${split === 'train' ? 'train' : 't10k'}-images-idx3-ubyte, gzipped or not, in ${path}`,
    );
  }
  return new IdxImages(readIdx(file, { pad }));
}

function openTorchvision(name: string, options: Options): ImageSource {
  const root = options.text('root');
  if (root === undefined)
    throw dataError(`Expected root='…' in ${options.address}: there is no cache of datasets here`);
  switch (name) {
    case 'ImageFolder':
      options.only(['root']);
      return new ImageFolder(scanFolder(existing(root)));
    case 'MNIST':
    case 'FashionMNIST':
    case 'KMNIST':
      options.only(['root', 'train']);
      return openIdx(existing(join(root, name, 'raw')), 0, options.flag('train', true) ? 'train' : 'test');
    default:
      throw dataError(
        `Expected torchvision://ImageFolder, MNIST, FashionMNIST or KMNIST but received ${options.address}. ` +
          'Save the images of another dataset in a folder and give that.',
      );
  }
}

function existing(path: string): string {
  if (!existsSync(path)) {
    throw dataError(
      `Expected a folder of images or an IDX file at ${path} but there is nothing: check the path.`,
    );
  }
  return path;
}

/** The query of an address: values are Python literals, as in the published configs. */
class Options {
  readonly #values = new Map<string, string | number | boolean | null>();

  constructor(
    readonly address: string,
    query: string,
  ) {
    for (const [key, value] of new URLSearchParams(query)) {
      const parsed = parsePythonLiteral(value);
      if (parsed === undefined) {
        throw dataError(
          `Expected a Python literal ('text', 3, True) for ${key} but received ${value} in ${address}`,
        );
      }
      this.#values.set(key, parsed);
    }
  }

  only(names: readonly string[]): void {
    for (const key of this.#values.keys()) {
      if (!names.includes(key)) {
        throw dataError(
          `Expected ${names.length === 0 ? 'no options' : `only ${names.join(', ')}`} but received ${key} in ${this.address}`,
        );
      }
    }
  }

  text(name: string): string | undefined {
    const value = this.#values.get(name);
    if (value === undefined || typeof value === 'string') return value;
    throw dataError(`Expected text in quotes for ${name} but received ${value} in ${this.address}`);
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.#values.get(name) ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw dataError(`Expected True or False for ${name} but received ${value} in ${this.address}`);
  }

  size(name: string): number {
    const value = this.#values.get(name) ?? 0;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 4096) return value;
    throw dataError(`Expected an integer in [0, 4096] for ${name} but received ${value} in ${this.address}`);
  }

  split(): 'train' | 'test' {
    const value = this.text('split') ?? 'train';
    if (value === 'train' || value === 'test') return value;
    throw dataError(`Expected 'train' or 'test' for split but received ${value} in ${this.address}`);
  }
}
