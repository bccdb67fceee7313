/** Between images [b, 3, h, w] and rows of patches [b·N, 3·p²], columns in the order channel, row, column. */

export interface ImageShape {
  /** [b, 3, h, w] */
  readonly shape: readonly number[];
  readonly patch: number;
}

/** Patches down and across. */
export function gridOf({ shape, patch }: ImageShape): [number, number] {
  return [Math.floor((shape[2] as number) / patch), Math.floor((shape[3] as number) / patch)];
}

export function cutPatches(images: Float32Array, shape: ImageShape): Float32Array {
  const patches = new Float32Array(images.length);
  forPixels(shape, (pixel, value) => {
    patches[value] = images[pixel] as number;
  });
  return patches;
}

export function joinPatches(patches: ArrayLike<number>, shape: ImageShape): Float32Array {
  const images = new Float32Array(patches.length);
  forPixels(shape, (pixel, value) => {
    images[pixel] = patches[value] as number;
  });
  return images;
}

/** Rows `indices` of a matrix with `cols` columns. */
export function selectRows(matrix: Float32Array, cols: number, indices: ArrayLike<number>): Float32Array {
  const rows = new Float32Array(indices.length * cols);
  for (let i = 0; i < indices.length; i++) {
    const from = (indices[i] as number) * cols;
    rows.set(matrix.subarray(from, from + cols), i * cols);
  }
  return rows;
}

/** The rows at their places in a matrix of zeros. */
export function scatterRows(
  rows: Float32Array,
  cols: number,
  indices: ArrayLike<number>,
  size: number,
): Float32Array {
  const matrix = new Float32Array(size);
  for (let i = 0; i < indices.length; i++) {
    matrix.set(rows.subarray(i * cols, (i + 1) * cols), (indices[i] as number) * cols);
  }
  return matrix;
}

/** Transposes the middle axes: [a, b, c, d] to [a, c, b, d]. */
export function swapMiddle(
  values: ArrayLike<number>,
  [a, b, c, d]: readonly [number, number, number, number],
): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      for (let k = 0; k < c; k++) {
        for (let l = 0; l < d; l++) {
          out[((i * c + k) * b + j) * d + l] = values[((i * b + j) * c + k) * d + l] as number;
        }
      }
    }
  }
  return out;
}

function forPixels({ shape, patch }: ImageShape, visit: (pixel: number, value: number) => void): void {
  const [images, channels, height, width] = shape as [number, number, number, number];
  const [rows, cols] = [height / patch, width / patch];
  let pixel = 0;
  for (let image = 0; image < images; image++) {
    for (let channel = 0; channel < channels; channel++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const row = (image * rows + Math.floor(y / patch)) * cols + Math.floor(x / patch);
          visit(pixel++, (row * channels + channel) * patch * patch + (y % patch) * patch + (x % patch));
        }
      }
    }
  }
}
