/** Ops whose traffic is bounded, at sizes with the proportions of ViT-L, and their measurement (test/interpreter/traffic.h). */
import { readFileSync } from 'node:fs';
import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { Tensor } from '../../lib/tensor/tensor.js';

interface Operands {
  /** Each operand once in, each result once out: the minimum. */
  readonly reads: readonly Tensor[];
  readonly writes: readonly Tensor[];
  run(): void;
}

export interface Case {
  readonly op: string;
  readonly launches: number;
  /** Bytes moved / minimum stay below. */
  readonly most: number;
  operands(): Operands;
}

export interface Moved {
  readonly launches: number;
  readonly bytes: number;
  readonly minimum: number;
}

const f32 = (...shape: number[]) => Tensor.zeros(shape, 'f32', 'cuda');
const f64 = (...shape: number[]) => Tensor.zeros(shape, 'f64', 'cuda');
const bf16 = (...shape: number[]) => Tensor.zeros(shape, 'bf16', 'cuda');
const u8 = (...shape: number[]) => Tensor.zeros(shape, 'u8', 'cuda');
const i32 = (values: number[], ...shape: number[]) => Tensor.from(values, shape, 'i32', 'cuda');
const range = (length: number, step = 1) => Array.from({ length }, (_, i) => i * step);

