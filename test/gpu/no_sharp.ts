/** In a bundle in the place of sharp, which is 20 MB: nothing there reads or writes image files. */
import { CapiError } from '../../lib/native/errors.js';

export default function sharp(): never {
  throw new CapiError(
    'ERR_CAPI_INTERNAL',
    'Expected no image file to be read or written: this bundle has no sharp',
  );
}
