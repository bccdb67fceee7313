/** Element types of tensors and their conversions on the host. */
export type Dtype = 'f32' | 'bf16' | 'f64' | 'i32' | 'u8';
/** The two storage types of parameters and activations. */
export type ComputeDtype = 'f32' | 'bf16';

export const dtypeBytes: Readonly<Record<Dtype, number>> = { f32: 4, bf16: 2, f64: 8, i32: 4, u8: 1 };

/** bf16 is kept as its 16 bits. */
export type HostArray = Float32Array | Uint16Array | Float64Array | Int32Array | Uint8Array;

export function hostArray(dtype: Dtype, buffer: ArrayBuffer): HostArray {
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer);
    case 'bf16':
      return new Uint16Array(buffer);
    case 'f64':
      return new Float64Array(buffer);
    case 'i32':
      return new Int32Array(buffer);
    case 'u8':
      return new Uint8Array(buffer);
  }
}

/** Round to nearest even, as the kernels do; NaN stays NaN. */
export function toBf16(values: ArrayLike<number>): Uint16Array {
  const float = new Float32Array(values);
  const bits = new Uint32Array(float.buffer);
  const out = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] as number;
    out[i] = Number.isNaN(float[i]) ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

export function fromBf16(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] as number) << 16;
  return new Float32Array(words.buffer);
}
