/**
 * Files kept open for reading, at most so many: the least recently used one is closed when another is wanted. A file is
 * closed only between uses, and a use waits while all files are in use.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { CapiError } from '../native/errors.js';

/** What reading needs of a file. */
export type ReadableFile = Pick<FileHandle, 'read' | 'close'>;

interface OpenFile {
  readonly handle: Promise<ReadableFile>;
  users: number;
}

export class OpenFiles {
  /** By path, the least recently used first. */
  readonly #files = new Map<string, OpenFile>();
  /** Files open, being opened or being closed. */
  #count = 0;
  #closed = false;
  /** To be told when a use, an opening or a closing has ended. */
  #waiting: (() => void)[] = [];

  /** @param opener tests replace it */
  constructor(
    private readonly most: number,
    private readonly opener: (path: string) => Promise<ReadableFile> = (path) => open(path, 'r'),
  ) {}

  /** What `body` makes of the file, which stays open until then. */
  async use<T>(path: string, body: (file: ReadableFile) => Promise<T>): Promise<T> {
    const file = await this.#acquire(path);
    try {
      return await body(await file.handle);
    } finally {
      file.users -= 1;
      this.#wake();
    }
  }

  /** Closes every file, each after its uses under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    while (this.#count > 0) await this.#makeRoom();
  }

  async #acquire(path: string): Promise<OpenFile> {
    for (;;) {
      if (this.#closed)
        throw new CapiError('ERR_CAPI_DISPOSED', `Expected open files but ${path} was closed`);
      const file = this.#files.get(path) ?? (this.#count < this.most ? this.#open(path) : undefined);
      if (file !== undefined) {
        this.#files.delete(path); // and set again: the most recently used is last
        this.#files.set(path, file);
        file.users += 1;
        return file;
      }
      await this.#makeRoom();
    }
  }

  #open(path: string): OpenFile {
    this.#count += 1;
    const file = { handle: this.opener(path), users: 0 };
    file.handle.catch(() => {
      this.#files.delete(path);
      this.#count -= 1;
      this.#wake();
    });
    return file;
  }

  /** Closes the least recently used file that is not in use; where there is none, waits until something changes. */
  #makeRoom(): Promise<void> {
    const idle = [...this.#files].find(([, { users }]) => users === 0);
    if (idle === undefined) return new Promise((resolve) => this.#waiting.push(resolve));
    const [path, { handle }] = idle;
    this.#files.delete(path);
    return handle
      .then((file) => file.close())
      .catch(() => undefined) // nothing was written that could be lost
      .then(() => {
        this.#count -= 1;
        this.#wake();
      });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }
}
