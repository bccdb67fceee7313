import {
  dataError,
  decodeError,
  imageError,
  isBadImage,
  reason,
  shardError,
} from '../../lib/data/data_errors.js';
import { CapiError } from '../../lib/native/errors.js';
import { systemFailure } from '../support/images.js';

describe('an error met at an image', () => {
  test.each([
    ['what a decoder or a source says of it', dataError('a.png is empty (0 bytes)'), /^a\.png is empty/],
    ['one missing file', systemFailure('ENOENT'), /a\.png is gone: .* when the images were listed/],
    [
      'a file too large to read',
      Object.assign(new RangeError('File size is over 2 GiB'), { code: 'ERR_FS_FILE_TOO_LARGE' }),
      /a\.png is too large: .*2 GiB/,
    ],
  ])('is about that image: %s', (_, error, message) => {
    const fault = imageError('a.png', error);
    expect(isBadImage(fault)).toBe(true);
    expect(fault.message).toMatch(message);
  });

  test.each([
    ['EMFILE', 'ERR_CAPI_SYSTEM', /ulimit -n/],
    ['ENFILE', 'ERR_CAPI_SYSTEM', /close other programs/],
    ['EIO', 'ERR_CAPI_SYSTEM', /Check the disk or mount/],
    ['ESTALE', 'ERR_CAPI_SYSTEM', /Mount the network folder again/],
    ['EACCES', 'ERR_CAPI_SYSTEM', /Let this user read/],
    ['EPERM', 'ERR_CAPI_SYSTEM', /Let this user read/],
    ['ENOMEM', 'ERR_CAPI_OUT_OF_MEMORY', /no more memory or threads.*close other programs/i],
    ['ENOTCONN', 'ERR_CAPI_SYSTEM', /Check the disk or mount/],
  ])('is the system’s: %s', (code, capiCode, whatToDo) => {
    const error = systemFailure(code);
    const fault = imageError('folder/a.png', error);
    expect(isBadImage(fault)).toBe(false);
    expect(fault).toMatchObject({ code: capiCode, cause: error });
    expect(fault.message).toContain('folder/a.png');
    expect(fault.message).toContain(error.message);
    expect(fault.message).toMatch(whatToDo);
  });

  test.each([
    ['a bug', new TypeError('x is not a function'), 'ERR_CAPI_INTERNAL'],
    ['what is not an error', 'text', 'ERR_CAPI_INTERNAL'],
    ['no memory for an array', new RangeError('Array buffer allocation failed'), 'ERR_CAPI_OUT_OF_MEMORY'],
  ])('is the program’s: %s', (_, error, code) => {
    const fault = imageError('a.png', error);
    expect(isBadImage(fault)).toBe(false);
    expect(fault).toMatchObject({ code, message: expect.stringContaining(`a.png`) });
    expect(fault.message).toContain(reason(error));
  });

  test('keeps the code that it has', () => {
    const error = new CapiError('ERR_CAPI_DISPOSED', 'closed');
    expect(imageError('a.png', error)).toBe(error);
    expect(isBadImage(imageError('a.png', error))).toBe(false);
  });
});

test('a missing shard is not one bad image', () => {
  const fault = shardError('0.tar, a.png', systemFailure('ENOENT'));
  expect(isBadImage(fault)).toBe(false);
  expect(fault).toMatchObject({
    code: 'ERR_CAPI_SYSTEM',
    message: expect.stringMatching(/0\.tar, a\.png.*ENOENT.*Put the shard back/),
  });
  expect(shardError('0.tar, a.png', systemFailure('EIO')).code).toBe('ERR_CAPI_SYSTEM');
  expect(isBadImage(shardError('0.tar, a.png', dataError('the shard ends')))).toBe(true);
});

describe('what sharp says', () => {
  test.each([
    'VipsJpeg: premature end of JPEG image',
    'Input image exceeds pixel limit',
    'tiff2vips: Memory allocation of 99 bytes is beyond the 9 byte limit defined in open options',
    'heif: Invalid input: Memory allocation error: Security limit exceeded',
  ])('is about the image: %s', (text) => {
    const fault = decodeError('a.png', 'PNG', new Error(text));
    expect(isBadImage(fault)).toBe(true);
    expect(fault.message).toBe(`a.png cannot be decoded as PNG: ${text}`);
  });

  test.each([
    'vips_tracked: out of memory -- size == 512MB',
    'Could not allocate enough memory for raw output',
    'VipsJpeg: Insufficient memory (case 4)',
    'thread: unable to create thread',
  ])('is about the system: %s', (text) => {
    const fault = decodeError('a.png', 'PNG', new Error(text));
    expect(isBadImage(fault)).toBe(false);
    expect(fault).toMatchObject({
      code: 'ERR_CAPI_OUT_OF_MEMORY',
      message: expect.stringContaining(text),
    });
    expect(fault.message).toContain('a.png');
  });
});
