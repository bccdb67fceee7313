/** The optimizer with its groups and EMA, over the layout that a run has; then the clustering head's optimizer. */
import { addBackbone } from '../../../lib/model/backbone_layout.js';
import { addStudentHead } from '../../../lib/model/student_head.js';
import { AdamW, type AdamWOptions, studentMultipliers } from '../../../lib/optim/adamw.js';
import { Arena } from '../../../lib/tensor/arena.js';
import { ParameterLayout, ParameterSet } from '../../../lib/tensor/parameters.js';
import type { Tensor } from '../../../lib/tensor/tensor.js';
import { backend } from '../../support/tensor.js';
import type { GoldenFile } from '../golden_file.js';
import { modelConfig } from '../network.js';
import type { Checks } from '../report.js';

interface Settings {
  readonly model: {
    readonly patch: number;
    readonly registers: number;
    readonly dim: number;
    readonly heads: number;
    readonly enc: number;
    readonly dec: number;
    readonly K: number;
  };
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
  readonly patch_embed_lr_mult: number;
  readonly rope_lr_mult: number;
  readonly layernorm_wd_mult: number;
  readonly groups: readonly {
    readonly lr_multiplier: number;
    readonly wd_multiplier: number;
    readonly params: readonly string[];
  }[];
  /** `0.5*lr` */
  readonly head_lr: string;
  readonly head_weight_decay: number;
}

export async function checkAdamw(file: GoldenFile, checks: Checks): Promise<void> {
  const settings = file.config as unknown as Settings;
  const multipliers = studentMultipliers({
    patchEmbed: settings.patch_embed_lr_mult,
    rope: settings.rope_lr_mult,
    norm: settings.layernorm_wd_mult,
  });
  for (const group of settings.groups) {
    const same = group.params.every((name) => {
      const { learningRate, weightDecay } = multipliers(name);
      return learningRate === group.lr_multiplier && weightDecay === group.wd_multiplier;
    });
    const note = `${group.params.length} tensors`;
    checks.holds('groups', `lr x${group.lr_multiplier}, decay x${group.wd_multiplier}`, same, note);
  }
  await checkStudent(file, checks, settings, multipliers);
  await checkHead(file, checks, settings);
}

async function checkStudent(
  file: GoldenFile,
  checks: Checks,
  settings: Settings,
  multipliers: AdamWOptions['multipliers'],
): Promise<void> {
  const { model } = settings;
  const layout = new ParameterLayout();
  const config = modelConfig({
    patchSize: model.patch,
    grid: [1, 1],
    width: model.dim,
    numHeads: model.heads,
    encoderDepth: model.enc,
    predictorDepth: model.dec,
    registers: model.registers,
  });
  addBackbone(layout, config);
  addStudentHead(layout, model.dim, { numClusters: model.K, kind: 'linear' });
  const decay = settings.weight_decay;
  using run = new OptimizerRun(layout, settings, decay, multipliers);
  const complete = layout.parameters.every(({ name }) => file.has(`init.${name}`));
  checks.holds('init', 'names', complete, 'of every parameter of the layout are in the file');
  run.load(file, 'init.', run.values);
  run.load(file, 'ema.init.', run.ema);
  const rates = file.values('lr');
  const momenta = file.values('momentum');
  for (const [i, learningRate] of rates.entries()) {
    const step = `step${i + 1}`;
    run.load(file, `${step}.grad.`, run.gradients);
    run.optimizer.setRates({ learningRate, momentum: momenta[i] as number });
    run.optimizer.step(run.nonfinite);
    await run.compare(file, checks, step, 'param.', run.values);
    await run.compare(file, checks, 'ema', `${step}.`, run.ema);
  }
}

async function checkHead(file: GoldenFile, checks: Checks, settings: Settings): Promise<void> {
  const layout = new ParameterLayout();
  for (const name of ['weight', 'bias']) {
    layout.add(name, file.shape(`head.init.${name}`), { kind: 'constant', value: 0 });
  }
  const decay = settings.head_weight_decay;
  const equal = () => ({ learningRate: 1, weightDecay: 1 });
  using run = new OptimizerRun(layout, settings, decay, equal);
  run.load(file, 'head.init.', run.values);
  const factor = Number.parseFloat(settings.head_lr);
  for (const [i, rate] of file.values('lr').entries()) {
    const step = `step${i + 1}`;
    run.load(file, `head.${step}.grad.`, run.gradients);
    run.optimizer.setRates({ learningRate: factor * rate });
    run.optimizer.step(run.nonfinite);
    for (const name of ['weight', 'bias'].filter((tensor) => file.has(`head.${step}.${tensor}`))) {
      checks.tensor('head', `${step}.${name}`, await run.values.matrix(name).readFloats());
    }
  }
}

class OptimizerRun implements Disposable {
  readonly values: ParameterSet;
  readonly ema: ParameterSet;
  readonly gradients: ParameterSet;
  readonly optimizer: AdamW;
  readonly nonfinite: Tensor;
  readonly #arena = new Arena('conformance', backend);

  constructor(
    layout: ParameterLayout,
    { betas: [beta1, beta2], eps }: Settings,
    weightDecay: number,
    multipliers: AdamWOptions['multipliers'],
  ) {
    this.values = new ParameterSet(layout, this.#arena, 'f32');
    this.ema = new ParameterSet(layout, this.#arena, 'f32');
    this.gradients = new ParameterSet(layout, this.#arena, 'f32');
    this.optimizer = new AdamW(
      this.#arena,
      { master: this.values, gradients: this.gradients, ema: this.ema },
      { beta1, beta2, eps, weightDecay, multipliers },
    );
    this.nonfinite = this.#arena.reserve([1, 1], 'i32');
    this.#arena.allocate();
    this.optimizer.prepare();
  }

  load(file: GoldenFile, prefix: string, set: ParameterSet): void {
    for (const name of file.names(prefix)) set.matrix(name.slice(prefix.length)).write(file.floats(name));
  }

  /** Compares with every tensor of the case whose name begins with `prefix`, if there are any. */
  async compare(file: GoldenFile, checks: Checks, caseName: string, prefix: string, set: ParameterSet) {
    const start = `${caseName}.${prefix}`;
    for (const name of file.names(start)) {
      const tensor = set.matrix(name.slice(start.length));
      checks.tensor(caseName, name.slice(caseName.length + 1), await tensor.readFloats());
    }
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }
}
