/**
 * Every op of the native library. A call checks its arguments and enqueues the work on this thread's stream;
 * it throws a coded error (ERR_CAPI_SHAPE_MISMATCH, …_DTYPE_MISMATCH, …_DISPOSED, …_INVALID_ARGUMENT) and never waits.
 * Outputs are given by the caller. Results become readable through `Tensor.read` or after `synchronize()`.
 */
import { addon } from '../native/addon.js';
import type { AttentionOps } from './ops_attention.js';
import type { ClusteringOps } from './ops_clustering.js';
import type { ImageOps } from './ops_image.js';
import type { LinearOps } from './ops_linear.js';
import type { LossOps } from './ops_loss.js';
import type { NormOps } from './ops_norm.js';
import type { OptimOps } from './ops_optim.js';
import type { PatchesOps } from './ops_patches.js';
import type { ResidualOps } from './ops_residual.js';
import type { TensorOps } from './ops_tensor.js';

export type Ops = AttentionOps &
  ClusteringOps &
  ImageOps &
  LinearOps &
  LossOps &
  NormOps &
  OptimOps &
  PatchesOps &
  ResidualOps &
  TensorOps;

export const ops = addon as unknown as Ops;
