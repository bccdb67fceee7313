/** The product's modules over a golden file's parameters. */
import { addBackbone } from '../../lib/model/backbone_layout.js';
import type { Build } from '../../lib/model/build.js';
import type { ModelConfig } from '../../lib/model/model_config.js';
import { Arena } from '../../lib/tensor/arena.js';
import { ParameterLayout, ParameterSet } from '../../lib/tensor/parameters.js';
import type { Tensor } from '../../lib/tensor/tensor.js';
import { backend } from '../support/tensor.js';
import type { GoldenFile } from './golden_file.js';
import type { Checks } from './report.js';

/** The method's choices; shapes come from the file. */
export function modelConfig(
  shape: Partial<ModelConfig> & Pick<ModelConfig, 'patchSize' | 'grid' | 'width' | 'numHeads'>,
): ModelConfig {
  return {
    encoderDepth: 0,
    predictorDepth: 0,
    predictor: 'cross',
    registers: 0,
    registerCoordinates: 'edge',
    scaleRegistersToVisible: true,
    position: 'rope_coupled',
    ropeFrequencies: [7, 7e-4],
    encoderDropPath: 0,
    predictorDropPath: 0,
    normEps: 1e-5,
    dtype: 'f32',
    ...shape,
  };
}

export interface NetworkOptions {
  readonly config: ModelConfig;
  readonly images: number;
  /** Images that a residual branch keeps; default: all. */
  readonly kept?: number;
  /** Adds a head's parameters behind the backbone's. */
  readonly addParameters?: (layout: ParameterLayout) => void;
}

/** Weights, their gradients (NaN until written), and the modules that `make` builds on them. */
export class Network<T> implements Disposable {
  readonly modules: T;
  readonly values: ParameterSet;
  readonly gradients: ParameterSet;
  readonly #arena = new Arena('conformance', backend);

  constructor(
    { config, images, kept = images, addParameters }: NetworkOptions,
    make: (build: Build, reserve: (shape: readonly number[]) => Tensor) => T,
  ) {
    const layout = new ParameterLayout();
    addBackbone(layout, config);
    addParameters?.(layout);
    this.values = new ParameterSet(layout, this.#arena, 'f32');
    this.gradients = new ParameterSet(layout, this.#arena, 'f32');
    const weights = {
      values: this.values,
      master: this.values,
      gradients: this.gradients,
      trainFrequencies: true,
    };
    const build = { config, arena: this.#arena, weights, images, kept, predictorKept: kept };
    this.modules = make(build, (shape) => this.#arena.reserve(shape, 'f32'));
    this.#arena.allocate();
    this.gradients.flat.write(new Float32Array(layout.size).fill(Number.NaN));
  }

  /** Writes every parameter of the file that begins with `from`, under the name that begins with `to` instead. */
  load(file: GoldenFile, from: string, to: string): void {
    for (const name of file.names(from)) {
      this.values.matrix(to + name.slice(from.length)).write(file.floats(name));
    }
  }

  /** Compares every gradient of the file's case that begins with `grad.param.`. */
  async checkGradients(file: GoldenFile, checks: Checks, caseName: string, to: string): Promise<void> {
    const from = `${caseName}.grad.param.`;
    for (const name of file.names(from)) {
      const gradient = this.gradients.matrix(to + name.slice(from.length));
      checks.tensor(caseName, name.slice(caseName.length + 1), await gradient.readFloats());
    }
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }
}
