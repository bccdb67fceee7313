/** The regular files of a tar archive and where their bytes lie, found by reading headers only. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { dataError, reason } from './data_errors.js';

export interface TarMember {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  /** The member's bytes, while the archive is being listed. */
  content(): Buffer;
}

const block = 512;

export function* tarMembers(path: string): Generator<TarMember> {
  const file = open(path);
  try {
    const total = fstatSync(file).size;
    if (readAt(file, 0, 2).equals(Buffer.from([0x1f, 0x8b]))) {
      throw dataError(
        `Expected a plain tar archive but ${path} is gzipped, which does not allow random access. Unpack it with gunzip.`,
      );
    }
    // Long names and sizes that precede a member: GNU 'L' and POSIX 'x'.
    let next: { name?: string; size?: number } = {};
    let offset = 0;
    while (offset + block <= total) {
      const header = readAt(file, offset, block);
      if (header.every((byte) => byte === 0)) return;
      checkSum(header, path, offset);
      const type = String.fromCharCode(header[156] as number);
      const size = next.size ?? fieldNumber(header.subarray(124, 136));
      if (!(Number.isSafeInteger(size) && size >= 0)) {
        throw dataError(
          `Expected a size in the tar header at byte ${offset} of ${path} but received ${size}.`,
        );
      }
      const data = offset + block;
      if (data + size > total) {
        throw dataError(
          `Expected ${size} bytes of ${next.name ?? fieldName(header)} but ${path} ends after ${total - data}. ` +
            'The shard is truncated: fetch it again.',
        );
      }
      if (type === 'L') {
        next = { ...next, name: text(readAt(file, data, size)) };
      } else if (type === 'x') {
        next = { ...next, ...extended(readAt(file, data, size)) };
      } else {
        if (type === '0' || type === '\0' || type === '7') {
          yield {
            name: next.name ?? fieldName(header),
            offset: data,
            size,
            content: () => readAt(file, data, size),
          };
        }
        if (type !== 'g') next = {};
      }
      offset = data + Math.ceil(size / block) * block;
    }
    if (total === 0) throw dataError(`Expected a tar archive but received an empty file in ${path}`);
    if (offset !== total)
      throw dataError(`Expected whole blocks of 512 bytes but ${path} ends within one: it is truncated.`);
  } finally {
    closeSync(file);
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw dataError(`Expected a tar shard at ${path} but it cannot be opened: ${reason(error)}`, error);
  }
}

function readAt(file: number, offset: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let done = 0; done < size; ) {
    const read = readSync(file, bytes, done, size - done, offset + done);
    if (read === 0) break; // the caller has compared with the file's size
    done += read;
  }
  return bytes;
}

/** The header's bytes add up to its checksum field, that field counted as spaces. */
function checkSum(header: Buffer, path: string, offset: number): void {
  let sum = 8 * 32;
  header.forEach((byte, i) => {
    if (i < 148 || i >= 156) sum += byte;
  });
  if (sum !== fieldNumber(header.subarray(148, 156))) {
    throw dataError(
      `Expected a tar header at byte ${offset} of ${path} but its checksum is wrong: the shard is corrupt.`,
    );
  }
}

/** Octal text, or big-endian binary after a byte 0x80. */
function fieldNumber(field: Buffer): number {
  if ((field[0] as number) & 0x80) return field.subarray(1).reduce((value, byte) => value * 256 + byte, 0);
  return Number.parseInt(text(field).trim() || '0', 8);
}

function fieldName(header: Buffer): string {
  const prefix = header.toString('latin1', 257, 262) === 'ustar' ? text(header.subarray(345, 500)) : '';
  const name = text(header.subarray(0, 100));
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Records `length key=value\n`. */
function extended(bytes: Buffer): { name?: string; size?: number } {
  const found: { name?: string; size?: number } = {};
  for (let at = 0; at < bytes.length; ) {
    const length = Number.parseInt(bytes.toString('latin1', at, at + 20), 10);
    if (!(length > 0)) break;
    const record = bytes.toString('utf8', at, at + length - 1);
    const body = record.slice(record.indexOf(' ') + 1);
    if (body.startsWith('path=')) found.name = body.slice(5);
    if (body.startsWith('size=')) found.size = Number(body.slice(5));
    at += length;
  }
  return found;
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}
