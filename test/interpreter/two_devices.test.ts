/** Every op, given one tensor that lies on another device than the first: refused, and the tensor is named. */
import { addon, type Backend } from '../../lib/native/addon.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** The tensors of each op, in the order in which it takes them. */
const tensorsOf: Readonly<Record<string, string>> = {
  attentionForward: 'q k v out qCoordinates kCoordinates frequencies images contextImages lse',
  attentionBackward:
    'q k v out qCoordinates kCoordinates frequencies images contextImages lse gradOut gradQ gradK gradV gradFrequencies',
  ropeForward: 'x y coordinates frequencies',
  ropeBackward: 'x gradY gradX gradFrequencies coordinates frequencies',
  sinkhornColumnMax: 'logits columnMax',
  sinkhornColumnSums: 'logits columnMax columnScale rowScale columnSums',
  sinkhornUpdateColumns: 'columnSums columnScale',
  clusteringLoss:
    'logits loss gradLogits gradBias targetRows targets assignments columnMax columnScale rowScale',
  sinkhornKnoppLoss: 'logits loss gradLogits gradBias targetRows targets assignments',
  targetRows: 'predict targetRows',
  targetStatistics: 'targets entropy mass',
  positionalCollapse: 'features result',
  patchify: 'images flips out',
  gemm: 'a b c bias residual pre',
  softCrossEntropy: 'logits targets loss gradLogits',
  rmsNormForward: 'x weight y rstd images',
  rmsNormBackward: 'x weight rstd gradY gradX gradWeight y images',
  l2NormalizeForward: 'x y invNorm',
  l2NormalizeBackward: 'y invNorm gradY gradX',
  weightNormForward: 'v g weight',
  weightNormBackward: 'v g gradWeight gradV gradG',
  adamwEma: 'param grad m v ema paramBf16 emaBf16 segments multipliers scalars step nonfinite',
  countNonfinite: 'x count',
  gatherRows: 'x indices y',
  tokensForward: 'tokens registers patches maskToken positions visible masked',
  tokensBackward: 'gradTokens gradRegisters gradPatches gradMaskToken gradPositions visible masked',
  coordinates: 'out indices',
  generateMasks: 'samples visible predict',
  residualForward: 'x branch y images',
  residualGather: 'gradY gradBranch images',
  dropPathIndices: 'indices iteration',
  zero: 'x',
  copy: 'x y',
  cast: 'x y',
  fillRandom: 'x',
  sumRows: 'x y',
};

/** What is no tensor, for all ops; a tensor of the same name takes its place. */
const words = {
  rope: 'none',
  kind: 'uniform',
  registerKind: 'zeros',
  gelu: 'forward',
  distribution: 'normal',
};
const numbers = Object.fromEntries(
  (
    'heads nQ nK groups targetTemp predTemp totalRows images positions registers height width patch temperature eps rows ' +
    'beta1 beta2 batch nRegisters nVisible nMasked gridRows gridCols seed scale'
  )
    .split(' ')
    .map((name) => [name, 1]),
);

type Op = (options: object) => void;
const functions = addon as unknown as Readonly<Record<string, Op>>;

const others = ['Graph', 'Storage', 'cuda', 'cpuIsa', 'setThreads', 'threads', 'stats', 'synchronize'];
const onHostMemory = ['cropParameters', 'permuteIndex', 'resizeCrop'];

test('no op is left out', () => {
  const ops = Object.keys(addon).filter((name) => ![...others, ...onHostMemory].includes(name));
  expect(Object.keys(tensorsOf).sort()).toEqual(ops.sort());
});

const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const cases = Object.entries(tensorsOf).map(([op, text]) => ({ op, names: text.split(' ') }));

test.each(cases.filter(({ names }) => names.length > 1))('$op', ({ op, names }) => {
  const on = { cpu: Tensor.zeros([1, 1], 'f32', 'cpu'), cuda: Tensor.zeros([1, 1], 'f32', 'cuda') };
  const [first = '', ...rest] = names;
  for (const [device, other] of [
    ['cuda', 'cpu'],
    ['cpu', 'cuda'],
  ] as [Backend, Backend][]) {
    for (const stray of rest) {
      const tensors = Object.fromEntries(names.map((name) => [name, on[name === stray ? other : device]]));
      expect(() => functions[op]!({ ...words, ...numbers, ...tensors })).toThrow(
        expect.objectContaining({
          code: 'ERR_CAPI_DEVICE_MISMATCH',
          message: `[${snakeCase(op)}] Expected ${stray} on ${device}, where ${first} is, but received a tensor on ${other}`,
        }),
      );
    }
  }
  for (const tensor of Object.values(on)) tensor[Symbol.dispose]();
});
