#include "ops/clustering/health.h"

#include "core/thread_pool.h"
#include "ops/loss/softmax_simd.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kChunkRows = 64;
// Columns that one task of positional_collapse takes.
constexpr int64_t kStripe = 32;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Adds the rows to mass; returns the sum of their entropies. Row by row in f32, over rows in f64.
template <typename T>
double chunk_statistics(const T* rows, int64_t count, int64_t columns, float* mass) {
  double entropy = 0.0;
  memset(mass, 0, static_cast<size_t>(columns) * sizeof(float));
  for (int64_t i = 0; i < count; ++i) {
    const T* row = rows + i * columns;
    Vec total = zero();
    for_columns(columns, [&](int64_t k, auto span) {
      const Vec a = load(row + k, span);
      store(mass + k, load(mass + k, span) + a, span);
      total += a * log_nonnegative(a);
    });
    entropy -= static_cast<double>(sum(total));
  }
  return entropy;
}

struct Variance {
  double between, within;
};

// Sums over one stripe of columns: images * |position mean - grand mean|^2, and |x - position
// mean|^2. means: (positions, kStripe).
template <typename T>
Variance stripe_variance(const PositionalCollapse& op, int64_t begin, double* means) {
  const int width = static_cast<int>(smaller(kStripe, op.features.cols - begin));
  const int64_t period = op.registers + op.positions, images = op.features.rows / period;
  const T* origin = op.features.as<T>() + op.registers * op.features.stride + begin;
  double grand[kStripe] = {};
  Variance variance = {0.0, 0.0};
  for (int64_t t = 0; t < op.positions; ++t) {
    double* mean = means + t * kStripe;
    for (int k = 0; k < width; ++k) mean[k] = 0.0;
    for (int64_t b = 0; b < images; ++b) {
      const T* x = origin + (b * period + t) * op.features.stride;
      for (int k = 0; k < width; ++k) mean[k] += static_cast<double>(to_float(x[k]));
    }
    double squares[kStripe] = {};
    for (int k = 0; k < width; ++k) {
      mean[k] /= static_cast<double>(images);
      grand[k] += mean[k] / static_cast<double>(op.positions);
    }
    for (int64_t b = 0; b < images; ++b) {
      const T* x = origin + (b * period + t) * op.features.stride;
      for (int k = 0; k < width; ++k) {
        const double d = static_cast<double>(to_float(x[k])) - mean[k];
        squares[k] += d * d;
      }
    }
    for (int k = 0; k < width; ++k) variance.within += squares[k];
  }
  for (int64_t t = 0; t < op.positions; ++t) {
    for (int k = 0; k < width; ++k) {
      const double d = means[t * kStripe + k] - grand[k];
      variance.between += d * d * static_cast<double>(images);
    }
  }
  return variance;
}

}  // namespace

void target_statistics_cpu(const TargetStatistics& op) {
  const int64_t rows = op.targets.rows, columns = op.targets.cols;
  const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  double* entropies = static_cast<double*>(
      op_scratch(static_cast<size_t>(chunks) *
                 (sizeof(double) + static_cast<size_t>(columns) * sizeof(float))));
  float* masses = reinterpret_cast<float*>(entropies + chunks);
  parallel_for(chunks, [&](int64_t chunk, int) {
    const int64_t begin = chunk * kChunkRows, count = smaller(kChunkRows, rows - begin);
    float* mass = masses + chunk * columns;
    entropies[chunk] =
        op.targets.dtype == Dtype::kBF16
            ? chunk_statistics(op.targets.as<bf16>() + begin * columns, count, columns, mass)
            : chunk_statistics(op.targets.as<float>() + begin * columns, count, columns, mass);
  });
  double entropy = 0.0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) entropy += entropies[chunk];
  *op.entropy.as<float>() = static_cast<float>(entropy / static_cast<double>(rows));
  float* mass = op.mass.as<float>();
  for (int64_t k = 0; k < columns; ++k) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      total += static_cast<double>(masses[chunk * columns + k]);
    }
    mass[k] = static_cast<float>(total / static_cast<double>(rows));
  }
}

void positional_collapse_cpu(const PositionalCollapse& op) {
  const int64_t stripes = (op.features.cols + kStripe - 1) / kStripe;
  Variance* parts =
      static_cast<Variance*>(op_scratch(static_cast<size_t>(stripes) * sizeof(Variance)));
  parallel_for(stripes, [&](int64_t stripe, int worker) {
    double* means = static_cast<double*>(
        worker_scratch(worker, static_cast<size_t>(op.positions * kStripe) * sizeof(double)));
    parts[stripe] = op.features.dtype == Dtype::kBF16
                        ? stripe_variance<bf16>(op, stripe * kStripe, means)
                        : stripe_variance<float>(op, stripe * kStripe, means);
  });
  Variance total = {0.0, 0.0};
  for (int64_t stripe = 0; stripe < stripes; ++stripe) {
    total.between += parts[stripe].between;
    total.within += parts[stripe].within;
  }
  const double rows =
      static_cast<double>(op.features.rows / (op.registers + op.positions) * op.positions);
  double* result = op.result.as<double>();
  result[0] = total.between / rows;
  result[1] = (total.between + total.within) / rows;
}

}  // namespace capi::CAPI_ISA
