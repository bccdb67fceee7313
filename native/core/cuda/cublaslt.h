// The part of cuBLASLt that this project uses. The library is opened at first use and never linked,
// so that the addon loads where it is missing. Names and values are those of NVIDIA's documented
// interface (cuBLASLt 12 and newer), declared here because its header may not be passed on.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace capi {

// cublasStatus_t
constexpr int kCublasSuccess = 0;
constexpr int kCublasInvalidValue = 7;
constexpr int kCublasExecutionFailed = 13;
constexpr int kCublasNotSupported = 15;

// cudaDataType
constexpr int kCudaF32 = 0;
constexpr int kCudaBF16 = 14;
// cublasComputeType_t: products and sums in f32, no TF32.
constexpr int kCublasComputeF32 = 68;
// cublasOperation_t
constexpr int32_t kCublasNormal = 0;
constexpr int32_t kCublasTransposed = 1;

// cublasLtMatmulDescAttributes_t, with the type of the value.
constexpr int kCublasLtTransposeA = 3;   // int32_t
constexpr int kCublasLtTransposeB = 4;   // int32_t
constexpr int kCublasLtEpilogue = 7;     // uint32_t
constexpr int kCublasLtBiasPointer = 8;  // const void*
// cublasLtEpilogue_t
constexpr uint32_t kCublasLtNoEpilogue = 1;
constexpr uint32_t kCublasLtAddBias = 4;  // of D's type, one element a row of D

// cublasLtMatmulPreferenceAttributes_t, with the type of the value.
constexpr int kCublasLtMaxWorkspaceBytes = 1;  // uint64_t
constexpr int kCublasLtReductionSchemes = 3;   // uint32_t, bits
constexpr int kCublasLtLeastAlignmentOfA = 5;  // uint32_t; B, C and D follow
// cublasLtReductionScheme_t: how parts of a sum over k are added. "In place" and "output type" go
// through D's type, which would round a bf16 result more than once.
constexpr uint32_t kCublasLtSumsInOneSequence = 0;
constexpr uint32_t kCublasLtSumsInComputeType = 2;

// cublasLtMatmulAlgo_t: may be stored and used again with the same version of the library.
struct CublasLtAlgorithm {
  uint64_t data[8];
};
// cublasLtMatmulHeuristicResult_t
struct CublasLtChoice {
  CublasLtAlgorithm algorithm;
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};
static_assert(sizeof(CublasLtAlgorithm) == 64 && sizeof(CublasLtChoice) == 96, "NVIDIA's layout");

// Matrices are column-major. Functions return a cublasStatus_t where nothing else is said; those
// that make something are given where to put the pointer to it.
struct CublasLt {
  std::string path;    // of the file that was opened
  size_t version = 0;  // 130101 is 13.1.1

  size_t (*get_version)();
  const char* (*status_name)(int status);
  int (*create)(void** handle);
  int (*layout_create)(void** layout, int type, uint64_t rows, uint64_t cols, int64_t stride);
  int (*layout_destroy)(void* layout);
  int (*matmul_create)(void** matmul, int compute_type, int scale_type);
  int (*matmul_set)(void* matmul, int attribute, const void* value, size_t bytes);
  int (*matmul_destroy)(void* matmul);
  int (*preference_create)(void** preference);
  int (*preference_set)(void* preference, int attribute, const void* value, size_t bytes);
  int (*preference_destroy)(void* preference);
  // The best `asked` algorithms by estimate, best first.
  int (*heuristic)(void* handle, void* matmul, void* a, void* b, void* c, void* d, void* preference,
                   int asked, CublasLtChoice* choices, int* count);
  // Whether a stored algorithm fits, and the workspace that it needs.
  int (*check)(void* handle, void* matmul, void* a, void* b, void* c, void* d,
               const CublasLtAlgorithm* algorithm, CublasLtChoice* result);
  // d = alpha op(a) op(b) + beta c, then the epilogue.
  int (*matmul)(void* handle, void* matmul, const void* alpha, const void* a, void* a_layout,
                const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                void* d, void* d_layout, const CublasLtAlgorithm* algorithm, void* workspace,
                size_t workspace_bytes, cudaStream_t stream);
};

// Opens the library when first asked: the file that CAPI_CUBLASLT names or, where that is not set,
// the first that is found of the loader's path, CUDA_HOME, CUDA_PATH, /usr/local/cuda*, and the
// packages of Python. Throws kBackendUnavailable with what was tried.
const CublasLt& cublaslt();
// Why it cannot be opened; empty: it can.
const std::string& cublaslt_problem();

// "13.1.1"
std::string cublaslt_version_text(size_t version);

// Throws kCuda: "[gemm] cublasLtMatmul failed: CUBLAS_STATUS_NOT_SUPPORTED".
void cublaslt_check(const CublasLt& library, int status, const char* function);

}  // namespace capi