export const cases: readonly Case[] = [
  {
    // Every 4 rows read the weight again, 2 KB for ViT-L, which L2 holds.
    op: 'rmsNormForward',
    launches: 1,
    most: 1.13,
    operands() {
      const [x, y, weight, rstd] = [bf16(128, 256), bf16(128, 256), bf16(1, 256), f32(1, 128)];
      return {
        reads: [x, weight],
        writes: [y, rstd],
        run: () => ops.rmsNormForward({ x, weight, y, rstd, eps: 1e-6 }),
      };
    },
  },
  {
    op: 'rmsNormBackward',
    launches: 2,
    most: 1.02,
    operands() {
      const [x, gradY, gradX, y] = [bf16(256, 256), bf16(256, 256), bf16(256, 256), bf16(256, 256)];
      const [weight, rstd, gradWeight] = [bf16(1, 256), f32(1, 256), f32(1, 256)];
      return {
        reads: [x, gradY, gradX, weight, rstd],
        writes: [gradX, y, gradWeight],
        run: () => ops.rmsNormBackward({ x, weight, rstd, gradY, gradX, y, gradWeight, accumulate: true }),
      };
    },
  },
  {
    op: 'l2NormalizeForward',
    launches: 1,
    most: 1.01,
    operands() {
      const [x, y, invNorm] = [bf16(128, 256), bf16(128, 256), f32(1, 128)];
      return {
        reads: [x],
        writes: [y, invNorm],
        run: () => ops.l2NormalizeForward({ x, y, invNorm, eps: 1e-12 }),
      };
    },
  },
  {
    op: 'l2NormalizeBackward',
    launches: 1,
    most: 1.01,
    operands() {
      const [y, gradY, gradX, invNorm] = [bf16(128, 256), bf16(128, 256), bf16(128, 256), f32(1, 128)];
      return {
        reads: [y, gradY, invNorm],
        writes: [gradX],
        run: () => ops.l2NormalizeBackward({ y, invNorm, gradY, gradX }),
      };
    },
  },
  {
    op: 'weightNormForward',
    launches: 1,
    most: 1.01,
    operands() {
      const [v, g, weight] = [f32(128, 256), f32(128, 1), bf16(128, 256)];
      return {
        reads: [v, g],
        writes: [weight],
        run: () => ops.weightNormForward({ v, g, weight, eps: 1e-12 }),
      };
    },
  },
  {
    op: 'weightNormBackward',
    launches: 1,
    most: 1.01,
    operands() {
      const [v, g, gradG, gradV] = [f32(128, 256), f32(128, 1), f32(128, 1), f32(128, 256)];
      return {
        reads: [v, g, gradV],
        writes: [gradV, gradG],
        run: () => ops.weightNormBackward({ v, g, gradWeight: gradV, gradV, gradG, eps: 1e-12 }),
      };
    },
  },
  {
    op: 'adamwEma',
    launches: 2,
    most: 1.01,
    operands() {
      const n = 32768;
      const [param, m, v, ema, grad] = [f32(1, n), f32(1, n), f32(1, n), f32(1, n), f32(1, n)];
      const [paramBf16, emaBf16] = [bf16(1, n), bf16(1, n)];
      const [segments, multipliers] = [i32([0, 5000, 5000, n - 5000], 2, 2), f32(2, 2)];
      const [scalars, step] = [f32(1, 4), i32([0], 1, 1)];
      return {
        reads: [param, grad, m, v, ema],
        writes: [param, m, v, ema, paramBf16, emaBf16],
        run: () =>
          ops.adamwEma({
            ...{ param, grad, m, v, ema, paramBf16, emaBf16, segments, multipliers, scalars, step },
            ...{ beta1: 0.9, beta2: 0.95, eps: 1e-8 },
          }),
      };
    },
  },
  {
    op: 'countNonfinite',
    launches: 2,
    most: 1.01,
    operands() {
      const [x, count] = [f32(1, 65536), i32([0], 1, 1)];
      return { reads: [x], writes: [count], run: () => ops.countNonfinite({ x, count }) };
    },
  },
  {
    op: 'residualForward',
    launches: 1,
    most: 1.01,
    operands() {
      const [x, branch] = [bf16(4 * 40, 256), bf16(4 * 40, 256)];
      return {
        reads: [x, branch],
        writes: [x],
        run: () => ops.residualForward({ x, branch, y: x, rows: 40 }),
      };
    },
  },
  {
    op: 'residualForward, half of the images kept',
    launches: 1,
    most: 1.01,
    operands() {
      const [x, branch, images] = [bf16(8 * 40, 256), bf16(4 * 40, 256), i32([0, 2, 5, 6], 1, 4)];
      return {
        reads: [branch, branch],
        writes: [branch],
        run: () => ops.residualForward({ x, branch, y: x, images, rows: 40, scale: 2 }),
      };
    },
  },
  {
    op: 'residualGather',
    launches: 1,
    most: 1.01,
    operands() {
      const [gradY, gradBranch, images] = [bf16(8 * 40, 256), bf16(4 * 40, 256), i32([0, 2, 5, 6], 1, 4)];
      return {
        reads: [gradBranch],
        writes: [gradBranch],
        run: () => ops.residualGather({ gradY, gradBranch, images, rows: 40, scale: 2 }),
      };
    },
  },
  {
    op: 'gatherRows',
    launches: 1,
    most: 1.01,
    operands() {
      const [x, y, indices] = [bf16(256, 256), bf16(128, 256), i32(range(128, 2), 1, 128)];
      return { reads: [y, indices], writes: [y], run: () => ops.gatherRows({ x, indices, y }) };
    },
  },
  {
    // Each image reads the registers again, 32 KB for ViT-L, which L2 holds.
    op: 'tokensForward',
    launches: 1,
    most: 1.05,
    operands() {
      const [tokens, patches, registers] = [bf16(8 * 44, 256), bf16(8 * 40, 256), bf16(4, 256)];
      const layout = { batch: 8, nRegisters: 4, nVisible: 40, nMasked: 0 };
      return {
        reads: [patches, registers],
        writes: [tokens],
        run: () => ops.tokensForward({ tokens, patches, registers, ...layout }),
      };
    },
  },
  {
    op: 'tokensBackward',
    launches: 3,
    most: 1.03,
    operands() {
      const [gradTokens, gradPatches, gradRegisters] = [bf16(8 * 44, 256), bf16(8 * 40, 256), f32(4, 256)];
      const layout = { batch: 8, nRegisters: 4, nVisible: 40, nMasked: 0 };
      return {
        reads: [gradTokens],
        writes: [gradPatches, gradRegisters],
        run: () => ops.tokensBackward({ gradTokens, gradPatches, gradRegisters, ...layout }),
      };
    },
  },
  {
    op: 'cast',
    launches: 1,
    most: 1.01,
    operands() {
      const [x, y] = [f32(128, 256), bf16(128, 256)];
      return { reads: [x], writes: [y], run: () => ops.cast({ x, y }) };
    },
  },
  {
    op: 'fillRandom',
    launches: 1,
    most: 1.01,
    operands() {
      const x = f32(128, 256);
      return {
        reads: [],
        writes: [x],
        run: () => ops.fillRandom({ x, distribution: 'normal', scale: 1, seed: 1, stream: 2 }),
      };
    },
  },
  {
    op: 'sumRows',
    launches: 2,
    most: 1.02,
    operands() {
      const [x, y] = [bf16(1024, 256), f32(1, 256)];
      return { reads: [x], writes: [y], run: () => ops.sumRows({ x, y }) };
    },
  },
  {
    op: 'patchify',
    launches: 1,
    most: 1.01,
    operands() {
      const [images, out] = [u8(4, 56 * 56 * 3), bf16(4 * 16, 588)];
      return {
        reads: [images],
        writes: [out],
        run: () => ops.patchify({ images, out, height: 56, width: 56, patch: 14 }),
      };
    },
  },
  {
    op: 'softCrossEntropy',
    launches: 2,
    most: 1.01,
    operands() {
      const [logits, targets, loss] = [bf16(32, 2048), bf16(32, 2048), f64(1, 1)];
      return {
        reads: [logits, targets],
        writes: [logits, loss],
        run: () => ops.softCrossEntropy({ logits, targets, temperature: 0.1, loss, gradLogits: logits }),
      };
    },
  },
  {
    // The maximum, three iterations and the loss each read the logits; the last writes the gradient. A block of 32 rows,
    // as for ViT-L on an H100, besides reads two vectors and leaves one: 4 bytes a column each.
    op: 'sinkhornKnoppLoss',
    launches: 11,
    most: 1.2,
    operands() {
      const [groups, images, columns] = [4, 128, 512];
      const logits = bf16(groups * images, columns);
      const [loss, gradBias, targets] = [f64(1, 1), f32(1, columns), bf16(groups * 4, columns)];
      const rows = range(groups * images).map((row) => (row % 32 === 0 ? row / 32 : -1));
      const targetRows = i32(rows, 1, groups * images);
      return {
        reads: [logits, logits, logits, logits, logits, targetRows],
        writes: [logits, gradBias, targets, loss],
        run: () =>
          ops.sinkhornKnoppLoss({
            ...{ logits, groups, iterations: 3, loss, gradLogits: logits, gradBias, targetRows, targets },
            ...{ targetTemp: 0.06, predTemp: 0.12, totalRows: groups * images },
          }),
      };
    },
  },
];

/** What each case moves, when its scratch memory is there already. `file`: what CAPI_INTERPRETER_TRAFFIC names. */
export async function measure(file: string): Promise<Record<string, Moved>> {
  const bytes = (tensors: readonly Tensor[]) => tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const launches = () => readFileSync(file, 'utf8').trim().split('\n');
  const moved: Record<string, Moved> = {};
  for (const { op, operands } of cases) {
    const { reads, writes, run } = operands();
    run();
    await addon.synchronize();
    const before = launches().length;
    run();
    await addon.synchronize();
    const mine = launches().slice(before);
    moved[op] = {
      launches: mine.length,
      bytes: mine.flatMap((line) => line.split(' ').map(Number)).reduce((sum, n) => sum + n, 0),
      minimum: bytes(reads) + bytes(writes),
    };
  }
  return moved;
}
