#include "ops/attention/rope.h"

#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/attention/angle_table_cuda.h"
#include "ops/attention/rope_cuda.h"

namespace capi {

namespace {

// One lane a pair of channels and one warp a row: the heads share the sine and cosine, and lanes
// read neighbouring channels.
constexpr int kWarps = 8;
// Rows of a partial sum of the frequencies' gradient, as on the CPU.
constexpr int kChunkRows = 64;
constexpr int kMergeThreads = 64;
constexpr int kAngleThreads = 256;

// Both channels of a pair of one token.
struct PairAngles {
  float sin_i, cos_i, sin_j, cos_j;
};
__device__ PairAngles pair_angles(const RopeRows& rows, const float* position, int64_t i,
                                  int64_t j) {
  const float* const across = rows.frequencies + rows.d;
  PairAngles angles;
  sincosf(position[0] * rows.frequencies[i] + position[1] * across[i], &angles.sin_i,
          &angles.cos_i);
  sincosf(position[0] * rows.frequencies[j] + position[1] * across[j], &angles.sin_j,
          &angles.cos_j);
  return angles;
}

template <typename T, typename To>
__global__ void rotate_rows_kernel(RopeRows rows,
                                   const T* __restrict__ x,  // (source rows, heads * d)
                                   To* __restrict__ to,      // (rows, heads * d)
                                   int64_t x_stride, int64_t to_stride, float scale) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  const int64_t pair = int64_t{blockIdx.y} * kWarpSize + threadIdx.x;
  if (row >= rows.rows() || pair >= rows.d / 2) return;
  const Place place = rows.places.at(row / rows.n);
  if (!place.valid()) return;
  const int64_t distance = rope_distance(rows.rope, rows.d);
  const int64_t i = rope_first(pair, distance), j = i + distance;
  x += rows.source(place, row) * x_stride;
  to += row * to_stride;
  if (rows.rope == Rope::kNone) {
    for (int64_t c = 0; c < rows.heads * rows.d; c += rows.d) {
      to[c + i] = from_float<To>(scale * to_float(x[c + i]));
      to[c + j] = from_float<To>(scale * to_float(x[c + j]));
    }
    return;
  }
  const PairAngles angles =
      pair_angles(rows, rows.coordinates + (place.image * rows.n + row % rows.n) * 2, i, j);
  for (int64_t c = 0; c < rows.heads * rows.d; c += rows.d) {
    const float a = scale * to_float(x[c + i]), b = scale * to_float(x[c + j]);
    to[c + i] = from_float<To>(a * angles.cos_i - b * angles.sin_i);
    to[c + j] = from_float<To>(b * angles.cos_j + a * angles.sin_j);
  }
}

// One thread a channel of a row.
__global__ void fill_angles_kernel(RopeRows rows, uint32_t* __restrict__ table) {  // (rows, d)
  const int64_t index = int64_t{blockIdx.x} * kAngleThreads + threadIdx.x;
  const int64_t row = index / rows.d, i = index % rows.d;
  if (row >= rows.rows()) return;
  const Place place = rows.places.at(row / rows.n);
  if (!place.valid()) return;
  const float* const position = rows.coordinates + (place.image * rows.n + row % rows.n) * 2;
  float sine, cosine;
  sincosf(position[0] * rows.frequencies[i] + position[1] * rows.frequencies[rows.d + i], &sine,
          &cosine);
  table[index] = pack_angle(cosine, sine);
}

// A block takes a chunk of rows and 32 pairs. grad may be x, which is why neither is __restrict__.
template <typename T>
__global__ void rotate_back_rows_kernel(RopeRows rows,
                                        const float* __restrict__ grad_rotated,  // (rows, heads d)
                                        const T* x,    // (source rows, heads * d)
                                        T* grad,       // (source rows, heads * d)
                                        float* parts,  // (chunks, 2, d) or null
                                        int64_t rotated_stride, int64_t x_stride,
                                        int64_t grad_stride, float scale) {
  float* const sums = shared_memory<float>();  // (kWarps, 4, 32) with parts
  const int lane = threadIdx.x, warp = threadIdx.y;
  const int64_t pair = int64_t{blockIdx.y} * kWarpSize + lane;
  const bool mine = pair < rows.d / 2;
  const int64_t distance = rope_distance(rows.rope, rows.d);
  const int64_t i = rope_first(pair, distance), j = i + distance;
  const int64_t begin = int64_t{blockIdx.x} * kChunkRows;
  const int64_t end = min(begin + kChunkRows, rows.rows());

  float part[4] = {};  // down i, down j, across i, across j
  for (int64_t row = begin + warp; mine && row < end; row += kWarps) {
    const Place place = rows.places.at(row / rows.n);
    if (!place.valid() && rows.of_context && rows.places.contexts != nullptr) continue;
    const int64_t source =
        place.valid() || !rows.of_context ? rows.source(place, row) : row;  // no list: its own
    T* const to = grad + source * grad_stride;
    const float* const from = grad_rotated + row * rotated_stride;
    if (!place.valid() || rows.rope == Rope::kNone) {
      const float filler = rows.of_context ? 0.0f : __int_as_float(0x7fc00000);
      for (int64_t c = 0; c < rows.heads * rows.d; c += rows.d) {
        to[c + i] = from_float<T>(place.valid() ? scale * from[c + i] : filler);
        to[c + j] = from_float<T>(place.valid() ? scale * from[c + j] : filler);
      }
      continue;
    }
    const float* const position = rows.coordinates + (place.image * rows.n + row % rows.n) * 2;
    const PairAngles angles = pair_angles(rows, position, i, j);
    float angle_i = 0.0f, angle_j = 0.0f;
    for (int64_t c = 0; c < rows.heads * rows.d; c += rows.d) {
      const float first = scale * from[c + i], second = scale * from[c + j];
      if (parts != nullptr) {
        const float a = to_float(x[source * x_stride + c + i]);
        const float b = to_float(x[source * x_stride + c + j]);
        angle_i -= first * (a * angles.sin_i + b * angles.cos_i);
        angle_j += second * (a * angles.cos_j - b * angles.sin_j);
      }
      to[c + i] = from_float<T>(first * angles.cos_i + second * angles.sin_j);
      to[c + j] = from_float<T>(second * angles.cos_j - first * angles.sin_i);
    }
    part[0] += position[0] * angle_i;
    part[1] += position[0] * angle_j;
    part[2] += position[1] * angle_i;
    part[3] += position[1] * angle_j;
  }

  if (parts == nullptr) return;
#pragma unroll
  for (int k = 0; k < 4; ++k) sums[(warp * 4 + k) * kWarpSize + lane] = part[k];
  __syncthreads();
  if (warp >= 4 || !mine) return;  // warp k adds up part k
  float total = 0.0f;
  for (int w = 0; w < kWarps; ++w) total += sums[(w * 4 + warp) * kWarpSize + lane];
  parts[(int64_t{blockIdx.x} * 2 + warp / 2) * rows.d + (warp % 2 == 0 ? i : j)] = total;
}

// One thread an element; parts are added in order.
__global__ void merge_parts_kernel(const float* __restrict__ parts,  // (chunks, elements)
                                   float* __restrict__ to,           // (elements)
                                   int64_t chunks, int64_t elements) {
  const int64_t i = int64_t{blockIdx.x} * kMergeThreads + threadIdx.x;
  if (i >= elements) return;
  double total = 0.0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += double{parts[chunk * elements + i]};
  to[i] = static_cast<float>(total);
}

template <typename T, typename To>
void rotate(const RopeRows& rows, const MatrixView& x, To* to, int64_t to_stride, float scale,
            DeviceQueue& queue) {
  const dim3 grid(blocks_for(rows.rows(), kWarps), blocks_for(rows.d / 2, kWarpSize));
  launch(rotate_rows_kernel<T, To>, grid, dim3(kWarpSize, kWarps), 0, queue.handle(), rows,
         x.as<T>(), to, x.stride, to_stride, scale);
}

template <typename T>
void rotate_back(const RopeRows& rows, const float* grad_rotated, int64_t stride, float scale,
                 const MatrixView& x, const MatrixView& grad, float* parts, DeviceQueue& queue) {
  const dim3 grid(blocks_for(rows.rows(), kChunkRows), blocks_for(rows.d / 2, kWarpSize));
  const size_t shared_bytes = parts != nullptr ? sizeof(float) * kWarps * 4 * kWarpSize : 0;
  launch(rotate_back_rows_kernel<T>, grid, dim3(kWarpSize, kWarps), shared_bytes, queue.handle(),
         rows, grad_rotated, x.as<T>(), grad.as<T>(), parts, stride, x.stride, grad.stride, scale);
}

template <typename Op>
RopeRows rows_of(const Op& op) {
  RopeRows rows{op.rope,
                1,
                op.x.rows,
                op.heads,
                op.x.cols / op.heads,
                op.coordinates.template as<float>(),
                op.frequencies.template as<float>(),
                {},
                false};
  return rows;
}

}  // namespace

