// Stands in for libcublasLt.so where kernels run on the interpreter: the functions that
// native/core/cuda/cublaslt.h declares, on the CPU, with f32 sums. It refuses what NVIDIA's library
// refuses or what would make it fail later: unknown attributes and values of the wrong size, types
// that do not go together, shapes that do not match, strides below the rows, pointers less aligned
// than was said, an algorithm of another product, and memory that is not the device's or that
// overlaps.
#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/cuda/cublaslt.h"

namespace {

using capi::CublasLtAlgorithm;
using capi::CublasLtChoice;

struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t stride;

  // From the first element to behind the last.
  size_t bytes() const {
    return ((cols - 1) * static_cast<size_t>(stride) + rows) *
           (type == capi::kCudaF32 ? sizeof(float) : sizeof(uint16_t));
  }
};

struct Matmul {
  int32_t transpose_a = capi::kCublasNormal, transpose_b = capi::kCublasNormal;
  uint32_t epilogue = capi::kCublasLtNoEpilogue;
  const void* bias = nullptr;
};

// Attributes begin as NVIDIA documents them.
struct Preference {
  uint64_t workspace_bytes = 0;
  uint32_t reduction_schemes = 7;
  uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};

struct Problem {
  Matmul matmul;
  Layout a, b, c, d;

  uint64_t rows() const { return d.rows; }
  uint64_t cols() const { return d.cols; }
  uint64_t depth() const { return matmul.transpose_a != 0 ? a.rows : a.cols; }

  int status() const {
    const auto whole = [](const Layout& m) {
      return m.rows > 0 && m.cols > 0 && m.stride >= static_cast<int64_t>(m.rows);
    };
    if (!whole(a) || !whole(b) || !whole(c) || !whole(d)) return capi::kCublasInvalidValue;
    const bool transpose_a = matmul.transpose_a != 0, transpose_b = matmul.transpose_b != 0;
    if ((transpose_a ? a.cols : a.rows) != rows() || (transpose_b ? b.cols : b.rows) != depth() ||
        (transpose_b ? b.rows : b.cols) != cols() || c.rows != rows() || c.cols != cols()) {
      return capi::kCublasInvalidValue;
    }
    const bool types = a.type == b.type && c.type == d.type &&
                       (a.type == capi::kCudaBF16 || d.type == capi::kCudaF32);
    if (!types) return capi::kCublasNotSupported;
    if (matmul.epilogue == capi::kCublasLtAddBias) {
      return matmul.bias != nullptr ? capi::kCublasSuccess : capi::kCublasInvalidValue;
    }
    return matmul.epilogue == capi::kCublasLtNoEpilogue ? capi::kCublasSuccess
                                                        : capi::kCublasNotSupported;
  }

  // Tells problems apart, pointers aside.
  uint64_t signature() const {
    uint64_t hash = 14695981039346656037u;
    const auto add = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
    add(static_cast<uint64_t>(matmul.transpose_a));
    add(static_cast<uint64_t>(matmul.transpose_b));
    add(matmul.epilogue);
    for (const Layout* m : {&a, &b, &c, &d}) {
      add(static_cast<uint64_t>(m->type));
      add(m->rows);
      add(m->cols);
      add(static_cast<uint64_t>(m->stride));
    }
    return hash;
  }
};

// What an algorithm's bytes mean here.
struct Algorithm {
  uint64_t number, signature, workspace_bytes, alignment[4], unused;
};
static_assert(sizeof(Algorithm) == sizeof(CublasLtAlgorithm), "NVIDIA's size");

Algorithm read(const CublasLtAlgorithm& algorithm) {
  Algorithm result;
  std::memcpy(&result, &algorithm, sizeof result);
  return result;
}

constexpr uint64_t kWorkspaces[] = {64 * 1024, 4096, 0};  // of the algorithms, the first estimate
                                                          // first
constexpr auto kFirstTakes = std::chrono::microseconds(300);  // so that timing finds the second

int stand_in_handle;

float element(const void* data, int type, uint64_t index) {
  if (type == capi::kCudaF32) return static_cast<const float*>(data)[index];
  return __uint_as_float(unsigned{static_cast<const uint16_t*>(data)[index]} << 16);
}

