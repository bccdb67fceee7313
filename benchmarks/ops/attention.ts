/** Attention with rotary encoding fused in: the teacher's, the student's, the predictor's. */
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { bytesOf, type Inputs, type OpCase, type Work } from './op_case.js';
import type { Shapes } from './shapes.js';

interface Attention {
  readonly name: string;
  readonly images: number;
  readonly nQ: number;
  readonly nK: number;
  readonly backward: boolean;
}

export function attentionCases(shapes: Shapes, dtypes: readonly ComputeDtype[]): OpCase[] {
  const { images, studentTokens, teacherTokens, predicted } = shapes;
  const whole = (name: string, nQ: number, nK: number): Attention[] =>
    [false, true].map((backward) => ({ name, images, nQ, nK, backward }));
  const list = [
    ...whole('teacher', teacherTokens, teacherTokens),
    ...whole('student', studentTokens, studentTokens),
    ...whole('predictor', predicted, studentTokens),
  ];
  return dtypes.flatMap((dtype) => list.map((attention) => attentionCase(shapes, attention, dtype)));
}

function attentionCase({ title, heads, width }: Shapes, attention: Attention, dtype: ComputeDtype): OpCase {
  const { name, images, nQ, nK, backward } = attention;
  const d = width / heads;
  const pass = backward ? 'forward + backward' : 'forward';
  const products = backward ? 7 : 2; // the backward pass makes the scores again
  return {
    op: 'attention',
    shape: `${title} ${name} ${pass}  b ${images} h ${heads} d ${d} n ${nQ}${nQ === nK ? '' : `→${nK}`}`,
    dtype,
    flops: products * 2 * images * heads * nQ * nK * d,
    bytes: bytesOf(dtype) * images * width * (2 * nQ + 2 * nK) * (backward ? 3 : 1),
    torch: `${backward ? 'attention' : 'attention_forward'}:${images},${heads},${d},${nQ},${nK}`,
    fusible: true,
    gpuForms: ['flash', 'cudnn'],
    make: (inputs) => attentionWork(inputs, { heads, width, dtype, ...attention }),
  };
}

function attentionWork(
  inputs: Inputs,
  size: Attention & { readonly heads: number; readonly width: number; readonly dtype: ComputeDtype },
): Work {
  const { images, heads, width, nQ, nK, dtype } = size;
  // As projected in the model: q, k and v side by side where one matrix makes them all.
  const rows = (n: number, tensors: number) => inputs.random([images * n, tensors * width], dtype);
  const part = (tensor: ReturnType<typeof rows>, i: number) => tensor.columnRange(i * width, (i + 1) * width);
  const self = nQ === nK;
  const own = rows(nQ, self ? 3 : 1);
  const context = self ? own : rows(nK, 2);
  const first = self ? 1 : 0;
  const coordinates = inputs.random([images * nQ, 2], 'f32', 0.5);
  const forward = {
    q: part(own, 0),
    k: part(context, first),
    v: part(context, first + 1),
    out: inputs.empty([images * nQ, width], dtype),
    lse: inputs.empty([images * heads, nQ], 'f32'),
    qCoordinates: coordinates,
    kCoordinates: self ? coordinates : inputs.random([images * nK, 2], 'f32', 0.5),
    frequencies: inputs.random([2, width / heads], 'f32', 10),
    heads,
    nQ,
    nK,
    rope: 'coupled' as const,
  };
  if (!size.backward) return { run: () => ops.attentionForward(forward) };
  const gradOwn = rows(nQ, self ? 3 : 1);
  const gradContext = self ? gradOwn : rows(nK, 2);
  const backward = {
    ...forward,
    gradOut: inputs.random([images * nQ, width], dtype),
    gradQ: part(gradOwn, 0),
    gradK: part(gradContext, first),
    gradV: part(gradContext, first + 1),
  };
  return {
    run: () => {
      ops.attentionForward(forward);
      ops.attentionBackward(backward);
    },
  };
}
