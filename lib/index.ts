/** capi-vit: pretrain and use vision transformers with CAPI. */
export { type LoadedConfig, loadConfig, parseConfig, resolveConfig } from './config/load.js';
export { stepsOverrides } from './config/run_length.js';
export type { Config } from './config/schema.js';
export { openSource } from './data/source.js';
export { type Features, type LoadModelOptions, loadModel, VisionModel } from './eval/vision_model.js';
export { addon as runtime, type RuntimeStats } from './native/addon.js';
export { CapiError, type CapiErrorCode, isCapiError } from './native/errors.js';
export { ops } from './tensor/ops.js';
export { Tensor } from './tensor/tensor.js';
export { type Plan, planTraining } from './train/plan.js';
export {
  type StepReport,
  type TrainListener,
  type TrainOptions,
  type TrainResult,
  train,
} from './train/trainer.js';
