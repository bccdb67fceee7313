/** Files that are either the old one or the new one, whole, whatever happens to the process or the machine. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Ends the name of every file that is not finished; such a file may be deleted by whoever owns the folder. */
export const TEMPORARY_SUFFIX = '.tmp';

/** Writes and syncs a temporary file, renames it over `path`, syncs the folder. */
export async function writeFileAtomically(path: string, content: string | Uint8Array): Promise<void> {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
  await replaceAtomically(path, (file) => writeAll(file, bytes));
}

/**
 * The same for content that is streamed by `write`, which may also read it. On any failure the temporary is removed and
 * `path` is untouched.
 */
export async function replaceAtomically<T>(
  path: string,
  write: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const temporary = `${path}.${process.pid}${TEMPORARY_SUFFIX}`;
  try {
    const file = await open(temporary, 'w+');
    let result: T;
    try {
      result = await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
    return result;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Makes renames and deletions in a folder survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** @param position where in the file; default: after what was written last */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const at = position === undefined ? null : position + done;
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, at);
    done += bytesWritten;
  }
}
