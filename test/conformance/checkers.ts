/** Which checker reads which file. */
import { checkAdamw } from './families/adamw.js';
import { checkAttention } from './families/attention.js';
import { checkBlock } from './families/block.js';
import { checkCoordinates } from './families/coordinates.js';
import { checkCropParameters } from './families/crop_parameters.js';
import { checkCrops } from './families/crops.js';
import { checkEncoderDecoder } from './families/encoder_decoder.js';
import { checkMasking } from './families/masking.js';
import { checkMlp } from './families/mlp.js';
import { checkOnlineClustering } from './families/online_clustering.js';
import { checkPatchEmbedding } from './families/patch_embedding.js';
import { checkRmsNorm } from './families/rms_norm.js';
import { checkRope } from './families/rope.js';
import { checkSchedules } from './families/schedules.js';
import { checkSinkhorn, checkSinkhornBf16 } from './families/sinkhorn.js';
import { checkStudentHead } from './families/student_head.js';
import { checkStudentLoss } from './families/student_loss.js';
import { checkTokens } from './families/tokens.js';
import { checkTrajectory } from './families/trajectory.js';
import type { GoldenFile } from './golden_file.js';
import type { Checks } from './report.js';

/** Compares one file's tensors with what the product computes. */
export type Checker = (file: GoldenFile, checks: Checks) => Promise<void>;

const checkers: Readonly<Record<string, Checker>> = {
  adamw: checkAdamw,
  attention: checkAttention,
  block: checkBlock,
  coords: checkCoordinates,
  crop_params: checkCropParameters,
  crops: checkCrops,
  l2norm_linear: checkStudentHead,
  masking: checkMasking,
  mlp: checkMlp,
  online_clustering: checkOnlineClustering,
  patch_embed: checkPatchEmbedding,
  rmsnorm: checkRmsNorm,
  rope: checkRope,
  schedules: checkSchedules,
  sinkhorn: checkSinkhorn,
  sinkhorn_bf16: checkSinkhornBf16,
  student_loss: checkStudentLoss,
  tokens: checkTokens,
  trajectory: checkTrajectory,
};

/** By the file's name without suffix; `encdec_…` may be of any size. */
export function checkerOf(name: string): Checker | undefined {
  if (name.startsWith('encdec_')) return checkEncoderDecoder;
  return Object.hasOwn(checkers, name) ? checkers[name] : undefined;
}
