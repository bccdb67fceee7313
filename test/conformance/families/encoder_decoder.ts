/** Encoder and predictor end to end: the student's pass and its gradients, the teacher's pass, inference. */
import { names } from '../../../lib/model/backbone_layout.js';
import type { Build } from '../../../lib/model/build.js';
import { Encoder } from '../../../lib/model/encoder.js';
import { FeatureExtractor } from '../../../lib/model/feature_extractor.js';
import { type ModelConfig, numPositions, patchValues } from '../../../lib/model/model_config.js';
import { makePredictor } from '../../../lib/model/predictor.js';
import { Teacher } from '../../../lib/model/teacher.js';
import { ops } from '../../../lib/tensor/ops.js';
import type { Tensor } from '../../../lib/tensor/tensor.js';
import type { GoldenFile } from '../golden_file.js';
import { modelConfig, Network } from '../network.js';
import { cutPatches, gridOf, selectRows } from '../pixels.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';
import { gradientOfImages } from './image_gradient.js';

interface Case {
  readonly dim: number;
  readonly enc: number;
  readonly dec: number;
  readonly heads: number;
  readonly patch: number;
  readonly registers: number;
}

export async function checkEncoderDecoder(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, options] of file.cases<Case>()) {
    const images = `${name}.in.images`;
    const config = configFor(options, file.shape(images));
    await checkTraining(file, checks, name, config);
    await checkTeacher(file, checks, { name, config });
    await checkInference(file, checks, { name, images, outputs: 'eval', config });
    const rect = 'eval_rect.in.images';
    if (!file.has(rect)) continue;
    const rectConfig = configFor(options, file.shape(rect));
    await checkInference(file, checks, { name, images: rect, outputs: 'eval_rect', config: rectConfig });
  }
}

function configFor(options: Case, imageShape: readonly number[]): ModelConfig {
  return modelConfig({
    patchSize: options.patch,
    grid: gridOf({ shape: imageShape, patch: options.patch }),
    width: options.dim,
    numHeads: options.heads,
    encoderDepth: options.enc,
    predictorDepth: options.dec,
    registers: options.registers,
  });
}

function patchesOf(file: GoldenFile, images: string, config: ModelConfig): Float32Array {
  return cutPatches(file.floats(images), { shape: file.shape(images), patch: config.patchSize });
}

/** The student's backbone, opened at the encoder's output, which the file has a cotangent for. */
async function checkTraining(
  file: GoldenFile,
  checks: Checks,
  name: string,
  config: ModelConfig,
): Promise<void> {
  const imageShape = { shape: file.shape(`${name}.in.images`), patch: config.patchSize };
  const images = imageShape.shape[0] as number;
  const { width, registers } = config;
  const visible = file.values(`${name}.in.visible_indices`);
  const predict = file.values(`${name}.in.predict_indices`);
  const perImage = visible.length / images;
  const predicted = predict.length / images;
  const makeModules = (build: Build, reserve: (shape: readonly number[]) => Tensor) => {
    const encoder = new Encoder(build, { visible: perImage, training: true });
    const tokens = () => reserve([images * encoder.tokens, width]);
    const options = { contextTokens: encoder.tokens, predicted, training: true };
    const predictor = makePredictor(build, options);
    return { encoder, predictor, context: tokens(), gradContext: tokens(), grad: tokens() };
  };
  using network = new Network({ config, images }, makeModules);
  network.load(file, `${name}.param.`, 'backbone.');
  const { encoder, predictor, context, gradContext, grad } = network.modules;

  using space = new Workspace(file);
  const columns = patchValues(config);
  const pixels = selectRows(patchesOf(file, `${name}.in.images`, config), columns, visible);
  const encoderInput = {
    patches: space.from(pixels, [visible.length, columns]),
    visible: space.indices(visible),
  };
  const predictorInput = {
    context,
    contextCoordinates: encoder.coordinates,
    predict: space.indices(predict),
  };
  encoder.forward(encoderInput);
  encoder.stack.normForward(context);
  predictor.forward(predictorInput);
  const patchesAlone = (all: ArrayLike<number>) => withoutRegisters(all, images, encoder.tokens, registers);
  checks.tensor(name, 'out.encoder', patchesAlone(await context.readFloats()));
  checks.tensor(name, 'out.decoder', await predictor.predictions.readFloats());

  predictor.backward(predictorInput, space.load(`${name}.cot.decoder`), gradContext);
  const cotangent = space.load(`${name}.cot.encoder`, [images, perImage * width]);
  const patchColumns = gradContext.view([images, encoder.tokens * width]);
  const direct = patchColumns.columnRange(registers * width, encoder.tokens * width);
  ops.residualForward({ x: direct, branch: cotangent, y: direct, rows: 1 });
  encoder.stack.normBackward(gradContext, grad);
  encoder.backward(encoderInput, grad);
  if (file.has(`${name}.grad.in.images`)) {
    const weight = network.values.matrix(names.patchWeight);
    const gradTokens = grad;
    const gradient = await gradientOfImages({ gradTokens, weight, registers, visible, imageShape, space });
    checks.tensor(name, 'grad.in.images', gradient);
  }
  await network.checkGradients(file, checks, name, 'backbone.');
}

async function checkTeacher(
  file: GoldenFile,
  checks: Checks,
  { name, config }: { name: string; config: ModelConfig },
): Promise<void> {
  const images = file.shape(`${name}.in.images`)[0] as number;
  using network = new Network({ config, images }, (build) => new Teacher(build));
  network.load(file, `${name}.param.`, 'backbone.');
  using space = new Workspace(file);
  const pixels = patchesOf(file, `${name}.in.images`, config);
  network.modules.forward(space.from(pixels, [images * numPositions(config), patchValues(config)]));
  checks.tensor('teacher', 'out.encoder', await network.modules.features.readFloats());
}

async function checkInference(
  file: GoldenFile,
  checks: Checks,
  {
    name,
    images: imagesName,
    outputs,
    config,
  }: { name: string; images: string; outputs: string; config: ModelConfig },
): Promise<void> {
  const images = file.shape(imagesName)[0] as number;
  using network = new Network({ config, images }, (build) => new FeatureExtractor(build));
  network.load(file, `${name}.param.`, 'backbone.');
  using space = new Workspace(file);
  const pixels = patchesOf(file, imagesName, config);
  network.modules.forward(space.from(pixels, [images * numPositions(config), patchValues(config)]));
  const { globalRepr, registers, featureMap } = network.modules;
  checks.tensor(outputs, 'out.global_repr', await globalRepr.readFloats());
  checks.tensor(outputs, 'out.registers', (await registers?.readFloats()) ?? []);
  checks.tensor(outputs, 'out.feature_map', await featureMap.readFloats());
}

function withoutRegisters(
  tokens: ArrayLike<number>,
  images: number,
  perImage: number,
  registers: number,
): number[] {
  const width = tokens.length / images / perImage;
  return Array.from(tokens).filter((_, i) => Math.floor(i / width) % perImage >= registers);
}