uint16_t round_to_bf16(float value) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Lines of a matrix, packed: [lines][depth].
std::vector<float> lines_of(const void* data, const Layout& layout, bool lines_are_columns) {
  const uint64_t lines = lines_are_columns ? layout.cols : layout.rows;
  const uint64_t depth = lines_are_columns ? layout.rows : layout.cols;
  const auto stride = static_cast<uint64_t>(layout.stride);
  std::vector<float> packed(lines * depth);
  for (uint64_t i = 0; i < lines; ++i) {
    for (uint64_t k = 0; k < depth; ++k) {
      const uint64_t index = lines_are_columns ? i * stride + k : k * stride + i;
      packed[i * depth + k] = element(data, layout.type, index);
    }
  }
  return packed;
}

// In sixteen sums, as accurate as a GPU's.
float dot(const float* a, const float* b, uint64_t depth) {
  float sums[16] = {};
  uint64_t k = 0;
  for (; k + 16 <= depth; k += 16) {
    for (int i = 0; i < 16; ++i) sums[i] += a[k + i] * b[k + i];
  }
  for (int i = 0; k < depth; ++k, ++i) sums[i] += a[k] * b[k];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

struct Operands {
  const void *a, *b, *c, *bias;
  void* d;
  float alpha, beta;
};

void multiply(const Problem& problem, const Operands& operands) {
  const std::vector<float> a = lines_of(operands.a, problem.a, problem.matmul.transpose_a != 0);
  const std::vector<float> b = lines_of(operands.b, problem.b, problem.matmul.transpose_b == 0);
  const uint64_t depth = problem.depth();
  for (uint64_t col = 0; col < problem.cols(); ++col) {
    for (uint64_t row = 0; row < problem.rows(); ++row) {
      float value = operands.alpha * dot(&a[row * depth], &b[col * depth], depth);
      if (operands.beta != 0.0f) {
        const uint64_t index = col * static_cast<uint64_t>(problem.c.stride) + row;
        value += operands.beta * element(operands.c, problem.c.type, index);
      }
      if (operands.bias != nullptr) value += element(operands.bias, problem.d.type, row);
      const uint64_t index = col * static_cast<uint64_t>(problem.d.stride) + row;
      if (problem.d.type == capi::kCudaF32) {
        static_cast<float*>(operands.d)[index] = value;
      } else {
        static_cast<uint16_t*>(operands.d)[index] = round_to_bf16(value);
      }
    }
  }
}

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto* first = static_cast<const char*>(a);
  const auto* second = static_cast<const char*>(b);
  return first < second + b_bytes && second < first + a_bytes;
}

int refused(const char* why) {
  std::fprintf(stderr, "cuBLASLt's stand-in: %s\n", why);
  return capi::kCublasInvalidValue;
}

int memory_status(const Problem& problem, const Operands& o, const Algorithm& algorithm,
                  void* workspace, const CUstream_st& stream) {
  const void* const data[] = {o.a, o.b, o.c, o.d};
  const Layout* const layouts[] = {&problem.a, &problem.b, &problem.c, &problem.d};
  const bool reads_c = o.beta != 0.0f;
  for (int i = 0; i < 4; ++i) {
    if (i == 2 && !reads_c) continue;
    if (!stream.holds(data[i], layouts[i]->bytes())) return refused("not device memory");
    if (reinterpret_cast<uintptr_t>(data[i]) % algorithm.alignment[i] != 0) {
      return refused("a pointer is less aligned than was said");
    }
    if (overlap(data[i], layouts[i]->bytes(), workspace, algorithm.workspace_bytes)) {
      return refused("an operand in the workspace");
    }
  }
  if (overlap(o.d, problem.d.bytes(), o.a, problem.a.bytes()) ||
      overlap(o.d, problem.d.bytes(), o.b, problem.b.bytes())) {
    return refused("D over A or B");
  }
  if (reads_c && overlap(o.d, problem.d.bytes(), o.c, problem.c.bytes()) &&
      (o.c != o.d || problem.c.stride != problem.d.stride)) {
    return refused("C over D but not in place");
  }
  if (o.bias != nullptr) {
    const size_t size = problem.d.type == capi::kCudaF32 ? sizeof(float) : sizeof(uint16_t);
    if (!stream.holds(o.bias, problem.rows() * size)) return refused("a bias of too few elements");
    if (reinterpret_cast<uintptr_t>(o.bias) % 16 != 0) return refused("a bias of odd alignment");
  }
  if (algorithm.workspace_bytes > 0 && !stream.holds(workspace, algorithm.workspace_bytes)) {
    return refused("a workspace that is not device memory");
  }
  return capi::kCublasSuccess;
}