void rotate_rows(const RopeRows& rows, const MatrixView& x, float* to, float scale,
                 DeviceQueue& queue) {
  const int64_t stride = rows.heads * rows.d;
  x.dtype == Dtype::kF32 ? rotate<float, float>(rows, x, to, stride, scale, queue)
                         : rotate<bf16, float>(rows, x, to, stride, scale, queue);
}

void fill_angles(const RopeRows& rows, uint32_t* table, DeviceQueue& queue) {
  launch(fill_angles_kernel, blocks_for(rows.rows() * rows.d, kAngleThreads), kAngleThreads, 0,
         queue.handle(), rows, table);
}

void rotate_rows(const RopeRows& rows, const MatrixView& x, bf16* to, float scale,
                 DeviceQueue& queue) {
  rotate<bf16, bf16>(rows, x, to, rows.heads * rows.d, scale, queue);
}

int64_t frequency_part_floats(const RopeRows& rows) {
  return int64_t{blocks_for(rows.rows(), kChunkRows)} * 2 * rows.d;
}

void rotate_back_rows(const RopeRows& rows, const float* grad_rotated, int64_t stride, float scale,
                      const MatrixView& x, const MatrixView& grad, float* parts,
                      DeviceQueue& queue) {
  x.dtype == Dtype::kF32
      ? rotate_back<float>(rows, grad_rotated, stride, scale, x, grad, parts, queue)
      : rotate_back<bf16>(rows, grad_rotated, stride, scale, x, grad, parts, queue);
}

