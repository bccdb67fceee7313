/** One golden file: its tensors by name, its settings and its yardstick. Remembers which tensors were looked at. */
import { basename } from 'node:path';
import { readSafetensors, type TensorEntry } from '../../lib/checkpoint/safetensors.js';
import { fromBf16 } from '../../lib/tensor/dtype.js';

/** i64 is narrowed to i32, bf16 widened to f32; both refuse what does not fit. */
export type Values = Float32Array | Float64Array | Int32Array | Uint8Array;

export class GoldenFile {
  /** Without `.safetensors`. */
  readonly name: string;
  /** Shapes and settings, per case or of the whole file. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Per output tensor: [max |fp32 − fp64|, max |fp64|] of the reference itself. */
  readonly fp64Error: Readonly<Record<string, readonly [number, number]>>;
  readonly #entries: ReadonlyMap<string, TensorEntry>;
  readonly #unread: Set<string>;

  private constructor(
    name: string,
    entries: readonly TensorEntry[],
    metadata: Readonly<Record<string, string>>,
  ) {
    this.name = name;
    this.config = JSON.parse(metadata.config ?? '{}');
    this.fp64Error = JSON.parse(metadata.fp64_error ?? '{}');
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
    this.#unread = new Set(this.#entries.keys());
  }

  static async read(path: string): Promise<GoldenFile> {
    const { entries, metadata } = await readSafetensors(path);
    return new GoldenFile(basename(path, '.safetensors'), entries, metadata);
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Names that begin with `prefix`, in the file's order. */
  names(prefix = ''): string[] {
    return [...this.#entries.keys()].filter((name) => name.startsWith(prefix));
  }

  /** Tensors that no checker looked at. */
  get unread(): string[] {
    return [...this.#unread];
  }

  /** Counts tensors as read that this format carries but nothing depends on. */
  ignore(prefix: string): void {
    for (const name of this.names(prefix)) this.#unread.delete(name);
  }

  /** Cases: settings that are a mapping, whatever their names. */
  cases<T>(): [string, T][] {
    return Object.entries(this.config).filter(
      (entry): entry is [string, T] =>
        typeof entry[1] === 'object' && entry[1] !== null && !Array.isArray(entry[1]),
    );
  }

  shape(name: string): readonly number[] {
    return this.#entry(name).shape;
  }

  values(name: string): Values {
    const { dtype, data } = this.#entry(name);
    this.#unread.delete(name);
    const { buffer, byteOffset, byteLength } = data;
    switch (dtype) {
      case 'f32':
        return new Float32Array(buffer, byteOffset, byteLength / 4);
      case 'f64':
        return new Float64Array(buffer, byteOffset, byteLength / 8);
      case 'bf16':
        return fromBf16(new Uint16Array(buffer, byteOffset, byteLength / 2));
      case 'u8':
        return data;
      case 'i32':
        return new Int32Array(buffer, byteOffset, byteLength / 4);
      case 'i64':
        return narrow(name, new BigInt64Array(buffer, byteOffset, byteLength / 8));
    }
  }

  floats(name: string): Float32Array {
    const values = this.values(name);
    return values instanceof Float32Array ? values : new Float32Array(values);
  }

  /** The one value of a scalar. */
  number(name: string): number {
    const [value] = this.values(name);
    if (value === undefined) throw new Error(`${name} is empty`);
    return value;
  }

  #entry(name: string): TensorEntry {
    const entry = this.#entries.get(name);
    if (!entry) throw new Error(`there is no tensor ${name}`);
    return entry;
  }
}

function narrow(name: string, values: BigInt64Array): Int32Array {
  return Int32Array.from(values, (value) => {
    if (value !== BigInt.asIntN(32, value)) throw new Error(`${name} holds ${value}, beyond 32 bits`);
    return Number(value);
  });
}
