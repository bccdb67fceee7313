/** Where Fashion-MNIST lies: Debian's package, else a copy in the user's cache, fetched once. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomically } from '../checkpoint/durable.js';
import { CapiError } from '../native/errors.js';

const debianFolder = '/usr/share/datasets/fashion-mnist';
const address = 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com';
/** MD5 sums that the authors publish. */
const files: Readonly<Record<string, string>> = {
  'train-images-idx3-ubyte.gz': '8d4fb7e6c68d591d4c3dfef9ec88bf0d',
  'train-labels-idx1-ubyte.gz': '25c81989df183df01b3e8a0aad5dffbe',
  't10k-images-idx3-ubyte.gz': 'bef4ecab320f06d8554ea6380940ec79',
  't10k-labels-idx1-ubyte.gz': 'bb300cfdad3c16e7a12a480ee83cd310',
};

/** The folder with the four files. Throws ERR_CAPI_DATA when they are nowhere and cannot be fetched. */
export async function fashionMnist(): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'capi-vit', 'fashion-mnist');
  for (const folder of [debianFolder, cache]) {
    if (Object.keys(files).every((name) => existsSync(join(folder, name)))) return folder;
  }
  await mkdir(cache, { recursive: true });
  for (const [name, md5] of Object.entries(files)) {
    console.error(`fetching ${name} from ${address}`);
    await fetchFile(name, md5, join(cache, name));
  }
  return cache;
}

async function fetchFile(name: string, md5: string, path: string): Promise<void> {
  try {
    const response = await fetch(`${address}/${name}`);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (createHash('md5').update(bytes).digest('hex') !== md5) throw new Error('its checksum is wrong');
    await writeFileAtomically(path, bytes);
  } catch (cause) {
    throw new CapiError(
      'ERR_CAPI_DATA',
      `Fashion-MNIST could not be fetched (${cause instanceof Error ? cause.message : String(cause)}). ` +
        'On Debian or Ubuntu install the package dataset-fashion-mnist, or give a folder of images: npm start -- --data <folder>',
      { cause },
    );
  }
}