template <typename T>
int store(T* to, const void* value, size_t bytes) {
  if (value == nullptr || bytes != sizeof(T)) return capi::kCublasInvalidValue;
  std::memcpy(to, value, bytes);
  return capi::kCublasSuccess;
}

template <typename T>
int destroy(void* made) {
  delete static_cast<T*>(made);
  return capi::kCublasSuccess;
}

Problem problem_of(void* matmul, void* a, void* b, void* c, void* d) {
  return {*static_cast<Matmul*>(matmul), *static_cast<Layout*>(a), *static_cast<Layout*>(b),
          *static_cast<Layout*>(c), *static_cast<Layout*>(d)};
}

}  // namespace

#define CAPI_EXPORT extern "C" __attribute__((visibility("default")))

// CAPI_INTERPRETER_CUBLASLT=140000: another version, for tests.
CAPI_EXPORT size_t cublasLtGetVersion() {
  const char* const version = std::getenv("CAPI_INTERPRETER_CUBLASLT");
  return version == nullptr ? 130000 : std::strtoul(version, nullptr, 10);
}

CAPI_EXPORT const char* cublasLtGetStatusName(int status) {
  switch (status) {
    case capi::kCublasInvalidValue:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case capi::kCublasExecutionFailed:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case capi::kCublasNotSupported:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "CUBLAS_STATUS_?";
}

CAPI_EXPORT int cublasLtCreate(void** handle) {
  *handle = &stand_in_handle;
  return capi::kCublasSuccess;
}

CAPI_EXPORT int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t cols,
                                           int64_t stride) {
  if (type != capi::kCudaF32 && type != capi::kCudaBF16) return capi::kCublasNotSupported;
  *layout = new Layout{type, rows, cols, stride};
  return capi::kCublasSuccess;
}
CAPI_EXPORT int cublasLtMatrixLayoutDestroy(void* layout) { return destroy<Layout>(layout); }

CAPI_EXPORT int cublasLtMatmulDescCreate(void** matmul, int compute_type, int scale_type) {
  if (compute_type != capi::kCublasComputeF32 || scale_type != capi::kCudaF32) {
    return capi::kCublasNotSupported;
  }
  *matmul = new Matmul();
  return capi::kCublasSuccess;
}
CAPI_EXPORT int cublasLtMatmulDescSetAttribute(void* matmul, int attribute, const void* value,
                                               size_t bytes) {
  auto* const to = static_cast<Matmul*>(matmul);
  switch (attribute) {
    case capi::kCublasLtTransposeA:
      return store(&to->transpose_a, value, bytes);
    case capi::kCublasLtTransposeB:
      return store(&to->transpose_b, value, bytes);
    case capi::kCublasLtEpilogue:
      return store(&to->epilogue, value, bytes);
    case capi::kCublasLtBiasPointer:
      return store(&to->bias, value, bytes);
  }
  return capi::kCublasInvalidValue;
}
CAPI_EXPORT int cublasLtMatmulDescDestroy(void* matmul) { return destroy<Matmul>(matmul); }

CAPI_EXPORT int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new Preference();
  return capi::kCublasSuccess;
}
CAPI_EXPORT int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute,
                                                     const void* value, size_t bytes) {
  auto* const to = static_cast<Preference*>(preference);
  if (attribute == capi::kCublasLtMaxWorkspaceBytes) {
    return store(&to->workspace_bytes, value, bytes);
  }
  if (attribute == capi::kCublasLtReductionSchemes) {
    return store(&to->reduction_schemes, value, bytes);
  }
  const int operand = attribute - capi::kCublasLtLeastAlignmentOfA;
  if (operand < 0 || operand > 3) return capi::kCublasInvalidValue;
  return store(&to->alignment[operand], value, bytes);
}
CAPI_EXPORT int cublasLtMatmulPreferenceDestroy(void* preference) {
  return destroy<Preference>(preference);
}