void merge_frequency_parts(const float* parts, int64_t part_floats, const MatrixView& to,
                           DeviceQueue& queue) {
  const int64_t elements = to.rows * to.cols;
  launch(merge_parts_kernel, blocks_for(elements, kMergeThreads), kMergeThreads, 0, queue.handle(),
         parts, to.as<float>(), part_floats / elements, elements);
}

void rope_forward_cuda(const RopeForward& op, DeviceQueue& queue) {
  const RopeRows rows = rows_of(op);
  op.x.dtype == Dtype::kF32
      ? rotate<float, float>(rows, op.x, op.y.as<float>(), op.y.stride, 1.0f, queue)
      : rotate<bf16, float>(rows, op.x, op.y.as<float>(), op.y.stride, 1.0f, queue);
}

void rope_backward_cuda(const RopeBackward& op, DeviceQueue& queue) {
  const RopeRows rows = rows_of(op);
  const int64_t floats = frequency_part_floats(rows);
  float* parts = nullptr;
  if (op.grad_frequencies) {
    parts = static_cast<float*>(queue.scratch(sizeof(float) * static_cast<size_t>(floats)));
  }
  rotate_back_rows(rows, op.grad_y.as<float>(), op.grad_y.stride, 1.0f, op.x, op.grad_x, parts,
                   queue);
  if (op.grad_frequencies) merge_frequency_parts(parts, floats, op.grad_frequencies, queue);
}

}  // namespace capi