CAPI_EXPORT int cublasLtMatmulAlgoGetHeuristic(void* handle, void* matmul, void* a, void* b,
                                               void* c, void* d, void* preference, int asked,
                                               CublasLtChoice* choices, int* count) {
  *count = 0;
  if (handle != &stand_in_handle || asked < 1) return capi::kCublasInvalidValue;
  const Problem problem = problem_of(matmul, a, b, c, d);
  const int status = problem.status();
  if (status != capi::kCublasSuccess) return status;
  const auto& wanted = *static_cast<const Preference*>(preference);
  for (const uint32_t alignment : wanted.alignment) {
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) return capi::kCublasInvalidValue;
  }
  for (uint64_t number = 0; number < std::size(kWorkspaces) && *count < asked; ++number) {
    if (kWorkspaces[number] > wanted.workspace_bytes) continue;
    const Algorithm algorithm = {
        number,
        problem.signature(),
        kWorkspaces[number],
        {wanted.alignment[0], wanted.alignment[1], wanted.alignment[2], wanted.alignment[3]},
        0};
    CublasLtChoice& choice = choices[(*count)++];
    choice = {};
    std::memcpy(&choice.algorithm, &algorithm, sizeof algorithm);
    choice.workspace_bytes = algorithm.workspace_bytes;
  }
  return capi::kCublasSuccess;
}

CAPI_EXPORT int cublasLtMatmulAlgoCheck(void* handle, void* matmul, void* a, void* b, void* c,
                                        void* d, const CublasLtAlgorithm* algorithm,
                                        CublasLtChoice* result) {
  const Problem problem = problem_of(matmul, a, b, c, d);
  const Algorithm checked = read(*algorithm);
  if (handle != &stand_in_handle || problem.status() != capi::kCublasSuccess ||
      checked.signature != problem.signature() || checked.number >= std::size(kWorkspaces)) {
    return capi::kCublasInvalidValue;
  }
  *result = {};
  result->workspace_bytes = checked.workspace_bytes;
  return capi::kCublasSuccess;
}

CAPI_EXPORT int cublasLtMatmul(void* handle, void* matmul, const void* alpha, const void* a,
                               void* a_layout, const void* b, void* b_layout, const void* beta,
                               const void* c, void* c_layout, void* d, void* d_layout,
                               const CublasLtAlgorithm* algorithm, void* workspace,
                               size_t workspace_bytes, cudaStream_t stream) {
  const Problem problem = problem_of(matmul, a_layout, b_layout, c_layout, d_layout);
  CublasLtChoice result;
  const int status = cublasLtMatmulAlgoCheck(handle, matmul, a_layout, b_layout, c_layout, d_layout,
                                             algorithm, &result);
  if (status != capi::kCublasSuccess) return refused("an algorithm of another product");
  const Algorithm chosen = read(*algorithm);
  if (chosen.workspace_bytes > workspace_bytes ||
      reinterpret_cast<uintptr_t>(workspace) % 16 != 0) {
    return refused("a workspace that is too small or misaligned");
  }
  const bool adds_bias = problem.matmul.epilogue == capi::kCublasLtAddBias;
  const Operands operands = {a,
                             b,
                             c,
                             adds_bias ? problem.matmul.bias : nullptr,
                             d,
                             *static_cast<const float*>(alpha),
                             *static_cast<const float*>(beta)};
  const int memory = memory_status(problem, operands, chosen, workspace, *stream);
  if (memory != capi::kCublasSuccess) return memory;
  const cudaError_t error = stream->submit([problem, operands, chosen, workspace] {
    if (chosen.number == 0) std::this_thread::sleep_for(kFirstTakes);
    std::memset(workspace, 0xff, chosen.workspace_bytes);  // NaN to whoever keeps something there
    multiply(problem, operands);
    return cudaSuccess;
  });
  return error == cudaSuccess ? capi::kCublasSuccess : capi::kCublasExecutionFailed;
}
